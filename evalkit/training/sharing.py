"""How a training runs its rows: in streams that share beginnings, in streams, or padded; probed, not assumed.

Whether a family of models gives the gradients of plain rows in a stream is found on a small random model of the
same configuration, with adapters on the layers that are to be trained, when a training starts. Under dropout
nothing is shared, since one mask would be drawn instead of one a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from evalkit.errors import CandidateError, EvalkitError
from evalkit.models.devices import Placement
from evalkit.models.loading import Base
from evalkit.models.memory import free_memory, out_of_memory
from evalkit.models.registry import ResolvedModel
from evalkit.models.small import small_model
from evalkit.specs.study import Quantization
from evalkit.specs.trainer import QloraSettings
from evalkit.training.adapters import NewAdapter, new_adapter
from evalkit.training.attention import stream_attention
from evalkit.training.loss import backpropagate
from evalkit.training.many import joined
from evalkit.training.modes import training_mode
from evalkit.training.packing import Mode, Unit, make_batch
from evalkit.training.phases import Clock
from evalkit.training.rows import TokenRow
from evalkit.training.targets import target_modules

__all__ = ["choose_mode", "is_exact"]

_TOLERANCE = 1e-4  # relative, of loss and gradients in fp32; measured 2e-6 where a family is exact
_NOUGHT = (
    1e-3  # of the largest norm: some gradients are rounding alone, such as those that reach a softmax's shift
)
_WINDOW = 8  # of the probe's sliding attention, less than its rows' common beginning
_PROMPT = 14  # tokens of the probe's rows without a loss

_found: WeakKeyDictionary[Any, dict[Hashable, frozenset[Mode]]] = WeakKeyDictionary()


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
    if not is_exact(model, "packed", settings):
        tell(f"{name}: rows are run padded, since packing them is not exact in this architecture.")
        return "plain"
    if settings.dropout or settings.model_dropout:
        tell("dropout: beginnings that rows share are computed once a row, since each row draws its own.")
        return "packed"
    if not is_exact(model, "shared", settings):
        tell(
            f"{name}: beginnings that rows share are computed once a row, since sharing them is not exact in "
            "this architecture."
        )
        return "packed"
    return "shared"


def is_exact(model: Any, mode: Mode, settings: QloraSettings | None = None) -> bool:
    """Whether running rows in this way gives the losses and the adapters' gradients of plain rows.

    A small random model of the same configuration gets two adapters of different ranks where the training puts
    them. Their rows, in one stream and through the passes of training, are compared in fp32 with each row alone
    through the forward passes of transformers and peft, with its adapter alone.

    Args:
        model: The base.
        mode: How.
        settings: Of the training: which layers get an adapter, and of what kind; None: the defaults.
    """
    settings = settings or QloraSettings()
    known = _found.setdefault(model, {})
    key = (str(settings.targets), settings.dora)
    if key not in known:
        known[key] = _probe(model, settings)
    return mode in known[key]


def _probe(model: Any, settings: QloraSettings) -> frozenset[Mode]:
    """Ways that are exact. Where a GPU has no room for the small model, it is tried on the CPU."""
    device = str(next(model.parameters()).device)
    try:
        return _try(model, settings, device)
    except RuntimeError as error:
        if device == "cpu" or not out_of_memory(error):
            raise
    free_memory()
    return _try(model, settings, "cpu")


def _try(model: Any, settings: QloraSettings, device: str) -> frozenset[Mode]:
    exact: set[Mode] = set()
    try:
        attention = getattr(model.config, "_attn_implementation", None)
        small = small_model(model, _WINDOW, attention).to(device)
        with ExitStack() as stack:
            adapters = _put_in(small, settings, device, stack)
            stack.enter_context(training_mode(small, 0.0, False, lambda _: None))
            plain = _alone(small, adapters, device)
            stack.enter_context(stream_attention(small))
            if not settings.dora:  # peft's own forward does DoRA
                stack.enter_context(joined(adapters))
            for mode in ("packed", "shared"):
                if _agree(plain, _streamed(small, adapters, mode, device)):
                    exact.add(mode)
    except (
        *(ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, KeyError, IndexError),
        EvalkitError,
    ) as error:  # an architecture that cannot be run in this way
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
    return frozenset(exact)


def _agree(plain: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    floor = _NOUGHT * float(torch.stack([torch.linalg.vector_norm(a) for a in plain]).max())
    return all(
        float(torch.linalg.vector_norm(a - b)) <= _TOLERANCE * max(float(torch.linalg.vector_norm(a)), floor)
        for a, b in zip(plain, other, strict=True)
    )


def _put_in(small: Any, settings: QloraSettings, device: str, stack: ExitStack) -> list[NewAdapter]:
    """Put adapters on the small model that change it: two, or one where a pass can have no more (DoRA)."""
    nowhere = ResolvedModel("", Path(), "", None)
    base = Base(small, None, Placement(device, "fp32", ""), Quantization(type="none"), nowhere)
    targets = settings.targets
    try:
        target_modules(small, targets)
    except CandidateError:  # names of layers that only the whole base has
        targets = "all-linear"
    adapters = []
    for rank, slot in ((2, "first"), (3, "second"))[: 1 if settings.dora else 2]:
        own = QloraSettings(rank=rank, alpha=8.0, targets=targets, dora=settings.dora)
        adapters.append(stack.enter_context(new_adapter(base, own, rank, slot=slot)))
        random = torch.Generator(device).manual_seed(rank)
        for name, parameter in adapters[-1].named.items():
            if ".lora_B." in name:
                parameter.data.normal_(0.0, 0.1, generator=random)
    return adapters


def _rows(adapters: int) -> list[list[TokenRow]]:
    """Each adapter's rows, of different lengths; all begin with 12 tokens, two of the first's go on alike."""
    numbers = torch.randint(4, 250, (90,), generator=torch.Generator().manual_seed(0)).tolist()
    start = numbers[:12]
    rows = [
        TokenRow(tuple(ids), tuple(i > _PROMPT for i in range(len(ids))), 1)
        for ids in (
            start + numbers[12:22],
            start + numbers[22:37],
            start + numbers[22:33] + numbers[40:50],
            start + numbers[50:57],
            start + numbers[57:76],
        )
    ]
    return [rows[:3], rows[3:]] if adapters == 2 else [rows]


def _alone(small: Any, adapters: Sequence[NewAdapter], device: str) -> list[torch.Tensor]:
    """Losses and gradients, one row after the other, through nothing of ours."""
    from peft.tuners.lora.layer import LoraLayer

    found = []
    for adapter, rows in zip(adapters, _rows(len(adapters)), strict=True):
        for layer in small.modules():
            if isinstance(layer, LoraLayer):
                layer.set_adapter(adapter.slot)
        losses = []
        for row in rows:
            ids = torch.tensor([row.ids], device=device)
            logits = small(input_ids=ids, use_cache=False).logits[0, _PROMPT:-1]
            losses.append(
                torch.nn.functional.cross_entropy(logits.float(), ids[0, _PROMPT + 1 :], reduction="none")
            )
        losses_of_all = torch.cat(losses)
        torch.autograd.backward(losses_of_all.mean())
        found.append(losses_of_all.detach())
    return [torch.cat(found), *_gradients(adapters)]


def _streamed(small: Any, adapters: Sequence[NewAdapter], mode: Mode, device: str) -> list[torch.Tensor]:
    """The same of one stream, as a training runs it."""
    rows = _rows(len(adapters))
    units = [Unit(adapter.slot, own, mode) for adapter, own in zip(adapters, rows, strict=True)]
    batch = make_batch(units, device)
    factors = [1 / sum(row.targets for row in own) for own in rows]
    losses = backpropagate(small, batch, factors, nullcontext, nullcontext, Clock())
    return [losses, *_gradients(adapters)]


def _gradients(adapters: Sequence[NewAdapter]) -> list[torch.Tensor]:
    """What was sent back to the adapters, taken from them; 0 to those that had no part."""
    found = []
    for parameter in [parameter for adapter in adapters for parameter in adapter.parameters]:
        found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        parameter.grad = None
    return found
