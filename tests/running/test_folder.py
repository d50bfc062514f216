"""The run folder: names that are safe on disk, files that are whole."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import DataError
from evalkit.running.folder import RunFolder, safe_name, write_atomically, write_json


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_names_come_back_and_stay_in_their_folder(name: str) -> None:
    encoded = safe_name(name)
    assert unquote(encoded) == name
    assert "/" not in encoded
    assert "\\" not in encoded
    assert encoded not in (".", "..")


def test_long_names_fit_a_file_system_and_stay_apart(tmp_path: Path) -> None:
    names = ["猫" * 80, "猫" * 79 + "犬", "🦊" * 80, "é" * 80, "/" * 80]
    folder = RunFolder(tmp_path)
    for name in names:
        folder.write_samples(name, name, [{"id": name}])
    assert [next(folder.samples(name, name))["id"] for name in names] == names


def test_samples_come_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [{"id": "1", "output": "line\nbreak \u2028 \u0085 </script> é"}, {"id": "2", "output": "\x00"}]
    folder.write_samples("a/b", "t[1]", rows)
    assert list(folder.samples("a/b", "t[1]")) == rows
    assert list(folder.samples("other", "t[1]")) == []


def test_nan_is_refused_because_other_tools_cannot_read_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == [], "nothing half-written stays"


def test_a_broken_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_atomically(path, 3)  # type: ignore[arg-type]
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]


def test_open_finds_a_run_by_folder_file_or_study(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "demo" / "20260101T000000Z-abcd1234"
    write_json(run / "run.json", {})
    write_json(run / "results.json", {})
    (run.parent / "latest").write_text(run.name + "\n")
    for path in (run, run / "results.json", run.parent):
        assert RunFolder.open(path).path == run
    with pytest.raises(DataError, match="is not a run"):
        RunFolder.open(tmp_path)


def test_signatures_name_the_weights_of_local_models(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(tmp_path / "run.json", {"hashes": {"models": {"small": "b179c9523d0e6a0f98a3"}}})
    candidates = [
        {"name": "base", "model": "small", "quantization": "none"},
        {"name": "served", "model": "small", "quantization": None},  # behind a server: who knows what weights
    ]
    scores = [{"candidate": name, "signature": "exact_match|rs:1"} for name in ("base", "served")]
    folder.write_results({"candidates": candidates, "scores": scores, "slices": scores[:1]})
    folder.write_results(folder.results())  # written twice, named once
    found = folder.results()
    assert [row["signature"] for row in found["scores"]] == [
        "exact_match|rs:1|base:b179c9523d0e",
        "exact_match|rs:1",
    ]
    assert found["slices"][0]["signature"] == "exact_match|rs:1|base:b179c9523d0e"
