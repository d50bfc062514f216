"""``evalkit check [PATH]``: is this study, entry or project right, before anything is spent on it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli import lazy
from evalkit.errors import UserError

__all__ = ["app"]

app = typer.Typer()


@app.command()
def check(
    path: Annotated[
        Path, typer.Argument(help="A study, a gate, an entry of the catalog (its folder), or a project.")
    ] = Path(),
) -> None:
    """Check a study, a catalog entry or a whole project; tasks run their cases.yaml through their metrics."""
    wrong: list[str] = []
    for what, messages in lazy.check_path(path):
        typer.echo(f"{'✗' if messages else '✓'} {what}", err=True)
        wrong += messages
    if wrong:
        raise UserError(*wrong)
