"""``evalkit judge RUN --judge NAME``: verdicts on the answers of a finished run."""

from __future__ import annotations

from typing import Annotated

import typer

import evalkit
from evalkit.cli.progress import shown

__all__ = ["app"]

app = typer.Typer()


@app.command()
def judge(
    run: Annotated[
        str, typer.Argument(help="A run folder, a study's folder (its newest run), or a run's ID.")
    ],
    judges: Annotated[
        list[str], typer.Option("--judge", help="A judge of the run's study or of the catalog; repeatable.")
    ],
    model: Annotated[str | None, typer.Option(help="The judging model's name on its server.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Its server, such as http://localhost:8000/v1; default: OpenAI.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the server's key.")
    ] = None,
    local: Annotated[
        str | None, typer.Option(help="Judge with a model on this machine (`evalkit list models`).")
    ] = None,
    under_test: Annotated[
        bool, typer.Option("--under-test", help="Allow a model that is itself a candidate's.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="Money it may spend; needs prices in the study.")
    ] = None,
) -> None:
    """Ask judges about the answers of a finished run; resumes by itself. Prints the run folder last."""
    named = evalkit.judge_model(model, base_url, api_key_env, local, under_test)
    with shown() as progress:
        folder, failed = evalkit.judge_finished(run, judges, progress, model=named, budget=budget)
    evalkit.rewrite_report(folder.path)
    for line in evalkit.judge_lines(folder.results(), judges):
        typer.echo(line, err=True)
    for name, reason in failed.items():
        typer.echo(f"judge {name} could not be finished: {reason}", err=True)
    typer.echo(str(folder.path))
    if failed:
        raise typer.Exit(4)
