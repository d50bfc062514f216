"""A gate's verdict on stderr, and the files that CI systems read."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from evalkit.errors import OutputFolderError
from evalkit.gates.junit import junit_xml
from evalkit.gates.texts import github_annotations, self_test_lines, verdict_lines, verdict_markdown
from evalkit.gates.verdicts import GateVerdict
from evalkit.running.folder import write_atomically

__all__ = ["say_verdict", "write_files"]


def say_verdict(verdict: GateVerdict) -> None:
    """Print a verdict; in a GitHub workflow also the annotations of the rules that did not pass."""
    for line in verdict_lines(verdict):
        typer.echo(line, err=True)
    if verdict.self_test is not None:
        for line in self_test_lines(verdict.self_test):
            typer.echo(line, err=True)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_annotations(verdict):
            typer.echo(line, err=True)


def write_files(verdict: GateVerdict, *, junit: Path | None, markdown: Path | None) -> None:
    """Write what was asked for.

    Raises:
        OutputFolderError: A file cannot be written.
    """
    for path, text in ((junit, junit_xml), (markdown, verdict_markdown)):
        if path is None:
            continue
        try:
            if path.exists() and not path.is_file():  # /dev/stdout and the like cannot be replaced
                path.write_text(text(verdict), "utf-8", "replace")
            else:
                write_atomically(path, text(verdict).encode("utf-8", "replace"))
        except OSError as error:
            raise OutputFolderError(f"Cannot write {path}: {error.strerror or error}.") from error
