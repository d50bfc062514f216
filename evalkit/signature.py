"""One line that says what made a number, and the hashes behind it.

Two numbers compare only where they were measured the same way: where their signatures match in all but ``base:``,
which says what weights were measured. The form is sacrebleu's (Post 2018, "A Call for Clarity in Reporting BLEU
Scores"): ``key:value`` pairs joined by ``|``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "digest", "file_sha256", "measured_as", "signature", "with_base"]


def signature(name: str, /, **parts: object) -> str:
    """Join a metric's name and what it depends on into one line; None values are left out.

    >>> signature("bleu", tok="13a", smooth="exp", version="2.6.0")
    'bleu|tok:13a|smooth:exp|version:2.6.0'
    """
    pairs = [f"{key}:{_plain(value)}" for key, value in parts.items() if value is not None]
    return "|".join([name, *pairs])


def with_base(line: str, sha256: str) -> str:
    """A signature that says what base model was measured, by the first 12 digits of its weights' SHA-256.

    >>> with_base("exact_match|rs:17", "b179c9523d0e6a0f98a330c7562b6827")
    'exact_match|rs:17|base:b179c9523d0e'
    """
    return f"{measured_as(line)}|base:{sha256[:12]}"


def measured_as(line: str) -> str:
    """A signature without its base: how a number was made, whatever was measured. Numbers compare where this is equal.

    >>> measured_as("exact_match|rs:17|base:b179c9523d0e")
    'exact_match|rs:17'
    """
    return "|".join(part for part in line.split("|") if not part.startswith("base:"))


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
