"""What an answer cost: its length in tokens and its time. Both read the output's own record."""

from __future__ import annotations

import math

from evalkit.metrics.base import PerSampleMetric
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["Latency", "OutputTokens"]


class OutputTokens(PerSampleMetric):
    """Mean tokens per sample, end token included, all its answers together; lower is better.

    >>> OutputTokens().score(Sample("1", "?"), Output("1", "Yes.", output_tokens=3))
    3.0
    """

    name = "output_tokens"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def score(self, sample: Sample, output: Output) -> Score:
        """The recorded count; unscored where none was recorded (answers made elsewhere)."""
        if output.output_tokens <= 0:
            return Unscored("the output carries no token count")
        return float(output.output_tokens)

    def signature(self) -> str:
        """Name."""
        return signature(self.name)


class Latency(PerSampleMetric):
    """Mean seconds a sample took (its share of its batch); lower is better.

    >>> Latency().score(Sample("1", "?"), Output("1", "Yes.", seconds=0.25))
    0.25
    """

    name = "latency"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def score(self, sample: Sample, output: Output) -> Score:
        """The recorded time; unscored where none was recorded."""
        return output.seconds if output.seconds > 0 else Unscored("the output carries no time")

    def signature(self) -> str:
        """Name and unit."""
        return signature(self.name, unit="seconds")
