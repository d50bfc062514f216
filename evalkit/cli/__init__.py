"""The command line: one file a command, loaded only when that command is asked for.

``evalkit/cli/NAME.py`` defines ``app``, a ``typer.Typer`` with one command (``run``) or several (``model
pull``, ``model list``, …). It may import ``typer``, ``evalkit``, ``evalkit.errors`` and ``evalkit.catalog``
at the top; everything slower is reached through the lazy names of ``evalkit`` (``evalkit.run(…)``), so that
``--help`` answers at once.

Human text goes to stderr; ``--json`` and paths go to stdout. Commands raise ``EvalkitError``s and never print
them: ``evalkit.cli.exits`` turns them into lines and an exit code.
"""

from __future__ import annotations

import sys

from evalkit.cli.exits import explain
from evalkit.cli.group import app
from evalkit.collecting import starting

__all__ = ["main"]


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its code (see ``evalkit.cli.exits``)."""
    starting()
    try:
        app(prog_name="evalkit")
    except Exception as error:  # noqa: BLE001 - the last stop: whatever came this far is a bug and is shown whole
        sys.exit(explain(error))
