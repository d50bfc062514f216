"""Negative log-likelihood of the supervised tokens, with the output head run only where one is predicted."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from evalkit.training.attention import laid_out
from evalkit.training.batches import Batch, Part
from evalkit.training.phases import Clock

__all__ = ["CHUNK", "Tables", "backpropagate", "supervised_logits", "token_losses", "validation_loss"]

CHUNK = 128
"""Supervised tokens whose logits are held at once."""

Context = Callable[[], AbstractContextManager[Any]]
Tail = AbstractContextManager[Callable[[torch.Tensor], torch.Tensor]]


@dataclass
class Tables:
    """Room for the scores of ``CHUNK`` tokens over a whole vocabulary, written over again and again.

    Memory that is new to a process costs a CPU several times what the softmax over it does.
    """

    _held: dict[tuple[int, torch.dtype, torch.device], torch.Tensor] = field(default_factory=dict)

    def like(self, scores: torch.Tensor, number: int, dtype: torch.dtype) -> torch.Tensor:
        """Table ``number``, of the scores' shape (n, V) and device; what it held is lost."""
        key = number, dtype, scores.device
        if key not in self._held or self._held[key].numel() < scores.numel():
            rows, size = scores.shape
            self._held[key] = torch.empty(max(rows, CHUNK) * size, dtype=dtype, device=scores.device)
        return self._held[key][: scores.numel()].view(scores.shape)


def backpropagate(
    model: Any,
    batch: Batch,
    factors: Sequence[float],
    compute: Context,
    offloaded: Context,
    clock: Clock,
    tables: Tables,
) -> torch.Tensor:
    """Run a batch forwards and backwards; return the loss of each supervised token, (N,), in nats.

    The gradient is that of the losses times the batch's weights times the factor of their part. The head is
    frozen: it has no weight gradient, and its logits are held for ``CHUNK`` tokens at a time. A part with a loss
    that is not finite sends back no gradient, and does not touch the others.

    Args:
        model: A causal language model of transformers.
        batch: See ``collate`` and ``pack``.
        factors: One a part.
        compute: Makes the context of forward passes, such as autocast.
        offloaded: Makes the context in which activations are kept elsewhere.
        clock: Hears how long it took forwards and backwards.
        tables: Of this and of other batches.
    """
    with laid_out(batch.layout):  # around the backward pass as well, which checkpointed layers run again in
        with clock("forward"), compute(), offloaded():
            states, tail = _states(model, batch)  # (N, H)
        losses = torch.empty(len(states), device=batch.weights.device)
        sent = torch.empty_like(states)
        with tail as logits:
            for part, factor in zip(batch.parts, factors, strict=True):
                for span in _spans(part):
                    piece = states[span].detach().requires_grad_()
                    with clock("forward"):
                        with compute():
                            scores = logits(piece)
                        losses[span] = _losses(scores.detach(), batch.targets[span], tables)
                    with clock("backward"):
                        slopes = batch.weights[span] * factor
                        slope = _slope(scores.detach(), batch.targets[span], slopes, tables)
                        (sent[span],) = torch.autograd.grad(scores, piece, slope)
                if not bool(torch.isfinite(losses[slice(*part.targets)]).all()):
                    sent[slice(*part.targets)] = 0.0
        with clock("backward"):
            torch.autograd.backward(states, sent)
    return losses


@torch.no_grad()
def token_losses(model: Any, batch: Batch, tables: Tables) -> torch.Tensor:
    """Return the loss of each supervised token, (N,), in nats, without gradients."""
    losses = torch.empty(len(batch.targets), device=batch.weights.device)
    with laid_out(batch.layout):
        states, tail = _states(model, batch)
        with tail as logits:
            for span in (span for part in batch.parts for span in _spans(part)):
                losses[span] = _losses(logits(states[span]), batch.targets[span], tables)
    return losses


def supervised_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits that predict the supervised tokens, (N, V).

    What some families do to logits (soft-caps, scales) is done by their own code: the model's forward runs with
    its layers' result, cut down to those N positions, put in place of its layers.

    Args:
        model: A causal language model of transformers.
        batch: See ``collate`` and ``pack``.
    """
    with laid_out(batch.layout):
        states, tail = _states(model, batch)
        with tail as logits:
            return logits(states)


def validation_loss(model: Any, batches: Iterable[Batch], tables: Tables | None = None) -> dict[str, float]:
    """Return the mean loss per supervised token over held-out rows, in nats, lower is better, of each owner.

    The model is put into eval mode and back, no random number is drawn, and weights of rows do not count.

    Args:
        model: The model, its adapters switched on.
        batches: At least one.
        tables: Of other batches too; None: of these alone.
    """
    training, tables = model.training, Tables() if tables is None else tables
    model.eval()
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    try:
        for batch in batches:
            losses = token_losses(model, batch, tables).double()
            for part in batch.parts:
                found = losses[slice(*part.targets)]
                totals[part.owner] = totals.get(part.owner, 0.0) + float(found.sum())
                counts[part.owner] = counts.get(part.owner, 0) + len(found)
    finally:
        model.train(training)
    return {owner: totals[owner] / counts[owner] for owner in totals}


def _losses(scores: torch.Tensor, targets: torch.Tensor, tables: Tables) -> torch.Tensor:
    """-log softmax(scores)[target] in fp32, (n,), of scores (n, V)."""
    wide = tables.like(scores, 0, torch.float32).copy_(scores)
    found = torch.log_softmax(wide, -1, out=tables.like(scores, 1, torch.float32))
    return -found.gather(1, targets.to(scores.device).unsqueeze(1)).squeeze(1)


def _slope(scores: torch.Tensor, targets: torch.Tensor, slopes: torch.Tensor, tables: Tables) -> torch.Tensor:
    """The gradient by the scores, (n, V) in their type, of their losses times ``slopes``, in a table.

    By one token's scores it is softmax(scores), less one at the target.
    """
    wide = tables.like(scores, 0, torch.float32).copy_(scores)
    found = torch.softmax(wide, -1, out=tables.like(scores, 1, torch.float32))
    places = targets.to(scores.device).unsqueeze(1)  # the head of a model spread over GPUs is on the last one
    found.scatter_add_(1, places, torch.full_like(found[:, :1], -1.0))
    found.mul_(slopes.to(scores.device).unsqueeze(1))
    if scores.dtype == found.dtype:
        return found
    return tables.like(scores, 2, scores.dtype).copy_(found)


def _spans(part: Part) -> Iterator[slice]:
    """A candidate's targets, cut as they are without the others: sums over other rows are rounded otherwise."""
    for start in range(*part.targets, CHUNK):
        yield slice(start, min(start + CHUNK, part.targets[1]))


def _states(model: Any, batch: Batch) -> tuple[torch.Tensor, Tail]:
    """Run the layers; return their result where a token is predicted, (N, H), and what makes logits of it."""
    # use_cache=False: else keys and values are kept that nobody reads, and packed rows are guessed at
    given = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    if batch.position_ids is None:
        del given["position_ids"]
    layers = _layers(model)
    if layers is None:
        logits = model(**given).logits
        return _at(logits, batch.positions), _as_they_are()
    output = layers(**given)
    states = _at(output.last_hidden_state, batch.positions)
    output.last_hidden_state = None  # or it would be kept for as long as the tail
    return states, _tail(model, layers, output)


def _at(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return states.reshape(-1, states.shape[-1]).index_select(0, positions.to(states.device))


def _layers(model: Any) -> Any:
    """The part of a model below its head; None where its forward does not run that part as a whole."""
    name = getattr(model, "base_model_prefix", "")
    layers = getattr(model, name, None) if name else None
    return layers if layers is not None and _runs(type(model).forward, f"self.{name}(") else None


@lru_cache(maxsize=64)
def _runs(forward: Callable[..., Any], call: str) -> bool:
    try:
        return call in inspect.getsource(forward)
    except (OSError, TypeError):  # no source at hand
        return False


@contextmanager
def _tail(model: Any, layers: Any, output: Any) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Within the block the given function makes logits (n, V) of states (n, H), as the model itself would."""
    given: list[torch.Tensor] = []

    def stand_in(*_: Any, **__: Any) -> Any:
        made = copy.copy(output)
        made.last_hidden_state = given[-1].unsqueeze(0)
        return made

    def logits(states: torch.Tensor) -> torch.Tensor:
        given[:] = [states]
        nothing = torch.zeros((1, len(states)), dtype=torch.long, device=states.device)
        found: torch.Tensor = model(input_ids=nothing, use_cache=False).logits
        return found[0]

    own = layers.__dict__.get("forward")
    layers.forward = stand_in
    try:
        yield logits
    finally:
        if own is None:
            del layers.forward
        else:
            layers.forward = own


@contextmanager
def _as_they_are() -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    yield lambda logits: logits
