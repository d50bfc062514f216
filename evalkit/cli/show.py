"""``evalkit show KIND/NAME``: one entry of the catalog, its files and what its README says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli import lazy

__all__ = ["app"]

app = typer.Typer()


@app.command()
def show(entry: Annotated[str, typer.Argument(help="Such as tasks/gsm8k, metrics/f1.")]) -> None:
    """Show one entry of the catalog: where it is, its card, its files and its README."""
    typer.echo(lazy.shown_entry(entry, [Path.cwd()]))
