"""``evalkit gate RUN --policy FILE``: pass, fail or inconclusive, by exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import evalkit
from evalkit.cli import lazy
from evalkit.cli.progress import shown
from evalkit.errors import UserError

__all__ = ["app"]

app = typer.Typer()


@app.command()
def gate(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder, a study's folder (its newest run), or a run's ID; with --sequential a study.yaml too."
        ),
    ],
    policy: Annotated[Path, typer.Option(help="The policy's YAML.")],
    baseline: Annotated[
        str | None, typer.Option(help="Run, baseline file or name that 'baseline' in a rule stands for.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Simulate how often this policy would err at this n.")
    ] = False,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential",
            help="Look after every batch of samples, in a seeded random order, and stop once the verdict is certain; "
            "of a study only as many samples are answered.",
        ),
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON on stdout.")] = False,
) -> None:
    """Hold a finished run to a policy. Exit code 0: pass, 1: fail, 3: inconclusive."""
    if sequential and self_test:
        raise UserError("--sequential and --self-test do not go together: ask one after the other.")
    if sequential:
        with shown() as progress:
            verdict = evalkit.gate_sequentially(run, policy, baseline=baseline, progress=progress)
    else:
        verdict = evalkit.gate(run, policy, baseline=baseline, self_test=self_test)
    lazy.write_files(verdict, junit=junit, markdown=markdown)
    lazy.say_verdict(verdict)
    if as_json:
        typer.echo(json.dumps(verdict.to_json(), indent=2, ensure_ascii=False))
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)
