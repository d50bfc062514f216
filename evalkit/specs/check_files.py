"""The files and catalog entries that a study names: are they there?"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from evalkit.catalog import KINDS, entries
from evalkit.errors import nearest
from evalkit.specs.explain import Mistake, PathInFile
from evalkit.specs.yaml import Document

__all__ = ["FILES", "absolute", "check_catalog_names", "check_files"]

FILES: tuple[tuple[str, ...], ...] = (
    ("data", "train"),
    ("data", "validation"),
    ("candidates", "*", "path"),
    ("candidates", "*", "data", "train"),
    ("candidates", "*", "data", "validation"),
    ("judges", "*", "model", "replay"),
    ("gate",),
)
"""Where a study names a file or folder; ``corpus`` (a pattern) and ``model`` (maybe a path) come on top."""

CATALOG: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tasks", ("tasks", "*")),
    ("tasks", ("tasks", "*", "task")),
    ("tasks", ("data", "train", "task")),
    ("tasks", ("candidates", "*", "data", "train", "task")),
    ("judges", ("judges", "*")),
    ("judges", ("judges", "*", "judge")),
    ("trainers", ("candidates", "*", "trainer")),
)
"""Kind of catalog entry, and where a study names one."""


def absolute(document: Document) -> dict[str, Any]:
    """Return a study's data with every path in it made absolute, from the study's folder."""
    data: dict[str, Any] = _copy(document.data)
    for pattern in (*FILES, ("candidates", "*", "corpus")):
        for path, value in document.at(*pattern):
            if isinstance(value, str):
                _put(data, path, str(_from(document, value)))
    for path, value in _models(document):
        _put(data, path, str(_from(document, value)))
    return data


def check_files(document: Document) -> Iterator[Mistake]:
    """Yield a mistake for each file or folder that a study names and that is not there."""
    for pattern in FILES:
        for path, value in document.at(*pattern):
            if isinstance(value, str):
                yield from _file(path, value, _from(document, value), _is_adapter(document, path))
    for path, value in document.at("candidates", "*", "corpus"):
        if isinstance(value, str) and not glob.glob(str(_from(document, value)), recursive=True):
            yield Mistake(path, f"no file fits {_from(document, value)}")
    for path, value in _models(document):
        if not _from(document, value).exists():
            yield Mistake(path, f"no such file or folder: {_from(document, value)}")


def check_catalog_names(document: Document, roots: Sequence[Path]) -> Iterator[Mistake]:
    """Yield a mistake for each task, judge and trainer that a study names and the catalog does not have.

    Raises:
        CatalogError: There is no built-in catalog.
    """
    for kind, pattern in CATALOG:
        for path, name in document.at(*pattern):
            if not isinstance(name, str):
                continue
            if kind == "tasks" and name.startswith(
                "lm_eval:"
            ):  # told when it is opened: only its package knows
                continue
            if "/" in name and kind == "tasks":  # a task by the path of its folder or card
                if not any(
                    (root / name / KINDS[kind]).is_file() or (root / name).is_file() for root in roots
                ):
                    yield Mistake(path, f"no task at {document.path.resolve().parent / name}")
                continue
            known = entries(kind, roots)
            if name not in known:
                hint = nearest(name, known) or f" Known: {', '.join(sorted(known)) or 'none'}."
                yield Mistake(path, f"no {kind.removesuffix('s')} named {name!r}.{hint}")


def _file(path: PathInFile, value: str, found: Path, adapter: bool) -> Iterator[Mistake]:
    if not value:
        yield Mistake(path, "expected a path, got empty text")
    elif adapter and found.is_dir():
        if not (found / "adapter_config.json").is_file():
            yield Mistake(path, f"expected an adapter in peft's format, no adapter_config.json in {found}")
    elif adapter or not found.is_file():
        what = "folder" if adapter else "file"
        came = ", it is a file" if found.is_file() else ", it is a folder" if found.is_dir() else ""
        yield Mistake(path, f"no such {what}: {found}{came}{_beside(found)}")


def _beside(missing: Path) -> str:
    """The nearest name in the folder of a missing file, or the first folder of its path that is not there."""
    if missing.exists():
        return ""
    if missing.parent.is_dir():
        there = [other.name for other in missing.parent.iterdir()]
        close = get_close_matches(missing.name, there, n=1, cutoff=0.7)
        return f". Did you mean {close[0]!r}?" if close else ""
    gone = [folder for folder in missing.parents if not folder.exists()]
    return f" (there is no folder {gone[-1]})" if gone else ""


def _is_adapter(document: Document, path: PathInFile) -> bool:
    if path[0] != "candidates" or path[-1] != "path" or not isinstance(path[1], int):
        return False
    return bool(document.data["candidates"][path[1]].get("kind") == "adapter")


def _models(document: Document) -> Iterator[tuple[PathInFile, str]]:
    """Models that are meant as paths: those that look like one, or that are there."""
    for pattern in (("model",), ("candidates", "*", "model"), ("judges", "*", "model", "local")):
        for path, value in document.at(*pattern):
            if not isinstance(value, str) or _is_api(document, path):
                continue
            looks = value.startswith(("./", "../", "/", "~")) or value.endswith(".gguf")
            if looks or ("/" in value and _from(document, value).exists()):
                yield path, value


def _is_api(document: Document, path: PathInFile) -> bool:
    if path[0] != "candidates" or not isinstance(path[1], int):
        return False
    return document.data["candidates"][path[1]].get("kind") in ("api", "replay")


def _from(document: Document, value: str) -> Path:
    return document.path.resolve().parent / Path(value).expanduser()


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _put(data: Any, path: PathInFile, value: str) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value
