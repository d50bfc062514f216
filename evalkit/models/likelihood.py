"""How likely a model finds given texts: the choices of a question, or a whole text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from evalkit.models.batch import log_probabilities, run_model
from evalkit.models.loading import Base

__all__ = ["rolling_windows", "text_log_likelihood"]

CHUNK = 512
"""Positions whose logits are in memory at once: a vocabulary of 150 000 takes 300 MB."""


def rolling_windows(ids: Sequence[int], first: int, length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cut a text into windows so that every token is predicted once, with all the context that fits.

    The windows of lm-evaluation-harness (``loglikelihood_rolling``), so that perplexities compare: the first
    starts after the start token, later ones after one token of context, and the last is moved left until full.

    Args:
        ids: The text.
        first: The id that the first token follows: the start token, or the end token where there is none.
        length: Most tokens of a window.

    Yields:
        Inputs and targets; the targets belong to the last ``len(targets)`` inputs.

    >>> list(rolling_windows([1, 2, 3, 4, 5], 0, 3))
    [([0, 1, 2], [1, 2, 3]), ([2, 3, 4], [4, 5])]
    """
    tokens = list(ids)
    done = min(length, len(tokens))
    if tokens:
        yield [first, *tokens[: done - 1]], tokens[:done]
    while done < len(tokens):
        count = min(len(tokens) - done, length)
        end = done + count
        yield tokens[max(end - length - 1, 0) : end - 1], tokens[done:end]
        done = end


def text_log_likelihood(base: Base, ids: Sequence[int], first: int, length: int) -> float:
    """Sum of the natural log-probabilities of a text's tokens.

    Args:
        base: The model, already switched to the adapter that answers.
        ids: The text.
        first: See ``rolling_windows``.
        length: The model's context.

    Returns:
        ≤ 0; 0.0 for an empty text.
    """
    return sum(_window(base, inputs, targets) for inputs, targets in rolling_windows(ids, first, length))


def _window(base: Base, inputs: Sequence[int], targets: Sequence[int]) -> float:
    """Log-likelihood of the last ``len(targets)`` next tokens, in chunks over one cache."""
    context = len(inputs) - len(targets)
    ids = torch.tensor([list(inputs)], device=base.device)
    following = torch.tensor([[0] * context + list(targets)], device=base.device)
    total, cache = 0.0, None
    for start in range(0, len(inputs), CHUNK):
        stop = min(start + CHUNK, len(inputs))
        positions = torch.arange(start, stop, device=base.device)[None]
        mask = torch.ones((1, stop), dtype=torch.long, device=base.device)
        logits, cache = run_model(base, ids[:, start:stop], mask, positions, cache)
        values = log_probabilities(logits, following[:, start:stop])
        total += float(values[:, max(context - start, 0) :].double().sum())
    return total
