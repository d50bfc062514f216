"""``evalkit run STUDY``: everything, from rows to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import evalkit
from evalkit.cli import lazy
from evalkit.cli.progress import shown
from evalkit.errors import UserError

__all__ = ["app", "names"]

app = typer.Typer()


def names(only: list[str] | None, more: list[str] | None) -> list[str] | None:
    """Return the names of ``--only A B`` and ``--only A --only B`` alike; None where the flag is absent.

    Raises:
        UserError: There are words after the study that belong to no flag.
    """
    if more and not only:
        raise UserError(
            f"Expected one study, got {' '.join(more)!r} after it. To do some candidates: --only NAME …"
        )
    return [*only, *(more or [])] if only else None


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study's YAML.")] = Path("study.yaml"),
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that takes the place of runs/.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many samples a task.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Do only this candidate (and its control); repeatable.")
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(
            help="none: run code of models with all your rights; optional: unscored without a sandbox."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Train, answer, score, compare, report and gate; resumes by itself. Prints the run folder last."""
    planned = evalkit.plan(study, limit=limit, only=names(only, more), sandbox=sandbox)
    with shown() as progress:
        finished = evalkit.run_planned(planned, out=out, progress=progress)
    results = finished.results
    typer.echo(evalkit.results_table(results), err=True)
    for name, reason in finished.failed.items():
        typer.echo(f"{name} could not be done: {reason}", err=True)
    typer.echo(f"Report: {finished.report}", err=True)
    if finished.gate is not None:
        lazy.say_verdict(finished.gate)
    for message in finished.gate_error:
        typer.echo(message, err=True)
    typer.echo(json.dumps(results, indent=2, ensure_ascii=False) if as_json else str(finished.path))
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)
