"""Metrics that people write as a function: ``(sample, output) -> float | bool | None | Unscored``."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Any

from evalkit.errors import MetricError
from evalkit.metrics.base import PerSampleMetric
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["FunctionMetric", "ScoreFunction"]

ScoreFunction = Callable[[Sample, Any], float | bool | Unscored | None]


class FunctionMetric(PerSampleMetric):
    """The mean of what a function returns for each sample.

    Args:
        function: Called with the sample and the answer's text (a list of texts where a sample has several).
            True counts 1, False 0; None or ``Unscored`` means that the sample cannot be scored.
        name: As in results; the function's own name unless said.
        higher_is_better: Direction.

    >>> metric = FunctionMetric(lambda sample, output: output.startswith("a"), name="starts_with_a")
    >>> metric.score(Sample("1", "?"), Output("1", "apple"))
    1.0
    """

    bounds = (-math.inf, math.inf)

    def __init__(
        self, function: ScoreFunction, *, name: str | None = None, higher_is_better: bool = True
    ) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", "function"))
        self.higher_is_better = higher_is_better

    def score(self, sample: Sample, output: Output) -> Score:
        """Call the function.

        Raises:
            MetricError: The function raised, or returned something that is no score; names the sample.
        """
        where = f"Metric {self.name!r} on sample {sample.id!r}"
        try:
            result = self.function(sample, output.text)
        except Exception as error:
            raise MetricError(f"{where} raised {type(error).__name__}: {error}") from error
        if result is None:
            return Unscored("the metric returned no score")
        if isinstance(result, Unscored):
            return result
        try:
            value = float(result)
        except (TypeError, ValueError) as error:
            expected = "a number, True, False, None or Unscored"
            raise MetricError(f"{where} must return {expected}; got {type(result).__name__}.") from error
        return value if math.isfinite(value) else Unscored(f"the metric returned {value}")

    def signature(self) -> str:
        """Name and hash of the function's source."""
        return signature(self.name, source=_source_sha(self.function))


def _source_sha(function: ScoreFunction) -> str:
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or a callable object
        text = str(getattr(function, "__qualname__", type(function).__qualname__))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
