"""Grids, seeds and learning curves become single candidates with the names of docs/reference §2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import SpecError
from evalkit.specs.expand import expand, member_name, merged_data
from evalkit.specs.study import DataSpec, Study, TrainCandidate

Load = Callable[[str], Study]
HEAD = "study: s\nmodel: m\nseed: 5\ndata: {train: rows.jsonl, validation: rows.jsonl}\ncandidates:\n"


def test_names(study: Load) -> None:
    grid = (
        "  - {name: sweep, kind: train, grid: {rank: [8, 32], learning_rate: [1.0e-4, 5.0e-4]}, seeds: 2}\n"
    )
    assert [single.name for single in expand(study(f"{HEAD}  - {{name: a, kind: prompt}}\n{grid}"))] == [
        "a",
        "sweep[rank=8,learning_rate=0.0001]#1",
        "sweep[rank=8,learning_rate=0.0001]#2",
        "sweep[rank=8,learning_rate=0.0005]#1",
        "sweep[rank=8,learning_rate=0.0005]#2",
        "sweep[rank=32,learning_rate=0.0001]#1",
        "sweep[rank=32,learning_rate=0.0001]#2",
        "sweep[rank=32,learning_rate=0.0005]#1",
        "sweep[rank=32,learning_rate=0.0005]#2",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [(1e-5, "0.00001"), (2.5e-7, "0.00000025"), (3.0, "3"), (10, "10"), (100.0, "100"), (0.1, "0.1"), (True, "true"),
     (None, "null"), ("cosine", "cosine"), (["q_proj", "v_proj"], "q_proj+v_proj"), ("a/b[c]", "a-b-c-")],
)  # fmt: skip
def test_values_in_names(value: object, written: str) -> None:
    assert member_name("s", {"x": value}) == f"s[x={written}]"


def test_settings_and_their_origins(study: Load) -> None:
    text = HEAD + "  - {name: s, kind: train, settings: {alpha: 64}, grid: {rank: [8, 32]}}\n"
    first, second = expand(study(text))
    assert (first.settings.rank, second.settings.rank, first.settings.alpha) == (8, 32, 64.0)
    origins = {name: first.origins[name] for name in ("rank", "alpha", "seed", "dropout")}
    assert origins == {"rank": "grid", "alpha": "study", "seed": "study", "dropout": "default"}
    assert first.grid == {"rank": 8}
    assert first.parent == "s"


def test_seeds_count_up_from_the_studys_or_their_own(study: Load) -> None:
    plain = expand(study(HEAD + "  - {name: s, kind: train}\n"))
    assert [(single.name, single.settings.seed) for single in plain] == [("s", 5)]
    three = expand(study(HEAD + "  - {name: s, kind: train, seeds: 3}\n"))
    assert [(single.name, single.settings.seed) for single in three] == [("s#1", 5), ("s#2", 6), ("s#3", 7)]
    own = expand(study(HEAD + "  - {name: s, kind: train, seeds: 2, settings: {seed: 40}}\n"))
    assert [single.settings.seed for single in own] == [40, 41]


def test_a_learning_curve(study: Load) -> None:
    text = (
        HEAD.replace("validation", "sizes: [100, 300], validation")
        + "  - {name: s, kind: train, grid: {rank: [8]}}\n"
    )
    singles = expand(study(text + "  - {name: a, kind: prompt}\n"))
    assert [(single.name, single.rows) for single in singles] == [
        ("s[rank=8,rows=100]", 100), ("s[rank=8,rows=300]", 300), ("a", None),
    ]  # fmt: skip


def test_a_candidates_data_is_the_studys_but_for_what_it_says(study: Load, project: Path) -> None:
    text = HEAD + "  - {name: s, kind: train, data: {overlong: split}}\n  - {name: t, kind: train}\n"
    first, second = (single.spec for single in expand(study(text)))
    assert isinstance(first, TrainCandidate)
    assert isinstance(second, TrainCandidate)
    assert first.data == DataSpec(
        train=project / "rows.jsonl", validation=project / "rows.jsonl", overlong="split"
    )
    assert second.data == DataSpec(train=project / "rows.jsonl", validation=project / "rows.jsonl")


def test_other_rows_do_not_take_over_a_validation_file() -> None:
    prefs = DataSpec(train=Path("/prefs.jsonl"))
    assert merged_data(DataSpec(train=Path("/a"), validation=Path("/b")), prefs).validation == 0.1
    assert merged_data(DataSpec(train=Path("/a"), validation=0.3), prefs).validation == 0.3
    assert merged_data(DataSpec(train=Path("/a"), validation=None), prefs).validation is None


def test_a_name_too_long_for_a_folder(study: Load) -> None:
    targets = ", ".join(f"a_module_with_a_long_name_{i}" for i in range(8))
    text = HEAD + f"  - {{name: s, kind: train, grid: {{targets: [[{targets}]]}}}}\n"
    with pytest.raises(SpecError, match="expected a name of at most 200 bytes"):
        expand(study(text))
