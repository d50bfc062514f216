"""What an answer cost: its length in tokens, its time, its price. All read the output's own record."""

from __future__ import annotations

import math

from evalkit.errors import MetricError
from evalkit.metrics.base import PerSampleMetric
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["Cost", "Latency", "OutputTokens"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""

MILLION = 1_000_000


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
        return signature(self.name, definition=VERSION)


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
        return signature(self.name, unit="seconds", definition=VERSION)


class Cost(PerSampleMetric):
    """Mean price of a sample's answers, prompt included, in the currency of the prices; lower is better.

    Without prices it reads the row's own ``cost``, where a server has said what it charged.

    Args:
        prompt_price: Of a million prompt tokens.
        output_price: Of a million answer tokens.
        currency: For the signature: prices in another currency are another metric.

    Raises:
        MetricError: One price without the other, or a negative one.

    >>> metric = Cost(prompt_price=0.15, output_price=0.6)
    >>> round(metric.score(Sample("1", "?"), Output("1", "Yes.", prompt_tokens=1000, output_tokens=100)), 6)
    0.00021
    """

    name = "cost"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def __init__(
        self,
        *,
        prompt_price: float | None = None,
        output_price: float | None = None,
        currency: str = "USD",
    ) -> None:
        given = [price for price in (prompt_price, output_price) if price is not None]
        numbers = all(
            isinstance(price, int | float) and math.isfinite(price) and price >= 0 for price in given
        )
        if len(given) == 1 or not numbers:
            raise MetricError(
                "cost: expected both prices of a million tokens, as in {metric: cost, prompt_price: 0.15, "
                f"output_price: 0.6}}, or neither; got {prompt_price!r} and {output_price!r}."
            )
        self.prices = (float(given[0]), float(given[1])) if given else None
        self.currency = currency

    def score(self, sample: Sample, output: Output) -> Score:
        """Price of the recorded tokens, or the row's own; unscored where there is neither."""
        if self.prices is None:
            charged = output.cost if output.cost is not None else sample.row.get("cost")
            if isinstance(charged, int | float) and not isinstance(charged, bool) and charged >= 0:
                return float(charged)
            return Unscored("the row has no cost, and the metric no prices (prompt_price, output_price)")
        if output.output_tokens <= 0 or output.prompt_tokens <= 0:
            return Unscored("the output carries no token counts")
        prompt, answer = self.prices
        return (output.prompt_tokens * prompt + output.output_tokens * answer) / MILLION

    def signature(self) -> str:
        """Name, prices and currency."""
        prompt, answer = self.prices or (None, None)
        source = "row" if self.prices is None else None
        return signature(
            self.name, prompt=prompt, output=answer, source=source, currency=self.currency, definition=VERSION
        )
