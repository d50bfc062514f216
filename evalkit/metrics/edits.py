"""Word and character error rate, and edit similarity (Levenshtein 1966): jiwer's values.

A rate is a corpus value: edits of all samples over reference lengths of all samples. Of several targets the
one with the lowest rate counts. Where the reference is empty a sample's own rate is its number of insertions,
as in jiwer.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from evalkit.metrics.base import NO_TARGET, Array, Measured, Metric, TextMetric, answers, failed, targets
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["Cer", "EditSimilarity", "Wer"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""

_SPACES = re.compile(r"\s\s+")


class Wer(Metric):
    """Word error rate: substitutions, deletions and insertions per reference word; ≥ 0, lower is better.

    Case and punctuation count, as by jiwer's default. Statistics: ``(edits, reference length)``.

    >>> measured = Wer().measure([Sample("1", "", "the cat sat")], [Output("1", "the cat sat down")])
    >>> round(float(Wer().value(measured.statistics.sum(0))), 4)
    0.3333
    """

    name = "wer"
    higher_is_better = False
    bounds = (0.0, math.inf)
    additive_mean: ClassVar[bool] = False
    streams = True

    def units(self, text: str) -> Sequence[str]:
        """What is counted: words between single spaces."""
        return [word for word in _SPACES.sub(" ", text).strip().split(" ") if word]

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Several answers to a sample count as the mean of their statistics."""
        distance = _distance()
        rows = np.zeros((len(samples), 2))
        scores: list[Score] = []
        for row, sample, output in zip(rows, samples, outputs, strict=True):
            references = [self.units(target) for target in targets(sample)]
            texts = answers(output)
            if reason := failed(output) or (None if references else NO_TARGET):
                scores.append(reason)
            elif not texts:
                scores.append(Unscored("the output holds no answer"))
            else:
                counted = [self._best(self.units(text), references, distance) for text in texts]
                row[:] = np.mean(counted, axis=0)
                scores.append(sum(_rate(*pair) for pair in counted) / len(counted))
        return Measured(rows, scores)

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``: edits per unit; the edits themselves where all references are empty."""
        edits, length = totals[..., 0], totals[..., 1]
        return np.asarray(edits / np.where(length > 0, length, 1.0))

    def signature(self) -> str:
        """Name and version of jiwer, whose definition it is."""
        return signature(self.name, unit="word", jiwer=_version())

    def _best(
        self, answer: Sequence[str], references: list[Sequence[str]], distance: Callable[..., int]
    ) -> tuple[float, float]:
        pairs = [(float(distance(reference, answer)), float(len(reference))) for reference in references]
        return min(pairs, key=lambda pair: _rate(*pair))


class Cer(Wer):
    """Character error rate: edits per reference character, spaces included; ≥ 0, lower is better."""

    name = "cer"

    def units(self, text: str) -> Sequence[str]:
        """What is counted: characters, without white space at both ends."""
        return text.strip()

    def signature(self) -> str:
        """Name and version of jiwer, whose definition it is."""
        return signature(self.name, unit="character", jiwer=_version())


class EditSimilarity(TextMetric):
    """One minus the edits over the length of the longer text, in characters, mean over samples: 0–1, higher
    is better.

    White space at both ends does not count; two empty texts are equal. Of several targets the nearest counts.

    >>> EditSimilarity().score_text(Sample("1", "", "kitten"), "sitting")
    0.5714285714285714
    """

    name = "edit_similarity"

    def score_text(self, sample: Sample, text: str) -> Score:
        """Similarity with the nearest target; unscored without one."""
        accepted = [target.strip() for target in targets(sample)]
        if not accepted:
            return NO_TARGET
        distance, answer = _distance(), text.strip()
        return max(1 - distance(target, answer) / max(len(target), len(answer), 1) for target in accepted)

    def signature(self) -> str:
        """Name and unit."""
        return signature(self.name, unit="character", definition=VERSION)


def _rate(edits: float, length: float) -> float:
    return edits / length if length else edits


def _distance() -> Callable[..., int]:
    """Levenshtein distance, by the library that jiwer counts with."""
    distance: Any = importlib.import_module("rapidfuzz.distance.Levenshtein").distance
    return distance  # type: ignore[no-any-return]


def _version() -> str:
    return importlib.import_module("importlib.metadata").version("jiwer")  # type: ignore[no-any-return]
