"""How a training runs its rows: in streams that share beginnings, in streams, or padded; probed, not assumed.

Whether a family of models gives the gradient of plain rows in a stream is found on a small random model of the
same configuration, when a training starts. Under dropout nothing is shared, since one mask would be drawn
instead of one a row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch

from evalkit.errors import EvalkitError
from evalkit.models.quiet import quiet
from evalkit.specs.trainer import QloraSettings
from evalkit.training.attention import stream_attention
from evalkit.training.loss import token_losses
from evalkit.training.packing import Mode, Unit, make_batch
from evalkit.training.rows import TokenRow

__all__ = ["choose_mode", "is_exact"]

_TOLERANCE = 1e-4  # relative, of loss and gradients in fp32; measured 2e-6 where a family is exact
_NOUGHT = 1e-3  # of the largest norm: some gradients are rounding alone, such as that of a bias of all keys
_WINDOW = 8  # of the probe's sliding attention, less than its rows' common beginning

_found: WeakKeyDictionary[Any, dict[Mode, bool]] = WeakKeyDictionary()


def choose_mode(model: Any, settings: QloraSettings, tell: Callable[[str], None]) -> Mode:
    """Return how a training runs its rows; says why where it is not in streams that share beginnings.

    Args:
        model: The base.
        settings: Of the training.
        tell: Hears the reason.
    """
    if settings.speed == "plain":
        return "plain"
    name = type(model).__name__
    if not is_exact(model, "packed"):
        tell(f"{name}: rows are run padded, since packing them is not exact in this architecture.")
        return "plain"
    if settings.dropout or settings.model_dropout:
        tell("dropout: beginnings that rows share are computed once a row, since each row draws its own.")
        return "packed"
    if not is_exact(model, "shared"):
        tell(
            f"{name}: beginnings that rows share are computed once a row, since sharing them is not exact in "
            "this architecture."
        )
        return "packed"
    return "shared"


def is_exact(model: Any, mode: Mode) -> bool:
    """Whether running rows in this way gives the plain loss and gradients in this architecture.

    A random model of the same configuration with few layers (every kind of layer that the base has), a small
    vocabulary and, where it has one, a short window is run both ways in fp32.
    """
    known = _found.setdefault(model, {})
    if mode not in known:
        known[mode] = _probe(model, mode)
    return known[mode]


def _probe(model: Any, mode: Mode) -> bool:
    try:
        small = _small(model)
        plain, other = _gradients(small, None), _gradients(small, mode)
    except (
        *(ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, KeyError, IndexError),
        EvalkitError,
    ):
        return False  # an architecture that cannot be run in this way
    floor = _NOUGHT * float(torch.stack([torch.linalg.vector_norm(a) for a in plain]).max())
    return all(
        float(torch.linalg.vector_norm(a - b)) <= _TOLERANCE * max(float(torch.linalg.vector_norm(a)), floor)
        for a, b in zip(plain, other, strict=True)
    )


def _small(model: Any) -> Any:
    """A random fp32 model of the base's configuration, small enough to run in a moment."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    kinds = list(getattr(text, "layer_types", None) or ["all alike"] * text.num_hidden_layers)
    layers = max(2, max(kinds.index(kind) for kind in set(kinds)) + 1)
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = min(layers, len(kinds)), 256, None
    if getattr(text, "layer_types", None):
        text.layer_types = kinds[: text.num_hidden_layers]
    if getattr(text, "sliding_window", None):
        text.sliding_window = _WINDOW
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    attention = getattr(model.config, "_attn_implementation", None)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    return small.eval().to(next(model.parameters()).device)  # eval: no dropout


def _gradients(model: Any, mode: Mode | None) -> list[torch.Tensor]:
    """Loss and all gradients of four rows of different lengths; all begin with 12 tokens, two go on alike.

    None as the mode: one row after the other, every logit.
    """
    numbers = torch.randint(4, 250, (90,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [
        TokenRow(ids, tuple(i > 14 for i in range(len(ids))), 1)
        for ids in (
            (*numbers[:12], *numbers[12:22]),
            (*numbers[:12], *numbers[22:37]),
            (*numbers[:12], *numbers[22:33], *numbers[40:50]),
            (*numbers[:12], *numbers[50:57]),
        )
    ]
    model.zero_grad(set_to_none=True)
    device = str(next(model.parameters()).device)
    if mode is None:
        found = [_whole(model, torch.tensor([row.ids], device=device)) for row in rows]
        losses = torch.cat([losses[14:] for losses in found])
    else:
        with stream_attention(model) if mode != "plain" else nullcontext():
            losses = token_losses(model, make_batch([Unit("", rows, mode)], device))
    torch.autograd.backward(losses.mean())
    return [losses.mean().detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def _whole(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="none")
