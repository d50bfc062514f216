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

__all__ = ["check_path", "listing", "shown_entry"]

_WHERE = {
    "check_path": "evalkit.cli.checks",
    "listing": "evalkit.cli.catalog_text",
    "shown_entry": "evalkit.cli.catalog_text",
}
"""Name → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'evalkit.cli.lazy' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
