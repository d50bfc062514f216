"""Perplexity, bits per byte and calibration from the log-probabilities that an output carries.

A perplexity sample's output holds its text as the one rated "option"; a multiple-choice sample's output holds
all options. Calibration error: Naeini et al. 2015; Guo et al. 2017, with 15 bins of equal width.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.base import Array, Measured, Metric, failed
from evalkit.metrics.choice import target_indices
from evalkit.records import Choice, Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["BitsPerByte", "CalibrationError", "Perplexity"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""


class _TextLikelihood(Metric):
    """Negative log-likelihood of texts per unit of length. Statistics: ``(nats, units)``."""

    higher_is_better = False
    additive_mean: ClassVar[bool] = False
    streams = True
    bounds = (0.0, math.inf)

    @abstractmethod
    def units(self, text: Choice) -> int:
        """Length of the text."""

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. A sample's own score is the value over it alone."""
        rows = np.zeros((len(samples), 2))
        scores: list[Score] = []
        for row, output in zip(rows, outputs, strict=True):
            text = _whole_text(output)
            if isinstance(text, Unscored):
                scores.append(text)
            elif self.units(text) < 1:
                scores.append(Unscored("the text is empty"))
            else:
                row[:] = -text.logprob, self.units(text)
                scores.append(float(self.value(row)))
        return Measured(rows, scores)


class Perplexity(_TextLikelihood):
    """Perplexity per token of the model's own tokenizer: ``exp(nats / tokens)``, ≥ 1, lower is better.

    Models with different tokenizers compare by ``bits_per_byte`` only.

    >>> text = Output("1", "", choices=(Choice("a text", -6.0, 3),))
    >>> round(Perplexity().measure([Sample("1", "a text")], [text]).scores[0], 4)
    7.3891
    """

    name = "perplexity"
    bounds = (1.0, math.inf)

    def units(self, text: Choice) -> int:
        """Tokens that were predicted."""
        return text.tokens

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.asarray(np.exp(totals[..., 0] / totals[..., 1]))

    def signature(self) -> str:
        """Name and unit."""
        return signature(self.name, unit="token", definition=VERSION)


class BitsPerByte(_TextLikelihood):
    """Bits that the model needs for a byte of the UTF-8 text: ``nats / ln 2 / bytes``, ≥ 0, lower is
    better."""

    name = "bits_per_byte"

    def units(self, text: Choice) -> int:
        """Bytes of the text in UTF-8."""
        return len(text.text.encode("utf-8", "surrogatepass"))

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1] / math.log(2))

    def signature(self) -> str:
        """Name and unit."""
        return signature(self.name, unit="byte", definition=VERSION)


class CalibrationError(Metric):
    """Expected calibration error of multiple choice: 0–1, lower is better.

    The model's confidence is the softmax of its options' log-probabilities at the best one; samples are put
    into bins of equal width by it, and the distance of mean confidence from the share that is right is
    averaged over bins, weighted by their samples. Statistics: right, confidence and count of each bin. A
    sample's own score is ``|right - confidence|``.

    Args:
        bins: Number of bins, ≥ 1.
    """

    name = "calibration_error"
    higher_is_better = False
    additive_mean: ClassVar[bool] = False
    streams = True

    def __init__(self, *, bins: int = 15) -> None:
        if bins < 1:
            raise MetricError(f"calibration_error: setting 'bins' must be at least 1; got {bins}.")
        self.bins = bins

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``."""
        rows = np.zeros((len(samples), 3, self.bins))
        scores: list[Score] = []
        for row, sample, output in zip(rows, samples, outputs, strict=True):
            found = _confidence(sample, output)
            if isinstance(found, Unscored):
                scores.append(found)
                continue
            right, confidence = found
            # A confidence on an edge belongs to the bin below it, as in Guo et al.'s code.
            row[:, max(0, math.ceil(confidence * self.bins) - 1)] = right, confidence, 1.0
            scores.append(abs(right - confidence))
        return Measured(rows.reshape(len(samples), 3 * self.bins), scores)

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        right, confidence, count = np.split(totals, 3, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.abs(right - confidence).sum(-1) / count.sum(-1))

    def signature(self) -> str:
        """Name and bins."""
        return signature(self.name, bins=self.bins, definition=VERSION)


def _whole_text(output: Output) -> Choice | Unscored:
    if reason := failed(output):
        return reason
    if output.choices is None or len(output.choices) != 1:
        return Unscored("the output carries no log-probability of one whole text")
    if not math.isfinite(output.choices[0].logprob):
        return Unscored(f"the text's log-probability is {output.choices[0].logprob}")
    return output.choices[0]


def _confidence(sample: Sample, output: Output) -> tuple[float, float] | Unscored:
    """Whether the best option is right (0 or 1), and how sure the model is of it."""
    if reason := failed(output):
        return reason
    if not output.choices:
        return Unscored("the output carries no rated options")
    logprobs = np.array([choice.logprob for choice in output.choices])
    if np.isnan(logprobs).any() or not np.isfinite(logprobs.max()):
        return Unscored("an option's log-probability is not a number")
    texts = sample.choices if sample.choices is not None else [choice.text for choice in output.choices]
    accepted = target_indices(sample, texts)
    if isinstance(accepted, Unscored):
        return accepted
    odds = np.exp(logprobs - logprobs.max())
    return float(int(logprobs.argmax()) in accepted), float(odds.max() / odds.sum())
