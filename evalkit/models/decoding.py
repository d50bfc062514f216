"""The next token of an answer: drawn greedily or at random from its logits, and whether the answer ends with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from evalkit.records import Generation

__all__ = ["Answer", "Draw", "cut_at_stop", "draw_tokens", "random_key", "scores_of"]

CLOSE = 2e-5
"""Relative to the largest score: a lead so small could be rounding, which depends on the batch in fp32."""
HEAD = 512
"""Most likely tokens among which a nucleus is looked for before all are sorted."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A next token.

    Attributes:
        token: Its id; None where the logits hold NaN.
        close: Its lead over the second is within rounding.
        logprob: Natural log-probability under the model's own distribution; None where it was not asked for.
    """

    token: int | None
    close: bool = False
    logprob: float | None = None


@dataclass(slots=True, eq=False)
class Answer:
    """One answer being written.

    Attributes:
        prompt: The prompt's ids.
        limit: Most tokens it may have.
        generation: How tokens are chosen, and the stop strings.
        end_ids: Ids that end it.
        key: Random numbers of this answer alone; None when greedy.
        tokens: Its ids so far, an end token included.
        logprobs: Of its tokens, where they are asked for.
        text: What is shown; cut before a stop string.
        finish: None while it is being written.
        seconds: Its share of the time of its passes.
        error: Why it cannot go on.
        owner: The adapter that writes it; None: the base alone.
    """

    prompt: list[int]
    limit: int
    generation: Generation
    end_ids: frozenset[int]
    key: int | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length", "error"] | None = None
    seconds: float = 0.0
    error: str | None = None
    owner: str | None = None

    def take(self, draw: Draw, tokenizer: Any) -> None:
        """Add the next token and decide whether the answer ends with it."""
        if draw.token is None:
            self.fail("the model's logits are NaN")
            return
        self.tokens.append(draw.token)
        if draw.logprob is not None:
            self.logprobs.append(draw.logprob)
        stops = self.generation.stop
        if draw.token in self.end_ids:
            self.finish, self.text = "stop", _read(tokenizer, self.tokens[:-1])
        elif stops and (cut := cut_at_stop(_read(tokenizer, self.tokens), stops)) is not None:
            self.finish, self.text = "stop", cut
        elif len(self.tokens) >= self.limit:
            self.finish, self.text = "length", _read(tokenizer, self.tokens)

    def fail(self, reason: str) -> Answer:
        """End without an answer."""
        self.finish, self.error = "error", reason
        return self


def random_key(generation: Generation, sample_id: str, index: int) -> int | None:
    """Key of an answer's random numbers: it depends on seed, sample and index, never on the batch; None if greedy."""
    if generation.temperature == 0:
        return None
    name = f"{generation.seed}\0{sample_id}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:16], "big")


def draw_tokens(logits: torch.Tensor, answers: Sequence[Answer]) -> list[Draw]:
    """Return the next token of each answer.

    Args:
        logits: (B, V) float32.
        answers: B of them.
    """
    special = [
        i for i, a in enumerate(answers) if a.key is not None or a.generation.repetition_penalty != 1.0
    ]
    scores = logits
    if special:
        scores = logits.clone()
        for i in special:
            scores[i] = scores_of(logits[i], answers[i])
    best, ids = scores.topk(2, dim=-1)  # (B, 2); NaN counts as the largest
    broken = logits.max(dim=-1).values.isnan().tolist()
    scale = logits.amax(-1).abs().clamp(min=1.0)
    close = (best[:, 0] - best[:, 1] <= CLOSE * scale).tolist()
    tokens = ids[:, 0].tolist()
    wanted = [i for i, answer in enumerate(answers) if answer.generation.logprobs]
    rated: dict[int, float] = {}
    if wanted:
        values = logits[wanted].gather(-1, ids[wanted, :1])[:, 0] - logits[wanted].logsumexp(-1)
        rated = dict(zip(wanted, values.tolist(), strict=True))
    return [Draw(None) if broken[i] else Draw(tokens[i], close[i], rated.get(i)) for i in range(len(answers))]


def scores_of(logits: torch.Tensor, answer: Answer) -> torch.Tensor:
    """Scores whose largest is the next token: the logits as the settings change them, with noise where it is sampled.

    In the order of transformers' ``generate``: repetition penalty (Keskar et al. 2019), temperature, top-k, nucleus
    (Holtzman et al. 2020), min-p (Nguyen et al. 2024). The noise is Gumbel's, so that the largest score is a sample
    of the softmax (Maddison et al. 2014); it belongs to seed, sample, answer and place, whatever else is computed.

    Args:
        logits: (V,) float32.
        answer: Its settings, prompt and tokens so far.

    Returns:
        (V,); minus infinity where a token is cut off.
    """
    settings, scores = answer.generation, logits
    if settings.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*answer.prompt, *answer.tokens}), device=logits.device)
        held = scores[seen]
        factor = settings.repetition_penalty
        scores = scores.index_put((seen,), torch.where(held < 0, held * factor, held / factor))
    if answer.key is None:
        return scores
    scores = scores / settings.temperature
    if 0 < settings.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(settings.top_k).values[-1], -torch.inf)
    if settings.top_p < 1.0:
        scores = scores.masked_fill(scores < _nucleus_edge(scores, settings.top_p), -torch.inf)
    if settings.min_p > 0.0:
        scores = scores.masked_fill(scores < scores.max() + float(np.log(settings.min_p)), -torch.inf)
    stream = np.random.Generator(np.random.Philox(key=answer.key, counter=len(answer.tokens) << 64))
    noise = -torch.from_numpy(stream.standard_exponential(len(scores), dtype=np.float32)).log_()
    return scores + noise.to(scores.device)


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the earliest stop string, or None if it holds none.

    >>> cut_at_stop("yes. No", (" No", "s."))
    'ye'
    """
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def _nucleus_edge(scores: torch.Tensor, mass: float) -> torch.Tensor:
    """The score of the last of the fewest most likely tokens whose probability together reaches the mass."""
    total = scores.logsumexp(-1)
    for count in (min(HEAD, len(scores)), len(scores)):
        ordered = scores.topk(count).values
        reached = (ordered - total).exp().double().cumsum(0)
        if float(reached[-1]) >= mass or count == len(scores):
            break
    last = int(torch.searchsorted(reached, mass))
    return ordered[min(last, count - 1)]


def _read(tokenizer: Any, ids: Sequence[int]) -> str:
    """Turn an answer's ids into text, without special tokens and without tidying spaces."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
