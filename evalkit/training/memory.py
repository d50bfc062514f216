"""The most memory a training held."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

__all__ = ["peak_memory", "reset_peak_memory"]

_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: str) -> None:
    """Start counting anew, where the system can: CUDA and Linux."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(torch.device(device))
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the whole process so far


def peak_memory(device: str) -> int:
    """Most bytes held since ``reset_peak_memory``: of the device for CUDA, else of this process."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
