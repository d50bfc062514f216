"""``evalkit compare RUN [RUN…]``: candidates of finished runs side by side."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import evalkit

__all__ = ["app"]

app = typer.Typer()


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, folders of studies (their newest run), or run IDs.")
    ],
    control: Annotated[
        str | None, typer.Option(help="Any candidate, whom the others are compared with.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores and comparisons as JSON on stdout.")
    ] = False,
) -> None:
    """Compare the candidates of finished runs, on the same samples, with the first run's control or any other."""
    merged = evalkit.compare(*runs, control=control)
    if as_json:
        typer.echo(json.dumps(merged, indent=2, ensure_ascii=False))
    else:
        typer.echo(evalkit.results_table(merged), err=True)
