"""``evalkit list KIND``: what the catalog has, and where each entry comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli import lazy

__all__ = ["app"]

app = typer.Typer()


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="tasks, judges, trainers, reports, metrics or models.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List tasks, judges, trainers, reports, metrics or models.

    Entries of the project (the four folders in the working directory) win over those of plugins, which win
    over the built-in ones.
    """
    rows = lazy.listing(kind, [Path.cwd()])
    if as_json:
        typer.echo(json.dumps({kind: rows}, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo(f"No {kind} here, built in or in a plugin.", err=True)
    widths = [max((len(row[key]) for row in rows), default=0) for key in ("name", "origin")]
    for row in rows:
        typer.echo(f"{row['name']:{widths[0]}}  {row['origin']:{widths[1]}}  {row['description']}".rstrip())
