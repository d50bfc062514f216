"""Which device and which number format a model runs in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["Placement", "choose_placement", "device_kind"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in what format a model runs.

    Attributes:
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: ``bf16`` or ``fp32``.
        reason: Why this dtype, for the plan and for ``evalkit doctor``.
    """

    device: str
    dtype: str
    reason: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch names it."""
        import torch

        return torch.bfloat16 if self.dtype == "bf16" else torch.float32


def choose_placement(device: str, dtype: str) -> Placement:
    """Turn ``auto`` into a device and a dtype.

    bf16 is chosen only where the device multiplies bf16 in hardware: elsewhere it is emulated, slower than fp32
    and less exact.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``bf16`` or ``fp32``.

    Raises:
        ModelError: A CUDA device that is not there.
    """
    chosen = _choose_device(device)
    native, what = _native_bf16(chosen)
    if dtype != "auto":
        emulated = dtype == "bf16" and not native
        return Placement(chosen, dtype, f"asked for{'; ' + what + ', so it is slow' if emulated else ''}")
    return Placement(chosen, "bf16" if native else "fp32", what)


def device_kind(device: str) -> str:
    """What decides the last bits of a result: the GPU's name, or the CPU's vector instructions.

    Returns:
        Such as ``cuda:NVIDIA H100 80GB HBM3`` or ``cpu:AVX2``.
    """
    import torch

    if device.startswith("cuda"):
        return f"cuda:{torch.cuda.get_device_name(torch.device(device))}"
    return f"cpu:{torch.backends.cpu.get_cpu_capability()}"


def _choose_device(device: str) -> str:
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ModelError(
            f"device: {device} was asked for, but torch {torch.__version__} sees no CUDA device here. "
            "Write device: auto, or install a CUDA build of torch (https://pytorch.org/get-started/locally)."
        )
    number = int(device.partition(":")[2] or 0) if device != "auto" else 0
    if number >= torch.cuda.device_count():
        raise ModelError(f"device: {device} was asked for; this machine has cuda:0 to cuda:{_last_device()}.")
    return f"cuda:{number}"


def _last_device() -> int:
    import torch

    return torch.cuda.device_count() - 1


def _native_bf16(device: str) -> tuple[bool, str]:
    import torch

    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(torch.device(device))
        native = major >= 8  # Ampere is the first generation with bf16 tensor cores
        return native, f"{device} (compute {major}.{minor}) {'has' if native else 'has no'} bf16 in hardware"
    cpu: Any = torch.cpu
    for name, test in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        if getattr(cpu, test, bool)():
            return True, f"this CPU has bf16 in hardware ({name})"
    return False, f"this CPU ({torch.backends.cpu.get_cpu_capability()}) has no bf16 in hardware"
