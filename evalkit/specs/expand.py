"""From the candidates of a study to single ones: grids, seeds and learning curves multiplied out.

``sweep`` with ``grid: {rank: [8, 32]}`` and ``seeds: 2`` becomes ``sweep[rank=8]#1``, ``sweep[rank=8]#2``,
``sweep[rank=32]#1`` and ``sweep[rank=32]#2``. Seeds are numbered from 1, and only where there are several. A
learning curve (``data.sizes``) adds ``rows=100`` to the brackets, after the grid's settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from evalkit.catalog import find
from evalkit.errors import SpecError
from evalkit.specs.check_card import load_trainer
from evalkit.specs.study import Candidate, DataSpec, Study, TrainCandidate
from evalkit.specs.trainer import QloraSettings, TrainerSpec, resolve_settings

__all__ = ["Single", "expand", "form_name", "member_name", "members", "merged_data"]

LONGEST = 200
"""Bytes of a name: it is a folder's name, which most file systems end at 255."""


@dataclass(frozen=True, slots=True)
class Single:
    """One candidate that is trained and scored on its own.

    Attributes:
        name: As in results.
        spec: Its entry in the study; ``data`` is merged with the study's.
        parent: Name of the entry it comes from.
        grid: The grid values of this member.
        rows: Training rows of this point of a learning curve; None: all.
        trainer: Card of its trainer; None where nothing is trained.
        settings: Settings of its trainer; None where nothing is trained.
        origins: Setting → ``default``, ``trainer.yaml``, ``study`` or ``grid``.
    """

    name: str
    spec: Candidate
    parent: str
    grid: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    trainer: TrainerSpec | None = None
    settings: QloraSettings | None = None
    origins: dict[str, str] = field(default_factory=dict)


def expand(study: Study, roots: Iterable[Path] = ()) -> list[Single]:
    """Return every candidate of a study, multiplied out, in the study's order.

    Args:
        study: The study; its control ``base`` is not among its candidates.
        roots: Project folders whose trainers win over the built-in ones.

    Raises:
        SpecError: A setting is unknown or out of range.
        CatalogError: A trainer is unknown.
    """
    roots = list(roots)
    singles: list[Single] = []
    for spec in study.candidates:
        if isinstance(spec, TrainCandidate):
            singles += _trained(study, spec, load_trainer(find("trainers", spec.trainer, roots).path))
        else:
            singles.append(Single(spec.name, spec, spec.name))
    return singles


def members(
    grid: dict[str, list[Any]] | None, sizes: list[int] | None, seeds: int
) -> list[tuple[dict[str, Any], int | None, int | None]]:
    """Multiply out a grid, sizes and seeds: (grid values, rows, number of the seed from 1) for each
    member."""
    names = list(grid or {})
    combinations = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(grid or {}).values())
    ]
    lengths: list[int | None] = [*sizes] if sizes else [None]
    numbers: list[int | None] = [None] if seeds == 1 else list(range(1, seeds + 1))
    return [(c, rows, n) for c in combinations for rows in lengths for n in numbers]


def member_name(parent: str, grid: dict[str, Any], rows: int | None = None, number: int | None = None) -> str:
    """Name a member of a grid, a point of a learning curve, a seed.

    >>> member_name("sweep", {"rank": 8, "learning_rate": 1e-4}, number=2)
    'sweep[rank=8,learning_rate=0.0001]#2'
    """
    parts = [f"{name}={_plain(value)}" for name, value in grid.items()]
    if rows is not None:
        parts.append(f"rows={rows}")
    brackets = f"[{','.join(parts)}]" if parts else ""
    return parent + brackets + (f"#{number}" if number is not None else "")


def form_name(adapter: str, form: str) -> str:
    """Name a candidate that is another's adapter as it is shipped.

    >>> form_name("sweep[rank=8]", "merged")
    'sweep[rank=8][merged]'
    """
    return f"{adapter}[{form}]"


def merged_data(study: DataSpec, own: DataSpec | None) -> DataSpec:
    """Return a candidate's data: its own keys, and the study's for the rest.

    A validation *file* of the study is not taken over by a candidate that names other training rows: the two
    need not have one format.
    """
    if own is None:
        return study
    given = {name: getattr(own, name) for name in own.model_fields_set}
    if "train" in given and isinstance(study.validation, Path):
        given.setdefault("validation", DataSpec().validation)
    return study.model_copy(update=given)


def _trained(study: Study, spec: TrainCandidate, trainer: TrainerSpec) -> list[Single]:
    data = merged_data(study.data, spec.data)
    singles = []
    for grid, rows, number in members(spec.grid, data.sizes, spec.seeds):
        settings, origins = resolve_settings(trainer, spec.settings, grid)
        if settings.seed is None or number is not None:
            seed = (study.seed if settings.seed is None else settings.seed) + (number or 1) - 1
            settings, origins = settings.model_copy(update={"seed": seed}), {**origins, "seed": "study"}
        name = member_name(spec.name, grid, rows, number)
        longest = max([name, *(form_name(name, form) for form in spec.forms or ())], key=len)
        if len(longest.encode()) > LONGEST:
            raise SpecError(
                f"candidate {name!r}: expected a name of at most {LONGEST} bytes; make the grid smaller"
            )
        single = spec.model_copy(update={"data": data})
        singles.append(Single(name, single, spec.name, grid, rows, trainer, settings, origins))
    return singles


def _plain(value: Any) -> str:
    """Write a setting's value so that it can stand in a name and in a folder's name.

    >>> _plain(2e-5), _plain(8.0), _plain(True), _plain(None), _plain(["q_proj", "v_proj"]), _plain("a/b")
    ('0.00002', '8', 'true', 'null', 'q_proj+v_proj', 'a-b')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    if isinstance(value, list):
        return "+".join(_plain(item) for item in value)
    return "".join("-" if char in '/\\#[]<>:"|?*,=' or ord(char) < 32 else char for char in str(value))
