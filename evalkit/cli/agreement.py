"""``evalkit agreement FILE.csv``: how far raters agree beyond chance."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import evalkit

if TYPE_CHECKING:
    from evalkit.judging.agreement import Agreement
    from evalkit.stats.bootstrap import Interval

__all__ = ["Level", "Weights", "app"]

app = typer.Typer()


class Level(StrEnum):
    """Level of measurement of Krippendorff's alpha."""

    nominal = "nominal"
    ordinal = "ordinal"
    interval = "interval"


class Weights(StrEnum):
    """Weights of Cohen's kappa."""

    none = "none"
    linear = "linear"
    quadratic = "quadratic"


@app.command()
def agreement(
    file: Annotated[Path, typer.Argument(help="A row a label, with columns item, rater and label.")],
    level: Annotated[Level, typer.Option(help="How labels differ, for alpha.")] = Level.nominal,
    weights: Annotated[Weights, typer.Option(help="Of Cohen's kappa: labels near each other half agree.")] = (
        Weights.none
    ),
    order: Annotated[str, typer.Option(help="Labels from lowest to highest: bad,fair,good.")] = "",
    item: Annotated[str, typer.Option(help="Column with the item.")] = "item",
    rater: Annotated[str, typer.Option(help="Column with the rater.")] = "rater",
    label: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap over items.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the coefficients as JSON on stdout.")
    ] = False,
) -> None:
    """Measure how far raters agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha."""
    found = evalkit.agreement(
        file,
        level=level.value,
        weights=None if weights is Weights.none else weights.value,
        order=[name.strip() for name in order.split(",") if name.strip()],
        columns={"item": item, "rater": rater, "label": label},
        confidence=confidence,
        seed=seed,
    )
    typer.echo(_text(found), err=True)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))


def _text(found: Agreement) -> str:
    lines = [
        f"{found.items} items, {found.raters} raters, {found.labels} labels; "
        f"{found.shared} items with two labels or more."
    ]
    if found.cohen_kappa is not None:
        lines.append(_line("Cohen's kappa", found.cohen_kappa, ""))
    lines.append(_line("Fleiss' kappa", found.fleiss_kappa, f"over {found.fleiss_items} items"))
    lines.append(_line("Krippendorff's alpha", found.krippendorff_alpha, found.level))
    return "\n".join(lines)


def _line(name: str, interval: Interval, note: str) -> str:
    if interval.value is None:
        return f"{name}  – undefined: all labels are the same"
    ends = "" if interval.low is None else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{name}  {interval.value:.3f}{ends}{f'  ({note})' if note else ''}"
