"""Running code that nobody has read: see ``docs/sandbox.md``."""

from __future__ import annotations

from evalkit.sandbox.bubblewrap import find_bubblewrap
from evalkit.sandbox.run import Limits, Outcome, Program, Sandbox, check_sandbox, run_program, run_programs

__all__ = [
    "Limits",
    "Outcome",
    "Program",
    "Sandbox",
    "check_sandbox",
    "find_bubblewrap",
    "run_program",
    "run_programs",
]
