"""What a metric is: sufficient statistics per sample, summed, then turned into a value.

The statistics of samples are rows of a matrix; the value is a function of their *sum*. So a bootstrap is one
matrix product (resample counts × statistics) and never reads a text again, for corpus metrics (BLEU, macro
F1) as for plain means.

A sample with several answers (``generation.samples`` above 1) counts as the mean of its answers.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import MetricError, nearest
from evalkit.records import Output, Sample, Score, Unscored

__all__ = [
    "Array",
    "Measured",
    "Metric",
    "PerSampleMetric",
    "TextMetric",
    "answers",
    "failed",
    "mean_of",
    "one_of",
    "targets",
]

Array = NDArray[np.float64]

NO_TARGET = Unscored("the row has no target")


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over some samples, before any number is drawn from it.

    Attributes:
        statistics: (n, k) one row of sufficient statistics a sample; a row of zeros where unscored.
        scores: n values, one a sample, in the metric's unit, or ``Unscored`` with a reason.
        labels: What the metric says about itself from the data, such as the classes it saw; may be empty.
        kinds: n values, the one of ``Metric.classes`` that each sample fell into; None where unscored, or where the
            metric has no classes.
    """

    statistics: Array
    scores: list[Score]
    labels: dict[str, Any] = field(default_factory=dict)
    kinds: list[str | None] | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) True where the sample has a score."""
        return np.array([not isinstance(score, Unscored) for score in self.scores], dtype=bool)


class Metric(ABC):
    """One metric with its settings.

    Attributes:
        name: As in results, with the model it depends on: ``bertscore[minilm]``.
        higher_is_better: Direction.
        bounds: Least and greatest possible value.
        additive_mean: True where the value is the mean of the per-sample scores, so that tests on paired
            per-sample differences apply; False for corpus metrics.
        streams: True where a sample's statistics do not depend on the other samples, so that a large file can be
            measured in blocks.
        classes: What answers are sorted into before they are right or wrong, such as full, partial and no refusal;
            results count them.
        slow: True where measuring is pure Python and worth a process of its own.
    """

    name: str
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    additive_mean: ClassVar[bool] = True
    streams: bool = False
    classes: tuple[str, ...] = ()
    slow: ClassVar[bool] = False

    @abstractmethod
    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """Return statistics and a score for every sample, in order.

        Args:
            samples: n samples.
            outputs: n outputs, of the same ids.
        """

    @abstractmethod
    def value(self, totals: Array) -> Array:
        """Turn summed statistics into values.

        Args:
            totals: (..., k) sums over samples. Vectorised: a bootstrap passes (resamples, k).

        Returns:
            (...) values; NaN where the total is empty.
        """

    @abstractmethod
    def signature(self) -> str:
        """One line that says what makes the number (see ``evalkit.signature``)."""

    def align(self, first: Measured, second: Measured) -> tuple[Array, Array]:
        """Return both statistics with the same columns, so that rows can be exchanged between them.

        Only metrics whose columns depend on the data (the classes of a macro average) have work to do here.
        """
        return first.statistics, second.statistics


class PerSampleMetric(Metric):
    """A metric that is the mean of a score per sample. Statistics: ``(score, 1)``."""

    streams = True

    @abstractmethod
    def score(self, sample: Sample, output: Output) -> Score:
        """Return this sample's score in ``bounds``, or ``Unscored`` with a reason."""

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Samples whose output is an error are unscored with its reason."""
        scores = [
            failed(output) or self.score(sample, output)
            for sample, output in zip(samples, outputs, strict=True)
        ]
        return mean_of(scores)

    def value(self, totals: Array) -> Array:
        """Mean: ``sum(score) / count``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1])


class TextMetric(PerSampleMetric):
    """A per-sample metric of the answer's text; several answers to a sample count as their mean."""

    @abstractmethod
    def score_text(self, sample: Sample, text: str) -> Score:
        """Return the score of one answer."""

    def score(self, sample: Sample, output: Output) -> Score:
        """Mean over the answers; unscored if any of them is, with its reason."""
        total = 0.0
        texts = answers(output)
        for text in texts:
            score = self.score_text(sample, text)
            if isinstance(score, Unscored):
                return score
            total += score
        return total / len(texts) if texts else Unscored("the output holds no answer")


def failed(output: Output) -> Unscored | None:
    """Why this output cannot be scored at all, or None."""
    if output.finish == "error":
        return Unscored(f"no answer: {output.error or 'unknown error'}")
    return None


def mean_of(scores: list[Score]) -> Measured:
    """Measured with the statistics of a mean, ``(score, 1)`` a sample and zeros where unscored."""
    rows = [(0.0, 0.0) if isinstance(score, Unscored) else (score, 1.0) for score in scores]
    return Measured(np.array(rows, dtype=np.float64).reshape(len(rows), 2), scores)


def answers(output: Output) -> list[str]:
    """The answers of an output, one or several."""
    return [output.text] if isinstance(output.text, str) else list(output.text)


def targets(sample: Sample) -> list[str]:
    """The accepted answers of a sample as texts; empty where the row has none.

    A number or truth value is written as JSON writes it, an object as its JSON.

    >>> targets(Sample("1", "2+2?", ["4", "four"])), targets(Sample("2", "?", 4)), targets(Sample("3", "?"))
    (['4', 'four'], ['4'], [])
    """
    if sample.target is None:
        return []
    if isinstance(sample.target, list | tuple):
        return [_text(value) for value in sample.target if value is not None]
    return [_text(sample.target)]


def one_of(metric: str, setting: str, value: object, allowed: Mapping[str, object] | Sequence[str]) -> str:
    """Return ``value`` if it is one of the allowed names.

    Raises:
        MetricError: It is not; the message lists them.
    """
    if isinstance(value, str) and value in allowed:
        return value
    raise MetricError(
        f"{metric}: setting {setting!r} must be one of {', '.join(allowed)}; got {value!r}."
        + nearest(str(value), allowed)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
