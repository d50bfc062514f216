"""``evalkit human export|import|to-preferences``: sheets out, labels in, preferences for a trainer."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import evalkit
from evalkit.errors import OutputFolderError

__all__ = ["Format", "Pick", "app"]

app = typer.Typer()


class Format(StrEnum):
    """What people get."""

    csv = "csv"
    xlsx = "xlsx"
    html = "html"
    label_studio = "label-studio"


class Pick(StrEnum):
    """How samples are chosen."""

    random = "random"
    stratified = "stratified"
    matters = "matters"


RUN = Annotated[str, typer.Argument(help="A run folder, a study's folder (its newest run), or a run's ID.")]


@app.command()
def export(
    run: RUN,
    format: Annotated[Format, typer.Option(help="One file for each rater, in this format.")],
    out: Annotated[Path, typer.Option(help="Folder for the sheets.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate; may be repeated.")] = None,
    questions: Annotated[Path | None, typer.Option(help="YAML with the questions.")] = None,
    judge: Annotated[str | None, typer.Option(help="Ask the questions of this judge.")] = None,
    raters: Annotated[int, typer.Option(min=1, help="People who will rate.")] = 1,
    overlap: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the samples that every rater sees, for their agreement."),
    ] = 0.2,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples of each task; default: all.")] = None,
    pick: Annotated[
        Pick,
        typer.Option(
            help="How they are chosen; 'matters' prefers those that candidates or judges differ on."
        ),
    ] = Pick.random,
    strata: Annotated[
        str, typer.Option(help="For 'stratified': target, cluster or a metric's name.")
    ] = "target",
    block: Annotated[
        int | None,
        typer.Option(min=2, help="Most candidates of one sample; default: all up to 4, else 4 (of pairs 2)."),
    ] = None,
    repeats: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the lines that a rater sees twice.")
    ] = 0.0,
    checks: Annotated[int, typer.Option(min=0, help="Attention checks for each rater.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
) -> None:
    """Write blind sheets for people. Who is behind an answer stays in the run, under human/."""
    made = evalkit.export_sheets(
        run,
        out,
        format.value,
        asked=evalkit.read_questions(questions, judge),
        tasks=task or (),
        candidates=candidate or (),
        samples=samples,
        pick=pick.value,
        strata=strata,
        design=evalkit.Design(
            raters=raters, overlap=overlap, block=block, repeats=repeats, checks=checks, seed=seed
        ),
    )
    each = sorted(set(made.lines))
    lines = str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}"
    blocks = f", at most {made.block} candidates of each" if made.block else ""
    people = "1 rater" if raters == 1 else f"{raters} raters"
    typer.echo(
        f"Export {made.export}: {made.samples} samples{blocks}; {people} with {lines} lines each. "
        f"Take the labels in with: evalkit human import {run} FILE…",
        err=True,
    )
    for path in made.files:
        typer.echo(str(path))


@app.command("import")
def take(
    run: RUN,
    files: Annotated[list[Path], typer.Argument(help="Sheets that came back: CSV, XLSX, or JSON.")],
    accept_partial: Annotated[
        bool, typer.Option("--accept-partial", help="Import what is understood, leave out the rest.")
    ] = False,
) -> None:
    """Take labels into a run: nothing is imported until all is understood. Prints the report's path."""
    folder, found = evalkit.import_labels(run, files, accept_partial=accept_partial)
    for line in [*found.notes, *(f"left out: {problem}" for problem in found.problems)]:
        typer.echo(line, err=True)
    typer.echo(
        f"{found.new} new labels, {found.changed} changed, {found.same} known already; the run has {found.total} now. "
        f"{found.empty} lines are not filled in.",
        err=True,
    )
    typer.echo(str(folder.path / "report.html"))


@app.command("to-preferences")
def to_preferences(
    run: RUN,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL to write.")],
    question: Annotated[
        str | None,
        typer.Option(help="Only this question; default: all pairwise ones, else all with a score."),
    ] = None,
) -> None:
    """Write what people preferred as preference rows, for the trainer dpo."""
    rows = evalkit.to_preferences(run, question)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8", "surrogatepass")
    except OSError as error:
        raise OutputFolderError(f"{output} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{len(rows)} preferences.", err=True)
    typer.echo(str(output))
