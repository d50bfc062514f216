"""How a training runs its rows: in streams that share beginnings, in streams, or padded; probed, not assumed.

Whether a family of models gives the gradients of plain rows in a stream is found on a small random model of the
same configuration, with adapters on the layers that are to be trained, when a training starts. Under dropout
nothing is shared, since one mask would be drawn instead of one a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from evalkit.errors import CandidateError, EvalkitError
from evalkit.models.memory import free_memory, out_of_memory
from evalkit.specs.trainer import QloraSettings
from evalkit.training.packing import Mode
from evalkit.training.trial import NOT_RUN, on_trial

__all__ = ["choose_mode", "is_exact"]

_TOLERANCE = 1e-4  # relative, of loss and gradients in fp32; measured 2e-6 where a family is exact
_NOUGHT = 1e-3  # of the largest norm: some gradients are rounding alone, such as of a whole softmax's shift

_found: WeakKeyDictionary[Any, dict[Hashable, frozenset[Mode]]] = WeakKeyDictionary()


def choose_mode(model: Any, settings: QloraSettings, tell: Callable[[str], None]) -> Mode:
    """Return how a training runs its rows; says why where it is not in streams that share beginnings.

    Args:
        model: The base.
        settings: Of the training.
        tell: Hears the reason.

    Raises:
        CandidateError: There is no memory to find out.
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
    for device in dict.fromkeys((str(next(model.parameters()).device), "cpu")):
        try:
            return _try(model, settings, device)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        free_memory()
    raise CandidateError(
        "there is no memory to try the rows' streams on a small model: free some, or write speed: plain, which needs "
        "no trial."
    )


def _try(model: Any, settings: QloraSettings, device: str) -> frozenset[Mode]:
    exact: set[Mode] = set()
    try:
        with on_trial(model, settings, device) as trial:
            plain = trial.alone()
            for mode in ("packed", "shared"):
                if _agree(plain, trial.streamed(mode)):
                    exact.add(mode)
    except (*NOT_RUN, EvalkitError) as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
    return frozenset(exact)


def _agree(plain: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    floor = _NOUGHT * float(torch.stack([torch.linalg.vector_norm(a) for a in plain]).max())
    return all(
        float(torch.linalg.vector_norm(a - b)) <= _TOLERANCE * max(float(torch.linalg.vector_norm(a)), floor)
        for a, b in zip(plain, other, strict=True)
    )
