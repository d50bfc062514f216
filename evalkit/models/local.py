"""A base model in this process, with or without an adapter, as something that answers requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from evalkit.errors import EvalkitError
from evalkit.models import chat
from evalkit.models.batch import Batch, SharedPrefix
from evalkit.models.decoding import Answer, decode, random_stream
from evalkit.models.likelihood import text_log_likelihood
from evalkit.models.loading import Base
from evalkit.records import Choice, Output, Request
from evalkit.signature import digest

__all__ = ["VERSION", "LocalModel", "ids_sha256", "local_fingerprint"]

VERSION = 1
"""Raised when the same weights and settings may give other answers than before; part of cache keys."""
BATCH_TOKENS = {"cpu": 16_384, "cuda": 65_536}
BATCH_ROWS = {"cpu": 64, "cuda": 256}
BATCH_LOGITS = 1 << 28
"""Most logits held at once while choices are rated: 1 GB in float32."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A request as ids.

    Attributes:
        request: The request.
        ids: The prompt's ids.
        continuations: For ``choice``: each option's ids.
        size: Tokens it may come to, prompt and answer.
        rated: Positions whose logits are wanted at once.
    """

    request: Request
    ids: list[int]
    continuations: tuple[list[int], ...] = ()
    size: int = 0
    rated: int = 1


def local_fingerprint(base: Mapping[str, Any], adapter_sha256: str | None) -> dict[str, Any]:
    """Everything that can change a local model's answers, as JSON values: part of cache keys.

    Args:
        base: ``Base.fingerprint``.
        adapter_sha256: Of its adapter; None for the base alone.
    """
    return {"kind": "local", "version": VERSION, **base, "adapter_sha256": adapter_sha256}


class LocalModel:
    """Answers with a loaded base and one of its adapters.

    Requests are answered longest first, in batches of similar length whose size is bounded by tokens; a batch
    that does not fit in memory is halved and tried again. Greedy answers do not depend on the batch but for
    rounding; sampled ones draw from a stream of their own.

    Args:
        base: From ``load_base``.
        adapter: A name given to ``base.add_adapter``; None for the base alone.
        batch_tokens: Most tokens of a batch, prompts and answers together; by device where None.
    """

    def __init__(self, base: Base, adapter: str | None = None, *, batch_tokens: int | None = None) -> None:
        if adapter is not None and adapter not in base.adapters:
            raise ValueError(f"no adapter named {adapter!r} is loaded on this base")
        self.base = base
        self.adapter = adapter
        kind = base.device.partition(":")[0]
        self._batch_tokens = batch_tokens or BATCH_TOKENS.get(kind, 16_384)
        self._batch_rows = BATCH_ROWS.get(kind, 64)

    def fingerprint(self) -> dict[str, Any]:
        """See ``models.base.Model``."""
        slot = self.base.adapters[self.adapter] if self.adapter is not None else None
        return local_fingerprint(self.base.fingerprint(), None if slot is None else slot.sha256)

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        """See ``models.base.Model``. The base is switched back to what it was when all is answered.

        Args:
            requests: With distinct ids; in any order, which changes nothing.
        """
        before, training = self.base.active, self.base.model.training
        prefix = SharedPrefix()
        try:
            encoded: list[_Encoded] = []
            for request in requests:
                item = self._encode(request)
                if isinstance(item, Output):
                    yield item
                else:
                    encoded.append(item)
            for kind in ("generate", "choice", "perplexity"):
                of_kind = [item for item in encoded if item.request.kind == kind]
                yield from self._answer_all(kind, of_kind, prefix)
        finally:
            self.base.model.train(training)
            self.base.switch(before if before in self.base.adapters else None)

    def _ready(self) -> None:
        """Put the adapter on and dropout off, whatever happened since the last output was handed out."""
        if self.base.active != self.adapter:
            self.base.switch(self.adapter)
        if self.base.model.training:
            self.base.model.eval()

    def _encode(self, request: Request) -> _Encoded | Output:
        tokenizer = self.base.tokenizer
        try:
            if request.kind == "perplexity":
                return _Encoded(request, self._text_ids(request))
            ids = chat.prompt_ids(tokenizer, request.prompt)
            if not ids:
                return _error(request, "the prompt is empty and the tokenizer has no start token")
            if request.kind == "choice":
                return self._encode_choices(request, ids)
        except EvalkitError as error:  # such as a template that refuses these roles
            return _error(request, str(error))
        room = self._room(ids)
        if room < 1:
            told = f"the prompt has {len(ids)} tokens and leaves no room in the model's context of {self.base.context}"
            return _error(request, told, ids)
        return _Encoded(request, ids, size=len(ids) + min(room, request.generation.max_new_tokens))

    def _encode_choices(self, request: Request, ids: list[int]) -> _Encoded | Output:
        tokenizer, prompt = self.base.tokenizer, request.prompt
        text = prompt if isinstance(prompt, str) else chat.render(tokenizer, prompt, True)
        rated = tuple(chat.encode_continuation(tokenizer, ids, text, choice) for choice in request.choices)
        if not rated or not all(rated):
            return _error(request, "a choice has no tokens to rate" if rated else "there are no choices", ids)
        longest = max(map(len, rated))
        if self._room(ids) + 1 < longest:  # the last token is rated, not read
            told = f"the prompt has {len(ids)} tokens, its longest choice {longest}: more than the model's context"
            return _error(request, f"{told} of {self.base.context}", ids)
        return _Encoded(request, ids, rated, len(ids) + longest, longest)

    def _text_ids(self, request: Request) -> list[int]:
        prompt = request.prompt
        text = prompt if isinstance(prompt, str) else chat.render(self.base.tokenizer, prompt, False)
        return [
            int(i) for i in self.base.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ]

    def _room(self, ids: Sequence[int]) -> int:
        context = self.base.context
        return 1 << 30 if context is None else context - len(ids)

    def _answer_all(self, kind: str, items: list[_Encoded], prefix: SharedPrefix) -> Iterator[Output]:
        if kind == "perplexity":
            yield from map(self._perplexity, items)
            return
        run = self._generate if kind == "generate" else self._choose
        waiting = self._batches(items)
        while waiting:
            batch = waiting.pop(0)
            finished: set[str] = set()
            try:
                for output in run(batch, prefix):
                    finished.add(output.id)
                    yield output
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                left = [item for item in batch if item.request.id not in finished]
                if len(left) == 1:
                    yield _error(left[0].request, f"out of memory with {left[0].size} tokens", left[0].ids)
                    continue
                _free_memory(prefix)
                waiting[:0] = [left[: len(left) // 2], left[len(left) // 2 :]]

    def _batches(self, items: list[_Encoded]) -> list[list[_Encoded]]:
        """Longest first; a batch's tokens are its rows times its longest row."""
        vocabulary = self.base.model.config.get_text_config().vocab_size
        batches: list[list[_Encoded]] = []
        rows = width = rated = 0
        for item in sorted(items, key=lambda item: (-len(item.ids), item.request.id)):
            needed = item.request.generation.samples if item.request.kind == "generate" else 1
            rows, width, rated = rows + needed, max(width, item.size), max(rated, item.rated)
            full = (
                rows > self._batch_rows
                or rows * width > self._batch_tokens
                or rows * rated * vocabulary > BATCH_LOGITS
            )
            if full or not batches:
                batches.append([])
                rows, width, rated = needed, item.size, item.rated
            batches[-1].append(item)
        return batches

    def _generate(self, batch: Sequence[_Encoded], prefix: SharedPrefix) -> Iterator[Output]:
        answers = {item.request.id: self._answers(item) for item in batch}
        owner = {id(answer): item for item in batch for answer in answers[item.request.id]}
        open_answers = {item.request.id: item.request.generation.samples for item in batch}
        for answer in decode(self.base, list(chain(*answers.values())), prefix, self._ready):
            item = owner[id(answer)]
            open_answers[item.request.id] -= 1
            if open_answers[item.request.id] == 0:
                yield _generated(item, answers[item.request.id])

    def _answers(self, item: _Encoded) -> list[Answer]:
        generation, ids = item.request.generation, item.ids
        # A stop string that is a special token never shows in the text: its id ends the answer instead.
        added = self.base.tokenizer.get_added_vocab()
        ends = self.base.eos_ids | {added[stop] for stop in generation.stop if stop in added}
        limit = min(generation.max_new_tokens, self._room(ids))
        return [
            Answer(ids, limit, generation, ends, random_stream(generation, item.request.id, index))
            for index in range(generation.samples)
        ]

    def _choose(self, batch: Sequence[_Encoded], prefix: SharedPrefix) -> Iterator[Output]:
        clock = time.perf_counter()
        self._ready()
        held = Batch(self.base, [item.ids for item in batch], prefix)
        rated: list[list[Choice]] = [[] for _ in batch]
        for k in range(max(len(item.continuations) for item in batch)):
            ids = [item.continuations[k] if k < len(item.continuations) else [] for item in batch]
            for row, item, values in zip(rated, batch, held.rate(ids), strict=True):
                if k < len(item.continuations):
                    row.append(Choice(item.request.choices[k], sum(values), len(values)))
        share = (time.perf_counter() - clock) / len(batch)
        for item, choices in zip(batch, rated, strict=True):
            yield _chosen(item, tuple(choices), share)

    def _perplexity(self, item: _Encoded) -> Output:
        tokenizer, request = self.base.tokenizer, item.request
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if not item.ids or first is None:
            return _error(
                request, "the text is empty" if not item.ids else "no start token to begin with", item.ids
            )
        clock = time.perf_counter()
        self._ready()
        value = text_log_likelihood(self.base, item.ids, int(first), self.base.context or len(item.ids))
        text = request.prompt if isinstance(request.prompt, str) else ""
        choice = Choice(text, value, len(item.ids))
        return replace(_chosen(item, (choice,), time.perf_counter() - clock), text="", output_tokens=0)


def _generated(item: _Encoded, answers: Sequence[Answer]) -> Output:
    failed = next((answer for answer in answers if answer.finish == "error"), None)
    cut = any(answer.finish == "length" for answer in answers)
    texts = [answer.text for answer in answers]
    return Output(
        id=item.request.id,
        text=texts[0] if item.request.generation.samples == 1 else texts,
        finish="error" if failed else "length" if cut else "stop",
        prompt_tokens=len(item.ids),
        output_tokens=sum(len(answer.tokens) for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        prompt_ids_sha256=ids_sha256(item.ids),
        error=failed.error if failed else None,
    )


def _chosen(item: _Encoded, choices: tuple[Choice, ...], seconds: float) -> Output:
    broken = any(choice.logprob != choice.logprob for choice in choices)
    best = max(choices, key=lambda choice: choice.logprob)
    return Output(
        id=item.request.id,
        text="" if broken else best.text,
        finish="error" if broken else "stop",
        prompt_tokens=len(item.ids),
        output_tokens=best.tokens,
        seconds=seconds,
        prompt_ids_sha256=ids_sha256(item.ids),
        choices=None if broken else choices,
        error="the model's logits are NaN" if broken else None,
    )


def _error(request: Request, reason: str, ids: Sequence[int] = ()) -> Output:
    return Output(
        request.id,
        "",
        "error",
        prompt_tokens=len(ids),
        prompt_ids_sha256=ids_sha256(ids) if ids else "",
        error=reason,
    )


def ids_sha256(ids: Sequence[int]) -> str:
    """SHA-256 of a prompt's ids."""
    return digest(list(ids))


def _out_of_memory(error: RuntimeError) -> bool:
    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _free_memory(prefix: SharedPrefix) -> None:
    prefix.ids, prefix.cache = [], None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
