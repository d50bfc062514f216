"""The stage cache: results under the hash of everything that can change them.

One SQLite file in WAL mode for answers, folders for adapters. A key is the SHA-256 of a JSON object that
names all that can change the result (see ``keys.py``); so a second run does only what changed, and a killed
one goes on with the next sample.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from evalkit.errors import OutputFolderError
from evalkit.running.folder import write_json
from evalkit.signature import file_sha256

__all__ = ["Cache", "cache_dir", "damaged"]

DATABASE = "answers.sqlite3"

_BATCH = 500  # SQLite allows 999 variables in one statement on old builds


def cache_dir() -> Path:
    """``EVALKIT_CACHE_DIR``, or the user's cache folder."""
    named = os.environ.get("EVALKIT_CACHE_DIR")
    return Path(named).expanduser() if named else user_cache_path("evalkit")


def damaged(error: sqlite3.DatabaseError) -> OutputFolderError:
    """What to tell the reader of a cache that SQLite cannot read."""
    return OutputFolderError(
        f"The stage cache {cache_dir() / DATABASE} is damaged ({error}). Delete it (its answers are asked again; "
        "runs and adapters stay) and run the same command again."
    )


class Cache:
    """Answers by key, and folders by key.

    Args:
        folder: Where it lives; made if absent.

    Raises:
        OutputFolderError: The folder cannot be written to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.folder / DATABASE, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            # A power cut may lose the last answers, never corrupt the file; kill -9 loses nothing.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.OperationalError) as error:
            raise OutputFolderError(
                f"The cache folder {self.folder} cannot be written to: {error}. "
                "Name another with EVALKIT_CACHE_DIR=/path/to/folder."
            ) from error
        except sqlite3.DatabaseError as error:
            raise damaged(error) from error

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the stored values of those keys that are known."""
        wanted, found = list(dict.fromkeys(keys)), {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            for key, value in self._db.execute(
                f"SELECT key, value FROM answers WHERE key IN ({marks})", part
            ):
                found[key] = json.loads(value)
        return found

    def put(self, key: str, value: Any) -> None:
        """Store a JSON value at once; it survives a kill."""
        text = json.dumps(value, ensure_ascii=True, allow_nan=False)
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))

    def stored_folder(self, kind: str, key: str) -> Path | None:
        """Return the finished folder of a key; None if there is none or its files are not what was stored."""
        path = self.folder / kind / key
        try:
            stored = json.loads((path / "complete").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return path if stored == _file_hashes(path) else None

    @contextmanager
    def work_folder(self, kind: str, key: str) -> Iterator[Path]:
        """A folder to work in for a key, which a killed run finds again; only one process at a time."""
        path = self.folder / "work" / kind / key
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path) + ".lock"):
            path.mkdir(parents=True, exist_ok=True)
            yield path

    def store_folder(self, kind: str, key: str, work: Path) -> Path:
        """Make a work folder the finished result of its key."""
        target = self.folder / kind / key
        write_json(work / "complete", _file_hashes(work))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
        return target


def _file_hashes(folder: Path) -> dict[str, str]:
    """File → SHA-256 of every file below a folder but the mark that it is complete."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "complete"
    }
