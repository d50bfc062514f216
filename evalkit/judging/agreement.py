"""Agreement among raters as one object: what ``evalkit agreement`` prints and a calibration compares with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.data.labels import LabelTable, numbers, read_labels
from evalkit.errors import DataError
from evalkit.stats.agreement import Level, Weights, cohen_kappa, fleiss_kappa, krippendorff_alpha
from evalkit.stats.bootstrap import Interval

__all__ = ["Agreement", "agreement", "measure_agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree beyond chance: 1 is complete, 0 what chance gives.

    Attributes:
        items: Items with at least one label.
        raters: Raters.
        labels: Labels given.
        shared: Items with two labels or more; the others say nothing about agreement.
        cohen_kappa: Of exactly two raters; None for more.
        fleiss_kappa: Of any number of raters.
        fleiss_items: Items that Fleiss' kappa is over.
        krippendorff_alpha: Of any number of raters with any gaps.
        level: The level of measurement of alpha.
        confidence: Level of the intervals, which are bootstrapped over items.
    """

    items: int
    raters: int
    labels: int
    shared: int
    cohen_kappa: Interval | None
    fleiss_kappa: Interval
    fleiss_items: int
    krippendorff_alpha: Interval
    level: Level
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """The object of ``evalkit agreement --json``."""
        return {
            "items": self.items,
            "raters": self.raters,
            "labels": self.labels,
            "shared_items": self.shared,
            "confidence": self.confidence,
            "cohen_kappa": None if self.cohen_kappa is None else _ends(self.cohen_kappa),
            "fleiss_kappa": {**_ends(self.fleiss_kappa), "items": self.fleiss_items},
            "krippendorff_alpha": {**_ends(self.krippendorff_alpha), "level": self.level},
        }


def agreement(
    source: str | Path | Iterable[Mapping[str, Any]],
    *,
    order: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    **settings: Any,
) -> Agreement:
    """Measure how far raters agree; the same as ``evalkit agreement``.

    Args:
        source: A file of labels, or rows ``{"item", "rater", "label"}``.
        order: All labels from lowest to highest, where they are no numbers.
        columns: ``item``, ``rater``, ``label`` → the name of that column, where it has another.
        **settings: Passed to ``measure_agreement``: ``level``, ``weights``, ``confidence``, ``seed``.

    Raises:
        UserError: The labels are missing, contradict each other, or say nothing about agreement.
    """
    given = Path(source) if isinstance(source, str | Path) else source
    return measure_agreement(read_labels(given, **(columns or {}), order=order), **settings)


def measure_agreement(
    table: LabelTable,
    *,
    level: Level = "nominal",
    weights: Weights | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Agreement:
    """Measure how far raters agree.

    Args:
        table: Their labels, as ``read_labels`` returns them.
        level: Level of measurement of alpha.
        weights: Of Cohen's kappa; None for labels that are all alike different.
        confidence: Two-sided level of the intervals.
        resamples: Of the bootstrap over items.
        seed: Of its draws.

    Raises:
        DataError: Fewer than two raters, no item with two labels, or labels without the order or the numbers
            that ``level`` or ``weights`` needs.

    >>> from evalkit.data.labels import read_labels
    >>> said = {"a": "yyyn", "b": "yynn"}
    >>> rows = [{"item": i, "rater": r, "label": l} for r, ls in said.items() for i, l in enumerate(ls)]
    >>> round(measure_agreement(read_labels(rows)).cohen_kappa.value, 3)
    0.5
    """
    given = (table.codes >= 0).sum(1)
    if len(table.raters) < 2:
        raise DataError(f"Agreement takes two raters or more; all labels are by {table.raters[0]!r}.")
    if not (given >= 2).any():
        raise DataError(
            "No item has labels of two raters, so nothing can be said about their agreement; "
            "let some items be labelled twice."
        )
    values = numbers(table) if level == "interval" else None
    if level == "ordinal" or weights is not None:
        _ordered(table, f"level {level}" if level == "ordinal" else f"{weights} weights")
    settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    two = len(table.raters) == 2
    fleiss, fleiss_items = fleiss_kappa(table.codes, **settings)
    return Agreement(
        items=len(table.items),
        raters=len(table.raters),
        labels=int(given.sum()),
        shared=int((given >= 2).sum()),
        cohen_kappa=cohen_kappa(*table.codes.T, weights=weights, **settings) if two else None,
        fleiss_kappa=fleiss,
        fleiss_items=fleiss_items,
        krippendorff_alpha=krippendorff_alpha(table.codes, values, level=level, **settings),
        level=level,
        confidence=confidence,
    )


def _ordered(table: LabelTable, what: str) -> None:
    """Labels have an order when they are numbers or when the user gave one."""
    if table.ordered:
        return
    raise DataError(
        f"The labels have no order that {what} could use: {', '.join(table.values[:5])}. "
        "Use numbers, or type --order LOWEST,…,HIGHEST."
    )


def _ends(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
