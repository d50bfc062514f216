"""``evalkit baseline set RUN`` and ``show``: a run's scores as a small JSON to commit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import evalkit
from evalkit.errors import DataError, nearest

__all__ = ["app"]

app = typer.Typer()

FOLDER = Path("baselines")


@app.command("set")
def keep(
    run: Annotated[
        str, typer.Argument(help="A run folder, a study's folder (its newest run), or a run's ID.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the baseline; default: the study's name.")] = None,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Keep what the candidates answered, too.")
    ] = False,
) -> None:
    """Keep a run as baselines/NAME.json: scores per sample and hashes, no model's text unless asked."""
    path = evalkit.keep_baseline(run, name, outputs=outputs)
    typer.echo(f"Commit it; a gate's rules compare with it as 'baseline' (--baseline {path.stem}).", err=True)
    typer.echo(str(path))


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="A baseline's name or file; default: every one there is.")
    ] = None,
) -> None:
    """Show what baselines hold."""
    known = {file.stem: file for file in sorted(FOLDER.glob("*.json"))}
    if name is None and not known:
        raise DataError(
            f"There is no baseline in {FOLDER.resolve()}: make one with `evalkit baseline set RUN`."
        )
    if name is not None and name not in known and not Path(name).is_file():
        raise DataError(f"No baseline {name!r} in {FOLDER.resolve()}.{nearest(name, known)}")
    for file in known.values() if name is None else [known.get(name, Path(name))]:
        kept = evalkit.read_baseline(file)
        typer.echo(f"{file.stem}  study {kept.study}  run {kept.run}")
        for (candidate, task, metric), entry in kept.entries.items():
            value = "–" if entry["value"] is None else f"{entry['value']:.4f}"
            typer.echo(f"  {candidate}  {task}  {metric}  {value}  n {entry['n']}")
