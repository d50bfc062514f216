"""``evalkit score FILE --metrics A,B``: numbers for outputs that were made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import evalkit
from evalkit.errors import UserError

if TYPE_CHECKING:
    from evalkit.records import Result

__all__ = ["app"]

app = typer.Typer()


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help='Rows with "output" and, as the metrics need it, "target".')],
    metrics: Annotated[str, typer.Option(help="Names, separated by commas: exact_match,token_f1.")] = "",
    task: Annotated[str | None, typer.Option(help="Score as this task does; instead of --metrics.")] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(
            help="none: run code of models with all your rights; optional: unscored without a sandbox."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
    samples: Annotated[Path | None, typer.Option(help="Write every row's own scores to this file.")] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Score outputs that were made elsewhere."""
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if bool(names) == (task is not None):
        raise UserError(
            "Say either --metrics NAME[,NAME…] or --task NAME; "
            "`evalkit list metrics` and `evalkit list tasks` list them."
        )
    scored = evalkit.score_file(
        file, names, task=task, samples=samples, confidence=confidence, seed=seed, sandbox=sandbox
    )
    for result in scored.results:
        typer.echo(_line(result), err=True)
    for part in scored.slices:
        typer.echo(f"{part['field']} {part['slice']}: {_value(part)}", err=True)
    if samples is not None:
        typer.echo(f"Scores of every row: {samples}", err=True)
    if as_json:
        rows = [result.to_json() for result in scored.results]
        slices = {"slices": scored.slices} if scored.slices else {}
        typer.echo(json.dumps({"scores": rows, **slices}, indent=2, ensure_ascii=False))


def _line(result: Result) -> str:
    return f"{_value(result.to_json())}  {result.signature}"


def _value(row: Mapping[str, Any]) -> str:
    value = "–" if row["value"] is None else f"{row['value']:.4f}"
    interval = "" if row["low"] is None or row["high"] is None else f" [{row['low']:.4f}, {row['high']:.4f}]"
    unscored = f", {row['unscored']} unscored" if row["unscored"] else ""
    kinds = ", ".join(f"{kind} {count}" for kind, count in (row.get("classes") or {}).items())
    return f"{row['metric']}  {value}{interval}  n={row['n']}{unscored}{kinds and f' ({kinds})'}"
