"""Attention of a whole stream in one call of FlashAttention a layer, where CUDA and the model allow it.

Each stretch is a sequence of its own to ``torch.nn.attention.varlen``: its queries are its own tokens, its keys
those of the stretches it goes on from and its own, gathered. A causal mask that is aligned to the last query, which
FlashAttention's is (Dao 2023, arXiv:2307.08691; since 2.1), then says exactly who attends to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import torch

from evalkit.errors import EvalkitError
from evalkit.models.memory import out_of_memory
from evalkit.specs.trainer import QloraSettings
from evalkit.training.attention import Layout, attend, current_layout
from evalkit.training.job import TrainingJob
from evalkit.training.modes import compute_type
from evalkit.training.trial import NOT_RUN, on_trial

__all__ = ["Spans", "at_once", "choose_attention", "gathered", "spans", "why_not"]

Kernel = Callable[..., Any]
Attention = Callable[..., tuple[torch.Tensor, None]]

_TYPES = (torch.bfloat16, torch.float16)
_WIDEST = 256  # numbers a head, in eights
_OLDEST = (8, 0)  # Ampere
_TIMES, _FLOOR = 2.0, 1e-3  # how much further from fp32 than SDPA it may be

_found: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Spans:
    """What the kernel has to know of a layout with N stretches.

    Attributes:
        queries: (N + 1,) int32: where each stretch's queries begin, and the end of the last.
        keys: The same of its keys.
        gathered: (K,) index in the stream of each key; None: they are the stream as it is.
        longest: Most queries, most keys of a stretch.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    gathered: torch.Tensor | None
    longest: tuple[int, int]


def spans(layout: Layout, device: torch.device) -> Spans:
    """Return a layout's spans, made once a layout and device.

    >>> from evalkit.training.attention import Stretch
    >>> layout = Layout((Stretch(0, 3), Stretch(3, 5, ((0, 3),)), Stretch(5, 6, ((0, 3),))), ())
    >>> found = spans(layout, torch.device("cpu"))
    >>> found.queries.tolist(), found.keys.tolist(), found.longest
    ([0, 3, 5, 6], [0, 3, 8, 12], (3, 5))
    >>> found.gathered.tolist()
    [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5]
    """
    if device not in layout.spans:
        seen = [(*stretch.before, (stretch.start, stretch.stop)) for stretch in layout.stretches]
        own = [stretch.stop - stretch.start for stretch in layout.stretches]
        lengths = [sum(stop - start for start, stop in parts) for parts in seen]
        alone = not any(stretch.before for stretch in layout.stretches)
        index = [] if alone else [i for parts in seen for start, stop in parts for i in range(start, stop)]
        layout.spans[device] = Spans(
            torch.tensor([0, *accumulate(own)], dtype=torch.int32, device=device),
            torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device),
            None if alone else torch.tensor(index, device=device),
            (max(own), max(lengths)),
        )
    found: Spans = layout.spans[device]
    return found


def at_once(kernel: Kernel, types: Sequence[torch.dtype] = _TYPES) -> Attention:
    """Return an attention function of streams that makes one call of the kernel, where a layer is fit for it.

    Others (soft-caps, sinks, dropout, other types, heads too wide or of two widths) attend stretch by stretch.

    Args:
        kernel: ``torch.nn.attention.varlen.varlen_attn``, or what takes the same arguments.
        types: That the kernel takes.
    """

    def attend_at_once(
        module: torch.nn.Module,
        query: torch.Tensor,  # (1, H, T, D)
        key: torch.Tensor,  # (1, G, T, D)
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        sliding_window: int | None = None,
        **more: Any,
    ) -> tuple[torch.Tensor, None]:
        kind = query.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
        width = query.shape[-1]
        fits = dtype in types and width == value.shape[-1] and width % 8 == 0 and width <= _WIDEST
        bent = dropout or more.get("softcap") is not None or more.get("s_aux") is not None
        if not fits or bent or attention_mask is not None or query.shape[0] != 1:
            return attend(module, query, key, value, attention_mask, scaling, dropout, sliding_window, **more)
        where = spans(current_layout(), query.device)
        q, k, v = (states[0].transpose(0, 1).to(dtype) for states in (query, key, value))  # (T, ·, D)
        if where.gathered is not None:
            k, v = gathered(k, where.gathered), gathered(v, where.gathered)
        back = -1 if sliding_window is None or sliding_window >= where.longest[1] else sliding_window - 1
        out = kernel(
            q,
            k,
            v,
            where.queries,
            where.keys,
            *where.longest,
            scale=scaling,
            window_size=(back, 0),  # positions before its own that a query sees, and after it
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return out.to(query.dtype).unsqueeze(0).contiguous(), None  # (1, T, H, D)

    return attend_at_once


def gathered(states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return keys or values at these places; what comes back to one place from many is added in fp32.

    Args:
        states: (T, G, D).
        index: (K,) places, each as often as one likes.
    """
    found: torch.Tensor = _Gathered.apply(states, index)  # type: ignore[no-untyped-call]
    return found


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.length = len(states)
        return states.index_select(0, index)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        total = gradient.new_zeros((ctx.length, *gradient.shape[1:]), dtype=torch.float32)
        return total.index_add_(0, index, gradient.float()).to(gradient.dtype), None


def choose_attention(job: TrainingJob, tell: Callable[[str], None]) -> Attention:
    """Return how a training's streams attend; says which on CUDA in bf16, where there is a choice.

    Args:
        job: One of the candidates of the pass.
        tell: Hears what is used, and why where it is not one call a layer.
    """
    base, settings = job.base, job.settings
    with compute_type(settings.precision, base.dtype, base.device):
        low = torch.is_autocast_enabled("cuda")
    if not (base.device.startswith("cuda") and low):
        return attend
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        tell(
            "attention: SDPA, one call a stretch: FlashAttention over a whole stream needs torch 2.10 or later."
        )
        return attend
    if base.model not in _found:
        capable = torch.cuda.get_device_capability(base.device) >= _OLDEST
        _found[base.model] = (
            why_not(base.model, settings, base.device, varlen_attn)
            if capable
            else "this GPU is too old for it"
        )
    if (reason := _found[base.model]) is not None:
        tell(f"attention: SDPA, one call a stretch, not FlashAttention over a whole stream: {reason}.")
        return attend
    tell("attention: FlashAttention, one call a layer for a whole stream.")
    return at_once(varlen_attn)


def why_not(model: Any, settings: QloraSettings, device: str, kernel: Kernel) -> str | None:
    """Return what speaks against the kernel for this model; None: nothing.

    On a small model of its configuration, losses and gradients of a stream under bf16 autocast must be about as near
    to those of single rows in fp32 as they are with SDPA.

    Args:
        model: The base.
        settings: Of the training.
        device: Where the base is.
        kernel: See ``at_once``.
    """
    calls: list[None] = []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(None)
        return kernel(*given, **named)

    def low() -> Any:
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)

    try:
        with on_trial(model, settings, device) as trial:
            exact = trial.alone()
            per_stretch, whole = (
                _distance(exact, trial.streamed("shared", attention, low))
                for attention in (None, at_once(counted))
            )
    except (*NOT_RUN, EvalkitError) as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            return "no memory to try it"
        return f"it could not be run ({type(error).__name__})"
    if not calls:
        return "no layer of this model is fit for it"
    if not whole <= _TIMES * per_stretch + _FLOOR:  # a NaN is not
        return f"its gradients are {whole:.1g} from fp32's, SDPA's {per_stretch:.1g}"
    return None


def _distance(exact: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Between losses and gradients, relative."""
    a, b = (torch.cat([tensor.double().flatten() for tensor in listed]) for listed in (exact, other))
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a))
