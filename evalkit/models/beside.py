"""Small files beside a model's weights, which remember what took long to find out about them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.signature import canonical_json

__all__ = ["PREFIX", "recall", "remember"]

PREFIX = ".evalkit-"
"""What the names of these files begin with: they are no part of a model."""

logger = logging.getLogger(__name__)


def recall(file: Path) -> dict[str, Any]:
    """Return what is remembered; nothing where the file is absent or cut short."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(file: Path, known: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all; a folder that cannot be written to is only slower the next time."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.write_text(canonical_json(known), encoding="utf-8")
        os.replace(temporary, file)
    except OSError as error:  # a shared, read-only folder of models
        logger.debug("not remembering beside the weights: %s", error)
