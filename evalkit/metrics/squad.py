"""Exact match and token F1 with SQuAD's official normalisation.

Rajpurkar et al. 2016 (SQuAD v1.1) and 2018 (v2.0). Lower case, drop ASCII punctuation, drop the articles *a*,
*an* and *the*, collapse white space; the best value over the accepted answers counts. Where an answer or a
target is empty after that, v2's rule holds: 1 if both are, else 0. Values are 0–1 (the official script prints
0–100).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from evalkit.metrics.base import NO_TARGET, TextMetric, one_of, targets
from evalkit.records import Sample, Score
from evalkit.signature import signature

__all__ = ["ExactMatch", "TokenF1", "normalize_answer"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)


def normalize_answer(text: str) -> str:
    """SQuAD's normalisation.

    >>> normalize_answer("The  Eiffel-Tower, in Paris.")
    'eiffeltower in paris'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


class ExactMatch(TextMetric):
    """Share of answers that equal an accepted answer: 0–1, higher is better.

    Args:
        normalize: ``squad`` (default) compares after SQuAD's normalisation, ``strip`` after stripping white
            space at both ends, ``none`` character by character.

    >>> ExactMatch().score_text(Sample("1", "Who?", ["Niels Bohr", "Bohr"]), "the bohr.")
    1.0
    """

    _normalizers: ClassVar[dict[str, Callable[[str], str]]] = {
        "squad": normalize_answer,
        "none": str,
        "strip": str.strip,
    }

    def __init__(self, *, normalize: str = "squad") -> None:
        self.name = "exact_match"
        self.normalize = one_of(self.name, "normalize", normalize, self._normalizers)

    def score_text(self, sample: Sample, text: str) -> Score:
        """1 if the answer equals one of the targets, else 0; unscored without a target."""
        accepted = targets(sample)
        normal = self._normalizers[self.normalize]
        if not accepted:
            return NO_TARGET
        answer = normal(text)
        return float(any(answer == normal(target) for target in accepted))

    def signature(self) -> str:
        """Name and normalisation."""
        return signature(self.name, normalize=self.normalize, definition=VERSION)


class TokenF1(TextMetric):
    """Harmonic mean of precision and recall of words, best over the accepted answers: 0–1, higher is better.

    >>> TokenF1().score_text(Sample("1", "Who?", "Niels Bohr"), "It was Bohr")
    0.4
    """

    name = "token_f1"

    def score_text(self, sample: Sample, text: str) -> Score:
        """F1 of the normalised words as bags; unscored without a target."""
        accepted = targets(sample)
        if not accepted:
            return NO_TARGET
        words = normalize_answer(text).split()
        return max(_bag_f1(words, normalize_answer(target).split()) for target in accepted)

    def signature(self) -> str:
        """Name and normalisation."""
        return signature(self.name, normalize="squad", definition=VERSION)


def _bag_f1(answer: list[str], target: list[str]) -> float:
    if not answer or not target:
        return float(answer == target)
    common = sum((Counter(answer) & Counter(target)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(answer), common / len(target)
    return 2 * precision * recall / (precision + recall)
