"""The plain path, for architectures that packed passes are not exact for: padded batches, each row all its own.

Rows are padded on the left, with explicit positions and a mask, and keep their keys and values in transformers' own
cache.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from evalkit.models.decoding import Answer, draw_tokens
from evalkit.models.loading import Base
from evalkit.models.memory import free_memory, out_of_memory
from evalkit.models.rating import Rated

__all__ = ["PlainEngine"]

KEPT = 0.75
"""Finished rows leave the batch once no more than this share of it is still at work."""
CHUNK = 512
"""Positions whose logits are in memory at once."""


class PlainEngine:
    """Writes answers and rates continuations by padded batches.

    Args:
        base: The model.
        ready: Called before every pass: puts the right adapter on.
        rows: Most rows of a batch.
    """

    def __init__(self, base: Base, ready: Callable[[], None], rows: int) -> None:
        self._base, self._ready, self._rows = base, ready, rows

    def write(self, groups: Sequence[Sequence[Answer]]) -> Iterator[Answer]:
        """Yield every answer as soon as it is finished (see ``writing.Writer``)."""
        answers = sorted((answer for group in groups for answer in group), key=lambda a: -len(a.prompt))
        waiting = [answers[i : i + self._rows] for i in range(0, len(answers), self._rows)]
        while waiting:
            batch = waiting.pop(0)
            try:
                yield from self._decode(batch)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                free_memory()
                left = [answer for answer in batch if answer.finish is None]
                if len(left) == 1:
                    yield left[0].fail(f"out of memory with {len(left[0].prompt) + left[0].limit} tokens")
                    continue
                waiting[:0] = [left[: len(left) // 2], left[len(left) // 2 :]]

    def rate(self, items: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> Iterator[Rated]:
        """See ``rating.Rater``; every continuation is a pass of its own, after its whole prompt."""
        for index, (prompt, continuations) in enumerate(items):
            clock, rated = time.perf_counter(), Rated(index, [], [])
            try:
                self._ready()
                found = [self._likelihood(prompt, continuation) for continuation in continuations]
                rated.values, rated.greedy = [value for value, _ in found], [best for _, best in found]
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                free_memory()
                rated.error = f"out of memory with {len(prompt) + max(map(len, continuations))} tokens"
            rated.seconds = time.perf_counter() - clock
            yield rated

    def _decode(self, answers: Sequence[Answer]) -> Iterator[Answer]:
        clock = time.perf_counter()
        self._ready()
        batch = _Batch(self._base, [[*answer.prompt, *answer.tokens] for answer in answers])
        rows = list(answers)
        while rows:
            working = [i for i, row in enumerate(rows) if row.finish is None]
            for i, draw in zip(
                working, draw_tokens(batch.logits[working], [rows[i] for i in working]), strict=True
            ):
                rows[i].take(draw, self._base.tokenizer)
            share = (time.perf_counter() - clock) / len(working)
            for i in working:
                rows[i].seconds += share
            yield from (rows[i] for i in working if rows[i].finish is not None)
            clock = time.perf_counter()  # what the caller did meanwhile is not ours
            working = [i for i in working if rows[i].finish is None]
            if not working:
                return
            if len(working) <= KEPT * len(rows):
                batch.keep(working)
                rows = [rows[i] for i in working]
            self._ready()
            batch.append(
                [row.tokens[-1] for row in rows]
            )  # a finished row that is still here repeats itself unread

    def _likelihood(self, prompt: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        """Log-likelihood of a continuation, in chunks over one cache, and whether it is the greedy one."""
        inputs = [*prompt, *continuation[:-1]]
        ids = torch.tensor([inputs], device=self._base.device)
        following = torch.tensor([[0] * (len(prompt) - 1) + list(continuation)], device=self._base.device)
        total, greedy, cache = 0.0, True, None
        for start in range(0, len(inputs), CHUNK):
            stop = min(start + CHUNK, len(inputs))
            positions = torch.arange(start, stop, device=self._base.device)[None]
            mask = torch.ones((1, stop), dtype=torch.long, device=self._base.device)
            logits, cache = _run(self._base, ids[:, start:stop], mask, positions, cache)
            wanted, first = following[:, start:stop].to(logits.device), max(len(prompt) - 1 - start, 0)
            values = _log_probabilities(logits, wanted)
            total += float(values[:, first:].double().sum())
            greedy &= bool((logits.argmax(-1) == wanted)[:, first:].all())
        return total, greedy


class _Batch:
    """B sequences after their prompts, and ``logits`` (B, V) float32 of what follows each."""

    def __init__(self, base: Base, rows: Sequence[Sequence[int]]) -> None:
        self.base = base
        longest = max(map(len, rows))
        shifts = [longest - len(row) for row in rows]
        pad = int(base.tokenizer.pad_token_id)
        ids = torch.tensor([[pad] * shift + list(row) for shift, row in zip(shifts, rows, strict=True)])
        self._mask = (
            (torch.arange(longest)[None] >= torch.tensor(shifts)[:, None]).long().to(base.device)
        )  # (B, T)
        self._lengths = torch.tensor([len(row) for row in rows], device=base.device)  # (B,)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        logits, self._cache = _run(base, ids.to(base.device), self._mask, positions, None, keep=1)
        self.logits = logits[:, -1].float().to(base.device)

    def append(self, tokens: Sequence[int]) -> None:
        """Add one token to every row and move ``logits`` on."""
        inputs = torch.tensor(tokens, device=self.base.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(inputs)], dim=1)
        logits, self._cache = _run(self.base, inputs, self._mask, self._lengths[:, None], self._cache)
        self._lengths = self._lengths + 1
        self.logits = logits[:, -1].float().to(self.base.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        chosen = torch.tensor(rows)  # on the CPU, because layers may lie on several devices
        self._cache.batch_select_indices(chosen)
        self._mask, self._lengths, self.logits = (
            self._mask[chosen],
            self._lengths[chosen],
            self.logits[chosen],
        )


@torch.no_grad()
def _run(
    base: Base, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, keep: int = 0
) -> tuple[torch.Tensor, Any]:
    """One forward pass.

    Args:
        base: The model.
        ids: (B, S) new tokens.
        mask: (B, T) 1 for every real token so far, these included.
        positions: (B, S).
        cache: Keys and values of the T - S tokens before; None at the start.
        keep: Logits of only the last so many positions, where the model can; 0 for all.

    Returns:
        (B, S or keep, V) logits, and the cache that now holds T tokens.
    """
    known = inspect.signature(type(base.model).forward).parameters
    arguments = {"input_ids": ids, "attention_mask": mask, "use_cache": True}
    # The names of the state that goes on: keys and values, or what a recurrent family keeps instead.
    name = "past_key_values" if "past_key_values" in known else "cache_params"
    if cache is not None:
        arguments[name] = cache
    if "position_ids" in known:
        arguments["position_ids"] = positions
    if keep and "logits_to_keep" in known:
        arguments["logits_to_keep"] = keep
    output = base.model(**arguments)
    return output.logits, getattr(output, name)


def _log_probabilities(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-softmax at the given ids: (B, T, V) and (B, T) to (B, T), in float32."""
    logits = logits.float()
    return logits.gather(-1, ids[..., None]).squeeze(-1) - logits.logsumexp(-1)
