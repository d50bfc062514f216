"""A base model in this process, with or without adapters, as something that answers requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.models import chat
from evalkit.models.decoding import Answer, random_key
from evalkit.models.dense import dense_on_cpu
from evalkit.models.limits import Limits
from evalkit.models.loading import Base
from evalkit.models.mixed import mixed, why_not_mixed
from evalkit.models.packed import Packed
from evalkit.models.plain import PlainEngine
from evalkit.models.probe import why_not_packed
from evalkit.models.rating import Rated, Rater, rolling_windows
from evalkit.models.writing import Writer
from evalkit.records import Choice, Output, Request
from evalkit.signature import digest

__all__ = ["VERSION", "LocalModel", "answer_together", "ids_sha256", "local_fingerprint", "why_not_together"]

VERSION = 3
"""Raised when the same weights and settings may give other answers than before; part of cache keys."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A request as ids.

    Attributes:
        request: The request.
        ids: The prompt's ids.
        rated: Of ``choice`` and ``perplexity``: what is rated, as contexts and their continuations.
        place: Its place among the requests.
        adapter: Who is asked; None: the base alone.
    """

    request: Request
    ids: list[int]
    rated: tuple[tuple[list[int], list[list[int]]], ...] = ()
    place: int = 0
    adapter: str | None = None


def local_fingerprint(
    base: Mapping[str, Any], adapter_sha256: str | None, form: str | None = None
) -> dict[str, Any]:
    """Everything that can change a local model's answers, as JSON values: part of cache keys.

    Args:
        base: ``Base.fingerprint``.
        adapter_sha256: Of its adapter; None for the base alone.
        form: How the adapter is merged; None where it is not.
    """
    merged = {} if form is None else {"form": form}
    return {"kind": "local", "version": VERSION, **base, "adapter_sha256": adapter_sha256, **merged}


class LocalModel:
    """Answers with a loaded base and one of its adapters.

    What prompts begin with is computed once, answers are written side by side, and a pass that does not fit in memory
    is halved and tried again (``writing``, ``rating``). In fp32 an answer does not depend on what else is asked,
    sampled ones included: each draws from random numbers of its own. An architecture that packed passes are not exact
    for is run in padded batches instead, and ``tell`` hears why.

    Args:
        base: From ``load_base``.
        adapter: A name given to ``base.add_adapter``; None for the base alone.
        limits: How much is computed at once; by device where None.
        tell: Hears what the reader should know; logged where None.
    """

    def __init__(
        self,
        base: Base,
        adapter: str | None = None,
        *,
        limits: Limits | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if adapter is not None and adapter not in base.adapters:
            raise ValueError(f"no adapter named {adapter!r} is loaded on this base")
        self.base = base
        self.adapter = adapter
        self._limits = limits or Limits.of(base.device)
        self._tell = tell or logger.warning

    def fingerprint(self) -> dict[str, Any]:
        """See ``models.base.Model``."""
        slot = self.base.adapters[self.adapter] if self.adapter is not None else None
        known = (None, None) if slot is None else (slot.sha256, slot.form)
        return local_fingerprint(self.base.fingerprint(), *known)

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        """See ``models.base.Model``. The base is switched back to what it was when all is answered.

        Args:
            requests: With distinct ids; in any order, which changes nothing.
        """
        for _, output in self.answer_each([(self.adapter, request) for request in requests]):
            yield output

    def answer_each(self, asked: Sequence[tuple[str | None, Request]]) -> Iterator[tuple[int, Output]]:
        """Answer; several adapters may be asked where they are ``mixed``, else this one.

        Args:
            asked: Adapter and request.

        Yields:
            The place of a request, and its answer.
        """
        before, training = self.base.active, self.base.model.training
        try:
            packed = self._engine()
            self._ready()  # its layers are those that are kept dense
            with dense_on_cpu(self.base.model):
                for start in range(0, len(asked), self._limits.requests):
                    encoded: list[_Encoded] = []
                    for place in range(start, min(start + self._limits.requests, len(asked))):
                        adapter, request = asked[place]
                        item = self._encode(request)
                        if isinstance(item, Output):
                            yield place, item
                        else:
                            encoded.append(replace(item, place=place, adapter=adapter))
                    yield from self._generate([item for item in encoded if not item.rated], packed)
                    yield from self._rate([item for item in encoded if item.rated], packed)
        finally:
            self.base.model.train(training)
            self.base.switch(before if before in self.base.adapters else None)

    def _engine(self) -> Packed | None:
        """Packed passes of this model, or None where they are not exact."""
        reason = why_not_packed(self.base.model, self.base.resolved.path)
        if reason is None:
            return Packed(self.base.model, self.base.device)
        self._tell(f"{reason}: prompts are run in padded batches, and nothing is shared between them.")
        return None

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
                return self._encode_text(request)
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
        return _Encoded(request, ids)

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
        return _Encoded(request, ids, ((ids, list(rated)),))

    def _encode_text(self, request: Request) -> _Encoded | Output:
        tokenizer, prompt = self.base.tokenizer, request.prompt
        text = prompt if isinstance(prompt, str) else chat.render(tokenizer, prompt, False)
        ids = [int(i) for i in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if not ids or first is None:
            return _error(request, "no start token to begin with" if ids else "the text is empty", ids)
        windows = rolling_windows(ids, int(first), self.base.context or len(ids))
        rated = tuple((inputs[: len(inputs) - len(targets) + 1], [targets]) for inputs, targets in windows)
        return _Encoded(request, ids, rated)

    def _room(self, ids: Sequence[int]) -> int:
        context = self.base.context
        return 1 << 30 if context is None else context - len(ids)

    def _generate(self, items: Sequence[_Encoded], packed: Packed | None) -> Iterator[tuple[int, Output]]:
        groups = [self._answers(item) for item in items]
        owner = {answer: i for i, answers in enumerate(groups) for answer in answers}
        still_open = [len(answers) for answers in groups]
        if packed is None:
            finished = PlainEngine(self.base, self._ready, self._limits.slots).write(groups)
        else:
            finished = Writer(self.base, packed, self._limits, self._ready, groups).run()
        for answer in finished:
            i = owner[answer]
            still_open[i] -= 1
            if still_open[i] == 0:
                yield items[i].place, _generated(items[i], groups[i])

    def _answers(self, item: _Encoded) -> list[Answer]:
        generation, ids = item.request.generation, item.ids
        # A stop string that is a special token never shows in the text: its id ends the answer instead.
        added = self.base.tokenizer.get_added_vocab()
        ends = self.base.eos_ids | {added[stop] for stop in generation.stop if stop in added}
        limit = min(generation.max_new_tokens, self._room(ids))
        return [
            Answer(
                ids,
                limit,
                generation,
                ends,
                random_key(generation, item.request.id, index),
                owner=item.adapter,
            )
            for index in range(generation.samples)
        ]

    def _rate(self, items: Sequence[_Encoded], packed: Packed | None) -> Iterator[tuple[int, Output]]:
        owner = [i for i, item in enumerate(items) for _ in item.rated]
        pieces = [piece for item in items for piece in item.rated]
        found: list[list[Rated]] = [[] for _ in items]
        if packed is None:
            rated = PlainEngine(self.base, self._ready, self._limits.slots).rate(pieces)
        else:
            vocabulary = self.base.model.config.get_text_config().vocab_size
            rows = max(1, self._limits.logits // vocabulary)
            owners = [items[i].adapter for i in owner]
            rated = Rater(packed, self._limits, rows, self._ready, pieces, owners).run()
        for each in rated:
            i = owner[each.index]
            found[i].append(each)
            if len(found[i]) == len(items[i].rated):
                yield items[i].place, _rated(items[i], found[i])


def answer_together(
    base: Base, asked: Sequence[tuple[str | None, Request]], limits: Limits | None = None
) -> Iterator[tuple[int, Output]]:
    """Answer for several adapters of a base, and for the base, in common passes (``models/mixed.py``).

    Each answers as it would alone: a ``LocalModel`` of its own.

    Args:
        base: For which ``why_not_together`` finds nothing, with these adapters.
        asked: Adapter, None for the base alone, and request; in any order, which changes nothing.
        limits: See ``LocalModel``.

    Yields:
        The place of a request and its answer, as soon as it is finished.

    Raises:
        NotImplementedError: A layer of the base runs something else than one row a token.
    """
    with mixed(base, {adapter for adapter, _ in asked if adapter is not None}):
        yield from LocalModel(base, limits=limits).answer_each(asked)


def why_not_together(base: Base, adapters: Collection[str]) -> str | None:
    """Why adapters of this base cannot answer in common passes; None where they can."""
    return why_not_packed(base.model, base.resolved.path) or why_not_mixed(base, adapters)


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
        logprobs=(
            tuple(tuple(answer.logprobs) for answer in answers) if item.request.generation.logprobs else None
        ),
    )


def _rated(item: _Encoded, found: Sequence[Rated]) -> Output:
    request, seconds = item.request, sum(each.seconds for each in found)
    failed = next((each.error for each in found if each.error is not None), None)
    if failed is not None:
        return _error(request, failed, item.ids)
    if request.kind == "perplexity":  # the windows of one text
        text = request.prompt if isinstance(request.prompt, str) else ""
        total, greedy = sum(each.values[0] for each in found), all(each.greedy[0] for each in found)
        whole = Choice(text, total, len(item.ids), greedy)
        return replace(_chosen(item, (whole,), seconds), text="", output_tokens=0)
    (_, continuations), values = item.rated[0], found[0].values
    choices = zip(request.choices, values, map(len, continuations), found[0].greedy, strict=True)
    return _chosen(item, tuple(Choice(*choice) for choice in choices), seconds)


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
