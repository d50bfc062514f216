"""What a metric is: sufficient statistics per sample, summed, then turned into a value.

The statistics of samples are rows of a matrix; the value is a function of their *sum*. So a bootstrap is one
matrix product (resample counts × statistics) and never reads a text again, for corpus metrics (BLEU, macro F1)
as for plain means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.records import Output, Sample, Score, Unscored

__all__ = ["Measured", "Metric", "PerSampleMetric"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over some samples, before any number is drawn from it.

    Attributes:
        statistics: (n, k) one row of sufficient statistics a sample; a row of zeros where unscored.
        scores: n values, one a sample, in the metric's unit, or ``Unscored`` with a reason.
        labels: What the metric says about itself from the data, such as the classes it saw; may be empty.
    """

    statistics: Array
    scores: list[Score]
    labels: dict[str, Any] = field(default_factory=dict)

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
    """

    name: str
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    additive_mean: ClassVar[bool] = True

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


class PerSampleMetric(Metric):
    """A metric that is the mean of a score per sample. Statistics: ``(score, 1)``."""

    @abstractmethod
    def score(self, sample: Sample, output: Output) -> Score:
        """Return this sample's score in ``bounds``, or ``Unscored`` with a reason."""

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Samples whose output is an error are unscored with its reason."""
        scores = [self._score(sample, output) for sample, output in zip(samples, outputs, strict=True)]
        rows = [(0.0, 0.0) if isinstance(score, Unscored) else (score, 1.0) for score in scores]
        return Measured(np.array(rows, dtype=np.float64).reshape(len(rows), 2), scores)

    def value(self, totals: Array) -> Array:
        """Mean: ``sum(score) / count``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1])

    def _score(self, sample: Sample, output: Output) -> Score:
        if output.finish == "error":
            return Unscored(f"no answer: {output.error or 'unknown error'}")
        return self.score(sample, output)
