"""One line that says what made a number, and the hashes behind it.

Two numbers compare only where their signatures match. The form is sacrebleu's (Post 2018, "A Call for Clarity
in Reporting BLEU Scores"): ``key:value`` pairs joined by ``|``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "digest", "file_sha256", "signature"]


def signature(name: str, /, **parts: object) -> str:
    """Join a metric's name and what it depends on into one line; None values are left out.

    >>> signature("bleu", tok="13a", smooth="exp", version="2.6.0")
    'bleu|tok:13a|smooth:exp|version:2.6.0'
    """
    pairs = [f"{key}:{_plain(value)}" for key, value in parts.items() if value is not None]
    return "|".join([name, *pairs])


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN, so that equal values give equal text.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
        TypeError: ``value`` holds something JSON has no form for.

    >>> canonical_json({"b": 1.0, "a": (1, 2)})
    '{"a":[1,2],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Mapping[str, Any] | list[Any] | str) -> str:
    """SHA-256 (hex) of the canonical JSON of a value.

    >>> digest({"a": 1})[:12]
    '015abd7f5cc5'
    """
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(value)
    return str(value)
