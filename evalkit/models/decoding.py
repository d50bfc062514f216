"""Answers token by token: greedy or sampled, cut exactly at stop strings."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from evalkit.models.batch import Batch, SharedPrefix
from evalkit.models.loading import Base
from evalkit.records import Generation

__all__ = ["Answer", "cut_at_stop", "decode", "pick", "random_stream"]

KEPT = 0.75
"""Finished rows leave the batch once no more than this share of it is still at work."""


@dataclass(slots=True)
class Answer:
    """One answer being written.

    Attributes:
        prompt: The prompt's ids.
        limit: Most tokens it may have.
        generation: Temperature, top_p and stop strings.
        end_ids: Ids that end it.
        stream: Random numbers of this sample alone; None when greedy.
        tokens: Its ids so far, an end token included.
        text: What is shown; cut before a stop string.
        finish: None while it is being written.
        seconds: Its share of the time of its batches.
        error: Why it cannot go on.
    """

    prompt: list[int]
    limit: int
    generation: Generation
    end_ids: frozenset[int]
    stream: random.Random | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length", "error"] | None = None
    seconds: float = 0.0
    error: str | None = None

    def add(self, token: int, tokenizer: Any) -> None:
        """Take the next token and decide whether the answer ends with it."""
        self.tokens.append(token)
        if token in self.end_ids:
            self.finish, self.text = "stop", _read(tokenizer, self.tokens[:-1])
        elif (
            self.generation.stop
            and (cut := cut_at_stop(_read(tokenizer, self.tokens), self.generation.stop)) is not None
        ):
            self.finish, self.text = "stop", cut
        elif len(self.tokens) >= self.limit:
            self.finish, self.text = "length", _read(tokenizer, self.tokens)


def decode(
    base: Base, answers: Sequence[Answer], prefix: SharedPrefix, ready: Callable[[], None]
) -> Iterator[Answer]:
    """Write all answers side by side; yield each as soon as it is finished.

    Args:
        base: The model.
        answers: With room for at least one token each.
        prefix: See ``Batch``.
        ready: Called before every pass: puts the right adapter on, whatever was done since the last yield.
    """
    clock = time.perf_counter()
    ready()
    batch = Batch(base, [answer.prompt for answer in answers], prefix)
    rows: list[Answer] = list(answers)
    while rows:
        tokens = _next_tokens(batch.logits, rows)
        open_before = [row for row in rows if row.finish is None]
        for row, token in zip(rows, tokens, strict=True):
            if row.finish is None:
                if token is None:
                    row.finish, row.error = "error", "the model's logits are NaN"
                else:
                    row.add(token, base.tokenizer)
        now = time.perf_counter()
        for row in open_before:
            row.seconds += (now - clock) / len(open_before)
        yield from (row for row in open_before if row.finish is not None)
        clock = time.perf_counter()  # what the caller did meanwhile is not ours
        working = [i for i, row in enumerate(rows) if row.finish is None]
        if not working:
            return
        if len(working) <= KEPT * len(rows):
            batch.keep(working)
            rows = [rows[i] for i in working]
        ready()
        batch.append(
            [row.tokens[-1] for row in rows]
        )  # a finished row that is still here repeats itself unread


def random_stream(generation: Generation, sample_id: str, index: int) -> random.Random | None:
    """The random numbers of one answer: they depend on seed, sample and index, never on the batch."""
    if generation.temperature == 0:
        return None
    name = f"{generation.seed}\0{sample_id}\0{index}".encode("utf-8", "surrogatepass")
    return random.Random(int.from_bytes(hashlib.sha256(name).digest(), "big"))


def pick(logits: torch.Tensor, generation: Generation, uniform: float) -> int:
    """Draw a token by inverting the cumulative distribution at ``uniform``.

    Args:
        logits: (V,) float32.
        generation: Temperature above 0; top_p keeps the fewest most likely tokens whose mass reaches it
            (nucleus sampling, Holtzman et al. 2020).
        uniform: In [0, 1).
    """
    probabilities = torch.softmax(logits.double().cpu() / generation.temperature, dim=-1)
    if generation.top_p < 1.0:
        ordered, order = probabilities.sort(descending=True, stable=True)
        beyond = ordered.cumsum(0) - ordered >= generation.top_p  # the mass before it suffices without it
        probabilities[order[beyond]] = 0.0
    cumulative = probabilities.cumsum(0)
    place = torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True)
    return min(int(place), int(probabilities.nonzero()[-1]))


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the earliest stop string, or None if it holds none.

    >>> cut_at_stop("yes. No", (" No", "s."))
    'ye'
    """
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def _read(tokenizer: Any, ids: Sequence[int]) -> str:
    """Turn an answer's ids into text, without special tokens and without tidying spaces."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _next_tokens(logits: torch.Tensor, rows: Sequence[Answer]) -> list[int | None]:
    """The next token of every row; None where the logits hold NaN."""
    best, greedy = logits.max(dim=-1)  # (B,); NaN wins a max, so it shows here
    broken = best.isnan().tolist()
    tokens: list[int | None] = [
        None if bad else token for bad, token in zip(broken, greedy.tolist(), strict=True)
    ]
    for i, row in enumerate(rows):
        if row.stream is not None and row.finish is None and tokens[i] is not None:
            tokens[i] = pick(logits[i], row.generation, row.stream.random())
    return tokens
