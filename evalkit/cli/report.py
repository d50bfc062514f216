"""``evalkit report RUN [RUN…]``: the report of finished runs, written again."""

from __future__ import annotations

from typing import Annotated

import typer

import evalkit

__all__ = ["app"]

app = typer.Typer()


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, folders of studies (their newest run), or run IDs.")
    ],
    name: Annotated[
        str | None, typer.Option("--report", help="Draw it with this report; default: the study's.")
    ] = None,
) -> None:
    """Write the report of finished runs again. Prints the path of each."""
    for run in runs:
        typer.echo(str(evalkit.rewrite_report(run, name)))
