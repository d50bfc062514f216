"""Which layers get an adapter."""

from __future__ import annotations

from typing import Any

from evalkit.errors import CandidateError, nearest

__all__ = ["target_modules"]

_BLOCKS = {
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "feed_forward", "ffn", "experts"),
}


def target_modules(model: Any, targets: str | list[str]) -> list[str]:
    """Turn ``targets`` of the settings into what peft takes.

    ``all-linear`` is every linear layer but the output head: LoRA on attention alone loses to it even with as
    many parameters (Dettmers et al. 2023; Schulman et al. 2025, "LoRA Without Regret").

    Args:
        model: A model of transformers.
        targets: ``all-linear``, ``attention``, ``mlp``, or names of linear layers: ``[q_proj, v_proj]``.

    Raises:
        CandidateError: A name that no linear layer has, with the nearest one that there is.
    """
    linear = _linear_layers(model)
    if targets == "all-linear":  # peft's word counts adapters that are there already, and stacked experts
        return sorted(set(map(_last, linear)))
    if isinstance(targets, str) and targets in _BLOCKS:
        blocks = _BLOCKS[targets]
        found = [name for name in linear if any(block in name.rpartition(".")[0] for block in blocks)]
        if not found:
            raise CandidateError(f"targets: {targets}: the model has no such layers; expected all-linear")
        return _short(found, linear)
    names = [targets] if isinstance(targets, str) else list(targets)
    known = sorted(set(map(_last, linear)))
    for name in names:
        if not any(layer == name or layer.endswith(f".{name}") for layer in linear):
            raise CandidateError(
                f"targets: no linear layer named {name!r}; the model has {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    return names


def _linear_layers(model: Any) -> list[str]:
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name.removesuffix(".base_layer")  # of a layer with an adapter
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not head
        and ".lora_" not in name
        and "Router" not in type(module).__name__  # Llama 4's and Phi MoE's give back more than a product
    ]


def _short(found: list[str], linear: list[str]) -> list[str]:
    """Last parts of the names where no other layer has one of them too, else the full names."""
    last = set(map(_last, found))
    outside = {_last(name) for name in linear if name not in found}
    return found if last & outside else sorted(last)


def _last(name: str) -> str:
    """The last part of a name, with the one before it where it is a number: ``projections.0``."""
    before, _, last = name.rpartition(".")
    return f"{before.rpartition('.')[2]}.{last}" if last.isdigit() and before else last
