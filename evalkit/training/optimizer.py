"""AdamW over the adapter's parameters, with fp32, 8-bit or paged state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

__all__ = ["PAGED_ELEMENTS", "make_optimizer"]

PAGED_ELEMENTS = 100_000
"""bitsandbytes pages only the state of tensors with at least this many numbers."""


def make_optimizer(
    parameters: Sequence[torch.nn.Parameter],
    name: str,
    learning_rate: float,
    weight_decay: float,
    device: str,
    tell: Callable[[str], None],
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019) with betas 0.9 and 0.999.

    Vectors, such as DoRA's magnitudes, are not decayed: 0 is not where they should be.

    Args:
        parameters: What is trained.
        name: ``adamw``, ``adamw_8bit``, ``paged_adamw`` or ``paged_adamw_8bit`` (Dettmers et al. 2022, 2023).
        learning_rate: The peak.
        weight_decay: Decoupled.
        device: Where the parameters are.
        tell: Hears where a choice has no effect here.
    """
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name.startswith("paged"):
        name = _checked_paging(parameters, name, device, tell)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)  # one call for all tensors
    import bitsandbytes as bnb

    made: torch.optim.Optimizer = {
        "adamw_8bit": bnb.optim.AdamW8bit,
        "paged_adamw": bnb.optim.PagedAdamW,
        "paged_adamw_8bit": bnb.optim.PagedAdamW8bit,
    }[name](groups, lr=learning_rate)
    return made


def _checked_paging(
    parameters: Sequence[torch.nn.Parameter], name: str, device: str, tell: Callable[[str], None]
) -> str:
    if not device.startswith("cuda"):
        plain = name.removeprefix("paged_")
        tell(f"optimizer {name}: paging needs CUDA; on {device} the same steps are taken by {plain}.")
        return plain
    paged = sum(p.numel() >= PAGED_ELEMENTS for p in parameters)
    tell(
        f"optimizer {name}: bitsandbytes pages tensors of at least {PAGED_ELEMENTS:,} numbers, which "
        f"{paged} of the adapter's {len(parameters)} are."
    )
    return name
