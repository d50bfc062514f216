"""Every exception evalkit raises on purpose, in one tree.

    EvalkitError                      something evalkit can explain; printed without a traceback
    ├── UserError                     the user's input is wrong                            (exit 2)
    │   ├── SpecError                 a study, task, judge, trainer or gate file is wrong
    │   ├── CatalogError              no such entry, or an entry that does not load
    │   ├── DataError                 a data file is missing, empty or holds a bad row
    │   ├── ModelError                a model is unknown, absent offline, or does not fit
    │   ├── MetricError               an unknown metric, or one whose weights cannot be had
    │   └── OutputFolderError         a folder that cannot be written to
    ├── CandidateError                one candidate could not be done, the others go on     (exit 4)
    │   └── DroppedError              its search dropped it, as was asked                   (no exit code)
    └── SandboxError                  untrusted code cannot be confined here

Anything else that escapes is a bug and prints with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CandidateError",
    "CatalogError",
    "DataError",
    "DroppedError",
    "EvalkitError",
    "MetricError",
    "ModelError",
    "OutputFolderError",
    "SandboxError",
    "SpecError",
    "UserError",
    "nearest",
]


class EvalkitError(Exception):
    """Something evalkit can explain. ``str(error)`` is what the user reads.

    Args:
        *messages: One line each: what was expected, what came, what to type next.
    """

    exit_code = 1

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        super().__init__("\n".join(messages))


class UserError(EvalkitError):
    """The user's input is wrong; one short message per mistake."""

    exit_code = 2


class SpecError(UserError):
    """A study, task, judge, trainer or gate file is wrong; each message names file and line."""


class CatalogError(UserError):
    """A catalog entry is unknown or does not load."""


class DataError(UserError):
    """A data file is missing, empty or holds a bad row; the message names file and line."""


class ModelError(UserError):
    """A model is unknown, is not on this machine, or does not fit the request."""


class MetricError(UserError):
    """A metric is unknown, was given settings it does not have, or lacks its weights."""


class OutputFolderError(UserError):
    """A folder or file that evalkit has to write cannot be written."""


class CandidateError(EvalkitError):
    """One candidate could not be done (NaN loss, a foreign adapter, …). The others go on."""

    exit_code = 4


class DroppedError(CandidateError):
    """A search dropped the candidate on validation rows, as the study asks for; it has no adapter and no scores."""


class SandboxError(EvalkitError):
    """Untrusted code cannot be confined on this machine, so it was not run."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or an empty string.

    >>> nearest("gsmk8", ["gsm8k", "mmlu"])
    " Did you mean 'gsm8k'?"
    >>> nearest("zzz", ["gsm8k"])
    ''
    """
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
