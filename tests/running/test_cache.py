"""The stage cache: what is stored survives, and only finished work counts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from evalkit.errors import OutputFolderError
from evalkit.running.cache import Cache, cache_dir


def test_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    hostile = {"text": 'é \u2028 \ud800 "quotes" \x00 </script>', "n": 0.1, "none": None}
    with Cache(tmp_path) as cache:
        cache.put("a", hostile)
        assert cache.get_many(["a", "b"]) == {"a": hostile}
    with Cache(tmp_path) as again:
        assert again.get_many(["a"])["a"] == hostile


def test_many_keys_at_once(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        for i in range(1200):
            cache.put(str(i), i)
        assert cache.get_many(str(i) for i in range(1300)) == {str(i): i for i in range(1200)}


def _put_forever(folder: str) -> None:
    with Cache(Path(folder)) as cache:
        for i in range(1_000_000):
            cache.put(str(i), i)


def test_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_put_forever, args=(str(tmp_path),))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (tmp_path / "answers.sqlite3").exists():
            with Cache(tmp_path) as cache:
                if cache.get_many(["20"]):
                    break
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with Cache(tmp_path) as cache:
        assert cache.get_many(str(i) for i in range(21)) == {str(i): i for i in range(21)}


def test_only_a_finished_folder_is_found(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        with cache.work_folder("adapters", "k") as work:
            (work / "half.bin").write_bytes(b"1")
        assert cache.stored_folder("adapters", "k") is None
        with cache.work_folder("adapters", "k") as work:
            assert (work / "half.bin").exists(), "a killed run must find its checkpoint again"
            stored = cache.store_folder("adapters", "k", work)
        assert cache.stored_folder("adapters", "k") == stored
        assert (stored / "half.bin").read_bytes() == b"1"


def test_a_damaged_folder_is_made_again(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        for damage in ("changed", "removed"):
            with cache.work_folder("adapters", "k") as work:
                (work / "weights.bin").write_bytes(b"1")
                stored = cache.store_folder("adapters", "k", work)
            assert cache.stored_folder("adapters", "k") == stored
            if damage == "changed":
                (stored / "weights.bin").write_bytes(b"2")
            else:
                (stored / "weights.bin").unlink()
            assert cache.stored_folder("adapters", "k") is None


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite3").write_text("not a database at all, and longer than its header")
    with pytest.raises(OutputFolderError, match=r"answers\.sqlite3 is damaged .*Delete it"):
        Cache(tmp_path)


def test_place_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALKIT_CACHE_DIR", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"


def test_unwritable_place_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFolderError, match="EVALKIT_CACHE_DIR"):
        Cache(tmp_path / "file" / "below")
