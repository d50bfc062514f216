"""Stage answer: a candidate's output for every sample of a task, each stored as soon as it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from evalkit.models.base import Model
from evalkit.records import Choice, Output, Request
from evalkit.running.cache import Cache
from evalkit.running.keys import answer_key
from evalkit.running.progress import Progress
from evalkit.running.turns import converse, recorded

__all__ = ["answer", "keep"]


def answer(
    model: Model, requests: Sequence[Request], cache: Cache, progress: Progress, label: str
) -> list[Output]:
    """Return an output for every request, in order; only what is not in the cache is asked.

    Conversations are held turn by turn (``running.turns``), each turn stored by itself; recorded ones come whole.

    Args:
        model: Who answers.
        requests: n requests with distinct ids; all of them conversations, or none.
        cache: Where finished answers are kept.
        progress: Told of every finished sample.
        label: Names the stage to the reader: ``base · tickets``.
    """
    if not any(request.kind == "conversation" for request in requests):
        return _answer(model, requests, cache, progress, label)
    if model.fingerprint().get("by") == "id":
        whole = [replace(request, kind="generate") for request in requests]
        outputs = _answer(model, whole, cache, progress, label)
        return [recorded(request, output) for request, output in zip(requests, outputs, strict=True)]
    return converse(
        requests, lambda asked, turn: _answer(model, asked, cache, progress, f"{label} · turn {turn}")
    )


def _answer(
    model: Model, requests: Sequence[Request], cache: Cache, progress: Progress, label: str
) -> list[Output]:
    fingerprint = dict(model.fingerprint())
    keys = {request.id: answer_key(fingerprint, request) for request in requests}
    stored = cache.get_many(keys.values())
    outputs = {
        request.id: _from_json(request.id, stored[keys[request.id]])
        for request in requests
        if keys[request.id] in stored
    }
    # Prompts that occur twice are asked once.
    missing = list({keys[r.id]: r for r in requests if r.id not in outputs}.values())
    if missing:
        answers = model.answer(missing)  # a base that has to be loaded first is a stage of its own
        progress.stage(f"answer {label}", total=len(missing), unit="samples")
        answered: dict[str, Output] = {}
        for output in answers:
            key = keys[output.id]
            answered[key] = output
            keep(cache, key, output)
            progress.advance()
        progress.done()
        for request in requests:
            if request.id not in outputs:
                outputs[request.id] = replace(answered[keys[request.id]], id=request.id)
    return [outputs[request.id] for request in requests]


def keep(cache: Cache, key: str, output: Output) -> None:
    """Store an answer under its key (``keys.answer_key``); an error may be gone next time: it is asked again."""
    if output.finish != "error":
        cache.put(key, _to_json(output))


def _to_json(output: Output) -> dict[str, Any]:
    value = asdict(output)
    del value["id"], value["error"]
    return value


def _from_json(sample_id: str, value: dict[str, Any]) -> Output:
    choices = value["choices"]
    rated = None if choices is None else tuple(Choice(**choice) for choice in choices)
    logprobs = value.get("logprobs")
    if logprobs is not None:
        logprobs = tuple(tuple(answer) for answer in logprobs)
    return Output(**{**value, "id": sample_id, "choices": rated, "logprobs": logprobs})
