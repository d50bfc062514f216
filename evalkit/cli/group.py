"""The group of commands: names and one-line helps here, each command's module imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import evalkit
from evalkit.cli.exits import explain
from evalkit.errors import EvalkitError

__all__ = ["COMMANDS", "LazyGroup", "app", "load_command"]

COMMANDS: dict[str, str] = {
    "init": "Start a new project in which `evalkit run` works at once.",
    "plan": "Show what a run would do and what it would cost.",
    "run": "Train, answer, score, compare and report; resumes by itself.",
    "train": "Train the candidates of a study, nothing else.",
    "score": "Score outputs that were made elsewhere.",
    "compare": "Compare the candidates of finished runs.",
    "gate": "Hold a finished run to a policy; the verdict is the exit code.",
    "baseline": "Keep a run as a named baseline, or show one.",
    "human": "Write sheets for people, take their labels in.",
    "agreement": "Measure how far raters agree beyond chance.",
    "calibrate": "Measure a judge against people and correct its numbers.",
    "judge": "Ask LLM judges about the answers of a finished run.",
    "report": "Write the report of finished runs again.",
    "list": "List tasks, judges, trainers, reports, metrics or models.",
    "show": "Show one entry of the catalog.",
    "copy": "Copy an entry of the catalog, to change it.",
    "check": "Check a study, a catalog entry or a whole project.",
    "model": "Fetch, list and inspect models.",
    "doctor": "Check this machine and say what is missing.",
}
"""Command → its line in ``evalkit --help``. Its code is ``evalkit/cli/NAME.py``."""

PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,  # rich takes 0.1 s to import, a third of what --help may take in all
    "pretty_exceptions_enable": False,
}


def load_command(name: str) -> Any:
    """Import ``evalkit/cli/NAME.py`` and return its command or group of commands."""
    module = importlib.import_module(f"evalkit.cli.{name}")
    holder = typer.Typer(help=COMMANDS[name], no_args_is_help=True, **PLAIN)
    holder.registered_commands += module.app.registered_commands  # one command stays a command, not a group
    return typer.main.get_command(holder)


class LazyGroup(TyperGroup):
    """Shows stubs until a command is called, then loads that command alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Pass a command's arguments on untouched: typer would import pydantic to parse the group's own options."""
        if not args or args[0] not in COMMANDS:
            return super().parse_args(ctx, args)
        ctx._protected_args, ctx.args = args[:1], args[1:]
        return args[1:]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the stub by the command's own code."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else stub, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever it cannot do is explained and becomes the exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (EvalkitError, KeyboardInterrupt, BrokenPipeError) as error:
            raise typer.Exit(explain(error)) from error
        return result


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **{**PLAIN, "add_completion": True},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"evalkit {evalkit.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One YAML in, one verdict out: train, score and compare language-model candidates."""


def _stub() -> None:
    """Stands in the table until the command is called."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_stub)
