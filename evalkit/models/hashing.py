"""SHA-256 of what decides an answer: weights, adapters, tokenizers.

A hash of weights takes a second per gigabyte, so it is kept in a small file beside them and trusted while size
and modification time of the weights stay the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalkit.errors import CandidateError, ModelError
from evalkit.models.beside import PREFIX, recall, remember
from evalkit.signature import digest, file_sha256

__all__ = [
    "HASH_CACHE",
    "adapter_sha256",
    "config_sha256",
    "read_adapter_config",
    "tokenizer_sha256",
    "weight_files",
    "weights_sha256",
]

HASH_CACHE = f"{PREFIX}sha256.json"
"""Name of the file beside the weights that remembers their hash."""

PATHLIKE_KEYS = {"base_model_name_or_path", "revision", "auto_mapping", "peft_version", "inference_mode"}
"""Keys of an adapter_config.json that say where it came from, not what it computes."""


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights: safetensors, or PyTorch's where there are none.

    Raises:
        ModelError: The folder holds neither, or an index names a shard that is not there.
    """
    for pattern in ("model*.safetensors", "*.safetensors", "pytorch_model*.bin"):
        found = sorted(folder.glob(pattern))
        if found:
            break
    else:
        raise ModelError(f"{folder} holds no weights: expected model.safetensors or its shards.")
    for index in folder.glob("*.index.json"):
        missing = [name for name in _shards(index) if not (folder / name).is_file()]
        if missing and index.name.startswith(found[0].name.split("-")[0].split(".")[0]):
            raise ModelError(f"{folder} is incomplete: {index.name} names {missing[0]}, which is not there.")
    return found


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a model's weights: of the file's bytes, or of the table of shard hashes if there are several.

    Raises:
        ModelError: See ``weight_files``.
    """
    hashes = _cached_hashes(folder, weight_files(folder))
    return next(iter(hashes.values())) if len(hashes) == 1 else digest(hashes)


def adapter_sha256(path: Path) -> str:
    """SHA-256 over an adapter's safetensors bytes and its configuration without paths (docs/reference §5).

    Two adapters with the same weights and settings have the same hash wherever they lie, whatever the base was
    called, and whichever version of peft wrote the configuration.

    Raises:
        CandidateError: The folder is not an adapter in peft's format.
    """
    config = read_adapter_config(path)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise CandidateError(
            f"{path} has no adapter_model.safetensors; expected an adapter in peft's format."
        )
    settings = {key: value for key, value in config.items() if key not in PATHLIKE_KEYS}
    for key in ("target_modules", "modules_to_save"):  # peft writes them from a set: any order
        if isinstance(settings.get(key), list):
            settings[key] = sorted(settings[key])
    return digest({"weights": file_sha256(weights), "settings": settings})


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Read ``adapter_config.json``.

    Raises:
        CandidateError: It is missing or is not a JSON object.
    """
    file = path / "adapter_config.json"
    if not file.is_file():
        raise CandidateError(f"{path} is not an adapter: expected adapter_config.json in it.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CandidateError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CandidateError(f"{file}: expected a JSON object, got {type(config).__name__}.")
    return config


def config_sha256(config: Any) -> str:
    """SHA-256 of an architecture's settings, without where they were read from, by which version, and how it is held.

    Args:
        config: A transformers configuration.
    """
    settings = config.to_dict()
    for key in (
        "_name_or_path",
        "_model_name_or_path",
        "transformers_version",
        "quantization_config",
        "dtype",
    ):
        settings.pop(key, None)
    return digest({key: repr(value) for key, value in settings.items()})


def tokenizer_sha256(tokenizer: Any) -> str:
    """SHA-256 of what a tokenizer does: its serialised pipeline, or its vocabulary where it has no pipeline."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return digest({"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()})
    pipeline = json.loads(backend.to_str())
    pipeline.pop("padding", None)  # state of the last call, not of the tokenizer
    pipeline.pop("truncation", None)
    return digest(pipeline)


def _shards(index: Path) -> list[str]:
    weight_map = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {})
    return sorted(set(weight_map.values()))


def _cached_hashes(folder: Path, files: list[Path]) -> dict[str, str]:
    cache = folder / HASH_CACHE
    known = recall(cache)
    rows: dict[str, dict[str, Any]] = {}
    for file in files:
        status = file.stat()
        stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        row = known.get(file.name)
        row = row if isinstance(row, dict) else {}
        fresh = {key: row.get(key) for key in stamp} == stamp and isinstance(row.get("sha256"), str)
        rows[file.name] = row if fresh else {**stamp, "sha256": file_sha256(file)}
    if rows != known:
        remember(cache, rows)
    return {name: row["sha256"] for name, row in rows.items()}
