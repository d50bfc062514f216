"""One rule looked at after every batch: what was seen, and how much it speaks for passing and for failing.

Each rule has two e-processes (``stats.sequential``): one against "the bound is not reached", whose growth passes the
rule, and one against "it is reached", whose growth fails it. Either is 40 or more by chance in at most 2.5 % of all
runs, however often one looks. The whole passes when every rule has passed at its own level, and fails when one fails
after Holm over the rules: 1/e is a p-value that holds at every stopping time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evalkit.gates.verdicts import Kind, Word
from evalkit.stats import confidence_sequence, e_process

__all__ = ["Look", "judge_looks", "order_of"]

Array = NDArray[np.float64]


@dataclass(slots=True)
class Look:
    """What was seen of one rule so far.

    Attributes:
        kind: Which rule.
        bound: What the values are held against.
        low: Least value of a sample (a difference's is the negative range of the metric).
        high: Largest value.
        largest: Samples in the largest unit there is.
        sums: Of each unit seen, over its scored samples.
        sizes: Scored samples of each.
        unscored: Samples seen that could not be used.
        error: Why the candidate could not be done, which fails the rule.
        undecided: Why the reference could not be done, which leaves it open.
    """

    kind: Kind
    bound: float
    low: float
    high: float
    largest: int = 1
    sums: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    unscored: int = 0
    error: str | None = None
    undecided: str | None = None

    @property
    def n(self) -> int:
        """Samples, or pairs, seen."""
        return sum(self.sizes)

    @property
    def estimate(self) -> float | None:
        """Mean of what was seen."""
        return sum(self.sums) / self.n if self.n else None

    def add(self, values: Array) -> None:
        """Take in the values of one unit's samples, NaN where unscored."""
        scored = values[np.isfinite(values)]
        self.unscored += len(values) - len(scored)
        if len(scored):
            self.sums.append(float(scored.sum()))
            self.sizes.append(len(scored))

    def evidence(self) -> tuple[float, float]:
        """The largest e-values so far: for passing, for failing."""
        above, below = self._e_value(upward=True), self._e_value(upward=False)
        return (below, above) if self.kind == "at_most" else (above, below)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Where the mean lies, at every stopping time with this confidence."""
        return confidence_sequence(
            np.array(self.sums),
            low=self.low,
            high=self.high,
            confidence=confidence,
            sizes=np.array(self.sizes, dtype=np.float64),
            largest=self.largest,
        )

    def _e_value(self, *, upward: bool) -> float:
        if not self.sums:
            return 1.0
        sign, sizes = (1.0 if upward else -1.0), np.array(self.sizes, dtype=np.float64)
        low, high = (self.low, self.high) if upward else (-self.high, -self.low)
        bound = min(max(sign * self.bound, low), high)
        found = e_process(
            sign * np.array(self.sums), bound, low=low, high=high, sizes=sizes, largest=self.largest
        )
        return float(found.max(initial=1.0))


def judge_looks(looks: Sequence[Look], confidence: float) -> tuple[Word, list[Word], list[bool]]:
    """The whole's verdict so far, each rule's at its own level, and whether it fails together with the others.

    Args:
        looks: One a rule and candidate.
        confidence: Two-sided level; each side's α is (1 − confidence) / 2.
    """
    needed = 2 / (1 - confidence)
    words: list[Word] = []
    found = [look.evidence() for look in looks]
    for look, (passing, failing) in zip(looks, found, strict=True):
        if look.error is not None:
            words.append("fail")
        elif look.undecided is not None or max(passing, failing) < needed:
            words.append("inconclusive")
        else:
            words.append("pass" if passing >= failing else "fail")
    together = [look.error is not None for look in looks]
    rest = sorted(
        (i for i, word in enumerate(words) if word == "fail" and not together[i]), key=lambda i: -found[i][1]
    )
    count = len(looks) - sum(together)
    for rank, index in enumerate(rest):
        if found[index][1] < needed * (count - rank):
            break
        together[index] = True
    whole: Word = "inconclusive"
    if any(together):
        whole = "fail"
    elif looks and all(word == "pass" for word in words):
        whole = "pass"
    return whole, words, together


def order_of(clusters: Sequence[str | None], seed: Sequence[int]) -> list[list[int]]:
    """Samples in the order they are looked at: units (clusters, or samples on their own) in a seeded random order.

    Args:
        clusters: Of each sample.
        seed: Of the order.

    >>> order_of(["a", None, "a"], [1])
    [[0, 2], [1]]
    """
    units: dict[object, list[int]] = {}
    for row, name in enumerate(clusters):
        units.setdefault(("alone", row) if name is None else ("named", name), []).append(row)
    members = list(units.values())
    return [members[i] for i in np.random.default_rng(list(seed)).permutation(len(members))]
