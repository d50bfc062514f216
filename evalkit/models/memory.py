"""Memory that is free, and the error of asking for more."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_bytes", "free_memory", "out_of_memory"]

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
UNKNOWN = 4 << 30
"""Assumed where the system does not say."""


def out_of_memory(error: RuntimeError) -> bool:
    """Whether this error is the allocator's."""
    import torch

    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def free_memory() -> None:
    """Give the device's cached blocks back."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: str) -> int:
    """Bytes that can be allocated: of the GPU, or of the machine within what its container allows."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    try:
        rows = (line.split() for line in MEMINFO.read_text(encoding="ascii").splitlines())
        free = next(int(row[1]) * 1024 for row in rows if row and row[0] == "MemAvailable:")
    except (OSError, StopIteration, ValueError):
        free = UNKNOWN
    return min(free, _container())


def _container() -> int:
    try:
        most = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # another system, or no container
        return 1 << 60
    return max(0, int(most) - used) if most.isdigit() else 1 << 60
