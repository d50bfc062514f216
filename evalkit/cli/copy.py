"""``evalkit copy KIND/NAME DIR``: an entry of the catalog as the project's own, to be changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from evalkit.catalog import KINDS, Entry, find
from evalkit.errors import CatalogError, OutputFolderError, nearest

__all__ = ["app", "copy_entry", "split_name"]

app = typer.Typer()


@app.command()
def copy(
    entry: Annotated[str, typer.Argument(help="Such as tasks/gsm8k, trainers/qlora.")],
    folder: Annotated[Path, typer.Argument(help="The project: the copy goes to FOLDER/KIND/NAME.")],
) -> None:
    """Copy an entry of the catalog, to change it.

    Studies in that folder, and commands run from it, use the copy from then on. Nothing is overwritten.
    """
    kind, name = split_name(entry, KINDS)
    found = find(kind, name, [Path.cwd()])
    copied = copy_entry(found, folder)
    typer.echo(f"{kind}/{name}: the copy wins over the {found.origin} one for studies in {folder}.", err=True)
    typer.echo(str(copied))


def split_name(text: str, kinds: dict[str, str] | list[str]) -> tuple[str, str]:
    """Split ``tasks/gsm8k`` into its kind and its name.

    Raises:
        CatalogError: There is no such kind, or no name.

    >>> split_name("tasks/gsm8k", ["tasks"])
    ('tasks', 'gsm8k')
    """
    kind, slash, name = text.strip("/").partition("/")
    if kind not in kinds:
        raise CatalogError(
            f"Expected KIND/NAME with a kind of {', '.join(kinds)}, got {text!r}.{nearest(kind, kinds)}"
        )
    if not slash or not name:
        raise CatalogError(f"Expected {kind}/NAME, got {text!r}; `evalkit list {kind}` lists the names.")
    return kind, name


def copy_entry(entry: Entry, folder: Path) -> Path:
    """Copy an entry to ``FOLDER/KIND/NAME``, whole or not at all, and return that folder.

    Raises:
        OutputFolderError: The copy is there already, or its folder cannot be written to.
    """
    target = folder / entry.kind / entry.name
    if target.exists():
        raise OutputFolderError(
            f"{target} is there already and is not overwritten: move it away, or copy elsewhere."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{entry.name}-") as holder:
            whole = Path(holder) / entry.name
            shutil.copytree(entry.path, whole, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
            os.rename(whole, target)
    except OSError as error:
        raise OutputFolderError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
