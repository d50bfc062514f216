"""Negative log-likelihood of the supervised tokens, with the output head run only where one is predicted."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from evalkit.training.attention import laid_out
from evalkit.training.batches import Batch
from evalkit.training.phases import Clock

__all__ = ["CHUNK", "backpropagate", "supervised_logits", "token_losses", "validation_loss"]

CHUNK = 128
"""Supervised tokens whose logits are held at once. More are slower on a CPU, where a block of memory from 32 MB on is
fetched anew from the system each time: 128 rows of 49,152 logits in fp32 take 25 MB."""

Context = Callable[[], AbstractContextManager[Any]]
Tail = AbstractContextManager[Callable[[torch.Tensor], torch.Tensor]]


def backpropagate(
    model: Any,
    batch: Batch,
    factors: Sequence[float],
    compute: Context,
    offloaded: Context,
    clock: Clock,
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
    """
    with laid_out(batch.layout):  # around the backward pass as well, which checkpointed layers run again in
        with clock("forward"), compute(), offloaded():
            states, tail = _states(model, batch)  # (N, H)
        losses = torch.empty(len(states), device=batch.weights.device)
        sent = torch.empty_like(states)
        slopes = batch.weights * _by_target(batch, factors)
        with tail as logits:
            for start in range(0, len(states), CHUNK):
                span = slice(start, start + CHUNK)
                piece = states[span].detach().requires_grad_()
                with clock("forward"):
                    with compute():
                        scores = logits(piece)
                    found = _cross_entropy(scores, batch.targets[span]).to(losses.device)
                with clock("backward"):
                    (sent[span],) = torch.autograd.grad(found, piece, slopes[span])
                losses[span] = found.detach()
        for part in batch.parts:
            if not bool(torch.isfinite(losses[slice(*part.targets)]).all()):
                sent[slice(*part.targets)] = 0.0
        with clock("backward"):
            torch.autograd.backward(states, sent)
    return losses


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Return the loss of each supervised token, (N,), in nats, with gradients where they are on."""
    with laid_out(batch.layout):
        states, tail = _states(model, batch)
        with tail as logits:
            found = [
                _cross_entropy(logits(piece), targets)
                for piece, targets in zip(
                    torch.split(states, CHUNK), torch.split(batch.targets, CHUNK), strict=True
                )
            ]
    return torch.cat(found).to(batch.weights.device)


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


def validation_loss(model: Any, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the mean loss per supervised token over held-out rows, in nats, lower is better, of each owner.

    The model is put into eval mode and back, no random number is drawn, and weights of rows do not count.

    Args:
        model: The model, its adapters switched on.
        batches: At least one.
    """
    training = model.training
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                losses = token_losses(model, batch).double()
                for part in batch.parts:
                    found = losses[slice(*part.targets)]
                    totals[part.owner] = totals.get(part.owner, 0.0) + float(found.sum())
                    counts[part.owner] = counts.get(part.owner, 0) + len(found)
    finally:
        model.train(training)
    return {owner: totals[owner] / counts[owner] for owner in totals}


def _cross_entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    # the head of a model spread over GPUs is on the last one
    return F.cross_entropy(scores.float(), targets.to(scores.device), reduction="none")


def _by_target(batch: Batch, factors: Sequence[float]) -> torch.Tensor:
    """The factor of each supervised token's part, (N,)."""
    counts = torch.tensor([stop - start for start, stop in (part.targets for part in batch.parts)])
    return torch.tensor(factors).repeat_interleave(counts).to(batch.weights.device)


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
