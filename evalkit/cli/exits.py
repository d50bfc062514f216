"""Exit codes, and what is said with each: the one place that turns an exception into lines on stderr.

| code | meaning |
|---|---|
| 0 | done, or the gate passed |
| 1 | the gate failed, or ``data check`` found an error |
| 2 | the user's input is wrong: one line a mistake, no traceback |
| 3 | the gate is inconclusive |
| 4 | finished, but some candidates could not be done (they are named) |
| 70 | a bug in evalkit: the traceback, and where to report it |
| 130 | interrupted; a run can be resumed |

Where several hold: 130, 2, 1, 4, 3, 0 in that order.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from evalkit.errors import EvalkitError

__all__ = ["BUG", "explain", "worst"]

BUG = 70
"""``EX_SOFTWARE`` of sysexits.h: not 1, which a CI job would read as "the gate failed"."""

ORDER = (130, 2, 1, 4, 3, 0)


def worst(*codes: int) -> int:
    """Return the code that wins where several hold.

    >>> worst(0, 3, 4)
    4
    >>> worst()
    0
    """
    return next((code for code in ORDER if code in codes), 0)


def explain(error: BaseException) -> int:
    """Say on stderr what went wrong and return the exit code."""
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt):
        _say("Interrupted. A run keeps what is finished: the same command goes on from there.")
        return 130
    if isinstance(error, EvalkitError):
        _say(*error.messages)
        return error.exit_code
    _say("".join(traceback.format_exception(error)).rstrip())
    _say(
        "This is a bug in evalkit. Please report it with the lines above and the output of `evalkit doctor`."
    )
    return BUG


def _say(*lines: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads stderr any more: the exit code still tells
        for line in lines:
            print(line, file=sys.stderr)


def _close_stdout() -> None:
    """Point stdout at nothing, so that the flush at interpreter exit does not complain about the closed
    pipe."""
    with contextlib.suppress(OSError, ValueError):  # a stdout without a file descriptor has nothing to close
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
