"""``evalkit train STUDY``: the adapters alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import evalkit
from evalkit.cli.progress import shown
from evalkit.cli.run import names

__all__ = ["app"]

app = typer.Typer()


@app.command()
def train(
    study: Annotated[Path, typer.Argument(help="The study's YAML.")] = Path("study.yaml"),
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that takes the place of runs/.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train only these candidates.")] = None,
) -> None:
    """Train the candidates of a study, nothing else. Prints the run folder last; `evalkit run` goes on from it."""
    planned = evalkit.plan(study, only=names(only, more))
    with shown() as progress:
        finished = evalkit.run_planned(planned, out=out, progress=progress, train_only=True)
    for name, reason in finished.failed.items():
        typer.echo(f"{name} could not be done: {reason}", err=True)
    typer.echo(str(finished.path))
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)
