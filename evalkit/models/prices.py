"""What calls to a server cost, and the limit at which they stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["PRICES", "SPENT", "Budget", "Price", "price_of"]


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens, in the currency of the price list (US dollars in ``PRICES``).

    >>> Price(2.0, 8.0).of(1_000_000, 500_000)
    6.0
    """

    input: float
    output: float

    def of(self, prompt_tokens: int, output_tokens: int) -> float:
        """The cost of one call."""
        return (prompt_tokens * self.input + output_tokens * self.output) / 1_000_000


SPENT = "the budget of"
"""How the error of an output begins that a spent budget left unanswered."""

PRICES: dict[str, Price] = {
    "gpt-3.5-turbo": Price(0.50, 1.50),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4o-mini": Price(0.15, 0.60),
}
"""US dollars for a million tokens on OpenAI's list of April 2025, without discounts. Prices change: a study's
``prices:`` wins. Used only for the maker's own address; another server's prices are its own."""


@dataclass(slots=True)
class Budget:
    """Money that a run may spend on calls. What open calls may cost at most is set aside before they are made, so
    that it is never exceeded.

    Attributes:
        limit: None: no limit.
        spent: Cost of the finished calls of this process.
        by_name: The same, by what they were made for.

    >>> budget = Budget(1.0)
    >>> budget.reserve(0.8), budget.reserve(0.4)
    (True, False)
    >>> budget.settle(0.8, 0.1, "r16"); budget.reserve(0.4)
    True
    """

    limit: float | None = None
    spent: float = 0.0
    by_name: dict[str, float] = field(default_factory=dict)
    _reserved: float = 0.0
    _open: int = 0

    @property
    def waiting(self) -> bool:
        """Whether open calls may still give back some of what is set aside for them."""
        return self._open > 0

    def reserve(self, most: float) -> bool:
        """Set money aside for a call; False where it might not be there."""
        if self.limit is not None and self.spent + self._reserved + most > self.limit:
            return False
        self._reserved += most
        self._open += 1
        return True

    def settle(self, most: float, cost: float, name: str) -> None:
        """A call ended: take back what was set aside and count what it cost."""
        self._reserved -= most
        self._open -= 1
        if self._open == 0:
            self._reserved = 0.0  # no drift from rounding
        self.spent += cost
        self.by_name[name] = self.by_name.get(name, 0.0) + cost


def price_of(model: str, base_url: str | None, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model: the user's; else that of ``PRICES`` at the maker's own address; else None.

    A name with a date counts as the name: ``gpt-4o-2024-08-06`` as ``gpt-4o``.

    >>> price_of("gpt-4o-mini-2024-07-18", None, {})
    Price(input=0.15, output=0.6)
    >>> price_of("gpt-4o-mini", "http://localhost:8000/v1", {}) is None
    True
    """
    if model in prices:
        return prices[model]
    if base_url is not None and "//api.openai.com" not in base_url:
        return None
    if model in PRICES:
        return PRICES[model]
    name, digits = model[:-11], model[-10:].replace("-", "")
    return PRICES.get(name) if len(digits) == 8 and digits.isdecimal() else None
