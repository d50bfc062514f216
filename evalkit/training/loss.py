"""Negative log-likelihood of the supervised tokens, with the output head run only where one is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from evalkit.training.batches import Batch, collate, micro_batches
from evalkit.training.rows import TokenRow

__all__ = ["supervised_logits", "token_losses", "validation_loss"]


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Return the loss of each supervised token, (N,), in nats, with gradients where they are on."""
    logits = supervised_logits(model, batch)
    targets = batch.targets.to(logits.device)  # the head of a model spread over GPUs is on the last one
    return F.cross_entropy(logits.float(), targets, reduction="none").to(batch.weights.device)  # (N,)


def supervised_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits that predict the supervised tokens, (N, V).

    The model's own forward runs, so that what some families do to logits (soft-caps, scales) is done; only
    the hidden states before its output head are cut down to those N positions. A model without a separate
    head computes all logits, and they are cut after.

    Args:
        model: A causal language model of transformers.
        batch: See ``collate``.
    """
    head = model.get_output_embeddings()
    given = _after_prefix(model, head, batch)
    with _only_at(head, batch.positions) as cut:
        logits: torch.Tensor = model(input_ids=batch.input_ids, **given).logits
    if cut:
        return logits[0]
    return logits.reshape(-1, logits.shape[-1]).index_select(0, batch.positions)


def _after_prefix(model: Any, head: Any, batch: Batch) -> dict[str, Any]:
    """Run the shared prefix once; return the arguments with which the rows go on from it."""
    if batch.prefix_ids is None:
        # use_cache=False: else keys and values are kept that nobody reads, and packed rows are guessed at
        return {"use_cache": False}
    rows, length = batch.input_ids.shape
    start = batch.prefix_ids.shape[1]
    with _only_at(head, torch.zeros(1, dtype=torch.long)):
        cache = model(input_ids=batch.prefix_ids, use_cache=True).past_key_values
    cache.batch_repeat_interleave(rows)  # each row's gradient flows back into the one prefix
    places = torch.arange(start, start + length, device=batch.input_ids.device).expand(rows, -1)
    return {"past_key_values": cache, "position_ids": places, "use_cache": True}


def validation_loss(
    model: Any, rows: Sequence[TokenRow], size: int, device: str, share: bool = False
) -> float:
    """Return the mean loss per supervised token over held-out rows, in nats, lower is better.

    The model is put into eval mode and back, no random number is drawn, and weights of rows do not count.

    Args:
        model: The model, its adapter switched on.
        rows: At least one.
        size: Rows run at once.
        device: Where the model is.
        share: Compute what the rows of a batch begin with once (see ``sharing``).
    """
    training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for group in micro_batches(rows, size):
            batch = collate(group, device, share)
            total += float(token_losses(model, batch).double().sum())
            count += len(batch.targets)
    model.train(training)
    return total / count


@contextmanager
def _only_at(head: Any, positions: torch.Tensor) -> Iterator[list[bool]]:
    """Within the block ``head`` sees only these of its (B·T) inputs, as one row; the list tells if it ran."""
    ran: list[bool] = []

    def cut(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        ran.append(True)
        hidden = inputs[0]  # (B, T, H)
        where = positions.to(hidden.device)
        return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, where).unsqueeze(0), *inputs[1:])

    handle = None if head is None else head.register_forward_pre_hook(cut)
    try:
        yield ran
    finally:
        if handle is not None:
            handle.remove()
