"""``evalkit calibrate RUN --judge NAME --labels FILE``: a judge measured against people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import evalkit

__all__ = ["app"]

app = typer.Typer()

Json = dict[str, Any]


@app.command()
def calibrate(
    run: Annotated[
        str, typer.Argument(help="A run folder, a study's folder (its newest run), or a run's ID.")
    ],
    judge: Annotated[str, typer.Option(help="A judge of the run; NAME.CRITERION for one of its criteria.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels: candidate, task, id, label and maybe rater; default: the run's own."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="Which question's labels count.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Values above it are right; default: the middle of the scale.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Level of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON on stdout.")] = False,
) -> None:
    """Measure a judge against people, and correct its numbers by what they say."""
    found = evalkit.calibrate(
        run, judge, labels, question=question, threshold=threshold, confidence=confidence
    )
    for line in _lines(found):
        typer.echo(line, err=True)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _lines(found: Json) -> list[str]:
    agreement = found["agreement"]
    lines = [
        f"Judge {found['judge']}: {found['answers']} of {found['judged']} judged answers have labels, "
        f"by {found['raters']} {'people' if found['raters'] > 1 else 'person'}.",
        _agreement("judge and people", agreement["judge_people"]),
    ]
    if agreement["people_people"] is not None:
        lines.append(_agreement("people among themselves", agreement["people_people"]))
    lines.append(f"Sensitivity {_value(found['sensitivity'])}, specificity {_value(found['specificity'])}.")
    lines.append(f"The judge scores {_value(found['bias'])} higher than people do.")
    for row in found["estimates"]:
        lines.append(
            f"{row['candidate']} on {row['task']}: judge {_value(row['judge'])}, people {_value(row['people'])} "
            f"(n={row['labelled']}), corrected {_value(row['corrected'])}"
        )
    return [*lines, *found["notes"]]


def _agreement(who: str, row: Json) -> str:
    return f"Agreement of {who}: alpha {_value(row['alpha'])}, kappa {_value(row['kappa'])}, same {row['same']:.0%}."


def _value(row: Json) -> str:
    if row["value"] is None:
        return "–"
    ends = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{ends}"
