"""What ``evalkit doctor`` says: the device, the versions, the models, the self-tests, and how to mend what lacks."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib import metadata
from typing import Any

from evalkit.models.devices import choose_placement, device_kind
from evalkit.models.registry import REGISTRY, installed, models_dir
from evalkit.models.selftest import self_test

__all__ = ["examine"]

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "safetensors",
)
DEFAULT_MODEL = "smollm2-135m-instruct-q4_1"


def examine() -> dict[str, Any]:
    """Look at this machine and run the self-tests.

    Returns:
        JSON values: ``ok`` (no check failed and no package is missing), ``device``, ``packages`` (None where
        missing), ``models``, ``checks`` and ``missing`` (what, and the command that mends it).
    """
    packages = {name: _version(name) for name in PACKAGES}
    missing = [
        {"what": f"the package {name}", "command": f"pip install {name}"}
        for name, version in packages.items()
        if version is None
    ]
    checks = self_test()
    ok = not missing and all(check.passed for check in checks)
    if not installed(DEFAULT_MODEL):
        missing.append(
            {"what": f"the model {DEFAULT_MODEL}", "command": f"evalkit model pull {DEFAULT_MODEL}"}
        )
    return {
        "ok": ok,
        "python": platform.python_version(),
        "device": _device(),
        "packages": packages,
        "models": {"folder": str(models_dir()), "installed": [name for name in REGISTRY if installed(name)]},
        "checks": [asdict(check) for check in checks],
        "missing": missing,
    }


def _device() -> dict[str, Any]:
    import torch

    placement = choose_placement("auto", "auto")
    return {
        "device": placement.device,
        "kind": device_kind(placement.device),
        "dtype": placement.dtype,
        "reason": placement.reason,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
