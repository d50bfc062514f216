"""docs/metrics.md has one line for every metric, and none for what is not there."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.metrics import METRICS


def test_every_metric_is_in_the_table(root: Path) -> None:
    table = [
        line for line in (root / "docs" / "metrics.md").read_text().splitlines() if line.startswith("| `")
    ]
    named = [name for line in table for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert sorted(named) == sorted(METRICS)
