"""``evalkit init [DIR]``: a new project in which ``evalkit run`` works at once."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from evalkit.errors import OutputFolderError

__all__ = ["app", "write_project"]

TEMPLATE = Path(__file__).resolve().parents[1] / "templates" / "project"
"""The files of a new project; ``dot-`` at the start of a name stands for a dot, so that they act on no other
tool."""

app = typer.Typer()


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path()) -> None:
    """Start a new project in which `evalkit run` works at once. Overwrites nothing."""
    for path in write_project(folder):
        typer.echo(f"  {path}", err=True)
    enter = "" if folder == Path() else f"  cd {shlex.quote(str(folder))}\n"
    typer.echo(
        f"Next:\n{enter}  evalkit model pull smollm2-135m-instruct-q4_1\n  evalkit run study.yaml", err=True
    )
    typer.echo(str(folder.resolve()))


def write_project(folder: Path) -> list[Path]:
    """Write a new project and return its files, relative to its folder.

    Raises:
        OutputFolderError: One of its files is there already (nothing is written then), or the folder cannot
            be written to.
    """
    files = {_name(file): file for file in sorted(TEMPLATE.rglob("*")) if file.is_file()}
    clash = [str(name) for name in files if (folder / name).exists()]
    if clash:
        raise OutputFolderError(
            f"{folder} holds {', '.join(clash)} already, and nothing is overwritten: choose another folder, or move "
            "them away."
        )
    try:
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(file.read_bytes())
    except OSError as error:
        raise OutputFolderError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}"
        ) from error
    return list(files)


def _name(file: Path) -> Path:
    parts = file.relative_to(TEMPLATE).parts
    return Path(*(f".{part.removeprefix('dot-')}" if part.startswith("dot-") else part for part in parts))
