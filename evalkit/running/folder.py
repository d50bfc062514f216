"""The run folder: plain JSON, JSONL and safetensors that a person can read with other tools.

    runs/STUDY/ID/run.json          what was asked: resolved study, versions, hashes, device, seeds
                  results.json      the numbers
                  samples/CANDIDATE/TASK.jsonl    every answer with its scores
                  statistics/CANDIDATE/TASK.safetensors   metric → (n, k), of metrics that are no mean of scores
                  training/CANDIDATE.jsonl        one row an optimiser step
                  adapters/CANDIDATE/             peft's format
                  report.html

Files are replaced as a whole (written beside, synced, renamed), so a killed run leaves the old file or the new
one, never half of one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from evalkit.errors import DataError
from evalkit.signature import digest, with_base

__all__ = ["RunFolder", "safe_name", "write_atomically", "write_json"]

Array = NDArray[np.float64]

_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]')  # what some file system or shell cannot have in a name
_LONGEST = 200  # bytes; most file systems end a name at 255, and a suffix comes behind


def safe_name(name: str) -> str:
    """Return a file name for a candidate or task, which ``unquote`` turns back unless it was too long.

    >>> safe_name("sweep[rank=8,learning_rate=0.0001]#2")
    'sweep[rank=8,learning_rate=0.0001]#2'
    >>> safe_name("a/b:c")
    'a%2Fb%3Ac'
    """
    encoded = _UNSAFE.sub(lambda match: quote(match[0], safe=""), name)
    if set(encoded) == {"."}:
        return encoded.replace(".", "%2E")
    raw = encoded.encode("utf-8", "surrogatepass")
    if len(raw) <= _LONGEST:
        return encoded
    return f"{raw[: _LONGEST - 13].decode('utf-8', 'ignore')}~{digest(name)[:12]}"


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file as a whole: readers see the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a run folder is read by others
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON as a whole; NaN is refused, since other tools cannot read it."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class RunFolder:
    """Reads and writes one run folder.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return an existing run.

        ``path`` is a run folder, its ``results.json``, or a study's folder (``runs/STUDY``, whose ``latest``
        names the run).

        Raises:
            DataError: No run is there; the message says what was expected.
        """
        folder = path.parent if path.name in ("results.json", "run.json") else path
        latest = folder / "latest"
        if latest.is_file() and not (folder / "run.json").is_file():
            folder = folder / latest.read_text("utf-8").strip()
        if not (folder / "run.json").is_file():
            below = sorted(found.parent for found in folder.glob("*/latest"))
            if below:
                raise DataError(
                    f"{path} holds runs of several studies; name one: {', '.join(map(str, below))}."
                )
            raise DataError(
                f"{path} is not a run: expected a folder with run.json, as `evalkit run STUDY` writes it "
                "under runs/STUDY/ID."
            )
        return cls(folder)

    def run(self) -> dict[str, Any]:
        """What was asked: ``run.json``."""
        return self._read_json("run.json")

    def results(self) -> dict[str, Any]:
        """The numbers: ``results.json``."""
        return self._read_json("results.json")

    def is_complete(self) -> bool:
        """True if ``results.json`` can be read and says that everything was done."""
        try:
            return self.results().get("status") == "complete"
        except DataError:
            return False

    @property
    def candidates(self) -> list[str]:
        """Names of the candidates, in the study's order."""
        return [row["name"] for row in self.results()["candidates"]]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks with a score or with samples, in the study's order."""
        named = [row["task"] for row in self.results()["scores"]]
        on_disk = [unquote(path.stem) for path in sorted(self.path.glob("samples/*/*.jsonl"))]
        return list(dict.fromkeys([*named, *on_disk]))

    def samples_file(self, candidate: str, task: str) -> Path:
        """Path of the answers of one candidate to one task."""
        return self.path / "samples" / safe_name(candidate) / f"{safe_name(task)}.jsonl"

    def training_file(self, candidate: str) -> Path:
        """Path of a candidate's training log."""
        return self.path / "training" / f"{safe_name(candidate)}.jsonl"

    def adapter_folder(self, candidate: str) -> Path:
        """Path of a candidate's trained adapter."""
        return self.path / "adapters" / safe_name(candidate)

    def samples(self, candidate: str, task: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``samples/CANDIDATE/TASK.jsonl``; nothing if there are none."""
        return _rows(self.samples_file(candidate, task))

    def training(self, candidate: str) -> list[dict[str, Any]]:
        """Return the rows of ``training/CANDIDATE.jsonl``; empty for a candidate that was not trained."""
        return list(_rows(self.training_file(candidate)))

    def write_run(self, value: Mapping[str, Any]) -> None:
        """Write ``run.json``."""
        write_json(self.path / "run.json", value)

    def write_results(self, value: Mapping[str, Any]) -> None:
        """Write ``results.json``; the signature of every score of a local model names the weights it was made with."""
        write_json(self.path / "results.json", self._with_bases(value))

    def _with_bases(self, value: Mapping[str, Any]) -> dict[str, Any]:
        run = self.run() if (self.path / "run.json").exists() else {}
        weights = (run.get("hashes") or {}).get("models") or {}
        bases = {
            entry["name"]: weights[entry["model"]]
            for entry in value.get("candidates", [])
            if entry.get("quantization") is not None
            and entry.get("model") in weights  # a server's may have that name
        }
        signed = {
            part: [
                {**row, "signature": with_base(row["signature"], bases[row["candidate"]])}
                if row["candidate"] in bases and "signature" in row
                else row
                for row in value[part]
            ]
            for part in ("scores", "slices")
            if part in value
        }
        return {**value, **signed}

    def write_samples(self, candidate: str, task: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the answers of one candidate to one task."""
        write_atomically(self.samples_file(candidate, task), _jsonl(rows))

    def write_statistics(
        self, candidate: str, task: str, statistics: Mapping[str, Array], labels: Mapping[str, Any]
    ) -> None:
        """Write what corpus metrics keep of each sample, so that intervals and tests can be made again.

        Args:
            candidate: Whose outputs were measured.
            task: On which task.
            statistics: Metric → (n, k) float64, rows as in the samples file.
            labels: Metric → ``Measured.labels``.
        """
        path = self._statistics_file(candidate, task)
        if statistics:
            write_atomically(path, save(dict(statistics), {"labels": json.dumps(labels, ensure_ascii=False)}))
        else:
            path.unlink(missing_ok=True)

    def statistics(self, candidate: str, task: str) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return what ``write_statistics`` was given; both empty where every metric is a mean of scores."""
        path = self._statistics_file(candidate, task)
        if not path.is_file():
            return {}, {}
        try:
            with safe_open(path, framework="numpy") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                return found, json.loads((file.metadata() or {}).get("labels", "{}"))
        except (SafetensorError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}): run the study again.") from error

    def _statistics_file(self, candidate: str, task: str) -> Path:
        return self.path / "statistics" / safe_name(candidate) / f"{safe_name(task)}.safetensors"

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            value = json.loads(path.read_text("utf-8", "surrogatepass"))
        except FileNotFoundError:
            raise DataError(
                f"{path} is missing: the run did not get that far; run the study again."
            ) from None
        except ValueError as error:
            raise DataError(f"{path} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise DataError(f"{path}: expected an object, got {type(value).__name__}.")
        return value


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8", errors="surrogatepass") as file:
            for line in file:
                yield json.loads(line)
