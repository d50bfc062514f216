"""Names that commands use and that take long to import; each loads when it is first used.

Commands write ``lazy.load_study(path)``: ``evalkit check --help`` then needs neither pydantic nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.cli.catalog_text import listing as listing
    from evalkit.cli.catalog_text import shown_entry as shown_entry
    from evalkit.cli.checks import check_path as check_path
    from evalkit.cli.verdicts import say_verdict as say_verdict
    from evalkit.cli.verdicts import write_files as write_files

__all__ = ["check_path", "listing", "say_verdict", "shown_entry", "write_files"]

_WHERE = {
    "check_path": "evalkit.cli.checks",
    "listing": "evalkit.cli.catalog_text",
    "say_verdict": "evalkit.cli.verdicts",
    "shown_entry": "evalkit.cli.catalog_text",
    "write_files": "evalkit.cli.verdicts",
}
"""Name → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'evalkit.cli.lazy' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
