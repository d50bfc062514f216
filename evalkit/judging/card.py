"""A judge ready to ask: its card, its template, and the hash of everything that can change a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evalkit.catalog import Entry, entry_sha256, find
from evalkit.data.templates import Template
from evalkit.specs.judge import JudgeSpec
from evalkit.specs.load import load_judge

__all__ = ["Judge", "open_judge"]


@dataclass(frozen=True)
class Judge:
    """A judge of the catalog.

    Attributes:
        entry: Where it is.
        spec: Its card.
    """

    entry: Entry
    spec: JudgeSpec

    @property
    def name(self) -> str:
        """As in studies and results."""
        return self.spec.judge

    @cached_property
    def template(self) -> Template:
        """The compiled prompt."""
        return Template(self.spec.prompt, self.entry.path, f"{self.entry.card} (prompt)")

    @cached_property
    def sha256(self) -> str:
        """Of its card and files, README and cases left out."""
        return entry_sha256(self.entry)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value: the scale of a pointwise judge, else 0 and 1."""
        scale = self.spec.scale
        return (float(scale.low), float(scale.high)) if self.spec.kind == "pointwise" else (0.0, 1.0)


def open_judge(name: str, roots: Sequence[Path] = ()) -> Judge:
    """Open a judge by its name in the catalog.

    Raises:
        CatalogError: No such judge.
        SpecError: Its card is wrong.
    """
    entry = find("judges", name, roots)
    return Judge(entry, load_judge(entry.card))
