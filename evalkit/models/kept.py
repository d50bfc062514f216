"""4-bit weights kept on disk as bitsandbytes quantised them, so that the next start only maps them.

On a CPU quantising takes longer than all the rest of loading: 1.3 s for 106 million weights, at that rate over a
minute for seven billion. What is kept was loaded back and found equal to the last bit, and is for the same weights,
settings and versions only; where anything is amiss, the weights are quantised again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.models.devices import Placement, device_kind
from evalkit.models.hashing import config_sha256, weight_files, weights_sha256
from evalkit.models.memory import free_bytes
from evalkit.models.quantizing import DEFAULT_BLOCK, quantization_json
from evalkit.models.quiet import quiet
from evalkit.models.registry import ResolvedModel, flush, models_dir
from evalkit.signature import digest, file_sha256
from evalkit.specs.study import Quantization

__all__ = ["kept_folder", "load_kept"]

WORTHWHILE = 64 << 20
"""Bytes of weights from which it pays to keep them."""
CARD = "evalkit-kept.json"
SETTINGS = ("config.json", "generation_config.json")

logger = logging.getLogger(__name__)


def kept_folder(resolved: ResolvedModel, quantization: Quantization, placement: Placement) -> Path | None:
    """Where this base is kept in 4 bits, whether it is there yet or not; None where it is not to be kept.

    Kept is what a CPU quantises and transformers can save: nf4 and fp4 in blocks of 64, from ``WORTHWHILE`` on.
    """
    if quantization.type not in ("nf4", "fp4") or quantization.block != DEFAULT_BLOCK:
        return None
    size = sum(file.stat().st_size for file in weight_files(resolved.path))
    if placement.device != "cpu" or size < WORTHWHILE:
        return None
    files = {name: resolved.path / name for name in SETTINGS}
    held = {
        "weights": resolved.sha256,
        "settings": {name: file_sha256(file) for name, file in files.items() if file.is_file()},
        "quantization": quantization_json(quantization),
        "dtype": placement.dtype,
    }
    made = {
        "versions": {name: version(name) for name in ("torch", "transformers", "bitsandbytes")},
        "device": device_kind(placement.device),
    }
    name = f"{digest(held)[:24]}-{digest(made)[:8]}"
    return models_dir() / "quantized" / name


def load_kept(folder: Path, read: Callable[[Path], Any], quantize: Callable[[], Any]) -> Any:
    """Load a base from where it is kept; where it is not, or not whole, quantise it and keep it.

    Args:
        folder: From ``kept_folder``.
        read: Loads a model from a folder; raises ``ModelError`` where it cannot.
        quantize: Loads the base and quantises it.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if _hashes(folder) == card:
            return read(folder)
        logger.debug("%s is not what was kept", folder)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, ModelError) as error:
        logger.debug("not loading %s: %s", folder, error)
    model = quantize()
    try:
        _keep(model, folder, read)
    except Exception as error:  # noqa: BLE001 - whatever transformers cannot save is quantised again next time
        logger.debug("not keeping %s: %s", folder, error)
    return model


def _keep(model: Any, folder: Path, read: Callable[[Path], Any]) -> None:
    """Save a model, load it back, and keep it if it is the same; an older version's is deleted."""
    from filelock import FileLock

    root, base = folder.parent, folder.name.partition("-")[0]
    root.mkdir(parents=True, exist_ok=True)
    size = model.get_memory_footprint()  # comparing takes two more of it for a moment
    if shutil.disk_usage(root).free < 4 * size or free_bytes("cpu") < 4 * size:
        return
    with FileLock(root / f".{base}.lock").acquire(timeout=0):  # another process at it is enough
        made = root / f".{base}"
        shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
        try:
            with quiet():
                model.save_pretrained(made)
            if not _same(model, read(made)):
                logger.debug("not keeping %s: it comes back otherwise", folder)
            else:
                (made / CARD).write_text(json.dumps(_hashes(made)) + "\n", encoding="utf-8")
                flush(made)
                for other in root.glob(f"{base}-*"):
                    shutil.rmtree(other, ignore_errors=True)
                os.replace(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _hashes(folder: Path) -> dict[str, str]:
    """Of the weights and of every setting that is read from here."""
    settings = {name: folder / name for name in SETTINGS}
    hashes = {name: file_sha256(file) for name, file in settings.items() if file.is_file()}
    return {"weights": weights_sha256(folder), **hashes}


def _same(model: Any, other: Any) -> bool:
    """Whether two models hold the same modules and the same tensors, to the last bit."""
    first, second = _contents(model), _contents(other)
    return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)


def _contents(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict(model.state_dict())  # the statistics of 4-bit weights among them
    for name, module in model.named_modules():
        found[f"{name} "] = (type(module), getattr(module, "compute_dtype", None))
        found |= {f"{name} {key}": buffer for key, buffer in module.named_buffers(recurse=False)}
    return {**found, "settings": (config_sha256(model.config), model.generation_config.to_dict())}


def _equal(first: Any, second: Any) -> bool:
    import torch

    if not isinstance(first, torch.Tensor):
        return bool(first == second)
    return first.dtype == second.dtype and torch.equal(first, second)
