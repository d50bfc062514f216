"""Conversations, turn by turn: a candidate's own earlier answers stand in what it is asked next.

All samples answer their first turn, then all their second, so that each round is one batch. A turn's prompt is built
anew from the messages, as the model's chat template makes it (some take the thinking out of earlier answers), and
holds the answers before it: so does its key in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from evalkit.data.dialogue import as_spoken, turns_asked
from evalkit.records import Message, Output, Request
from evalkit.signature import digest

__all__ = ["converse", "recorded"]


def converse(requests: Sequence[Request], ask: Callable[[list[Request], int], list[Output]]) -> list[Output]:
    """Hold the conversations and return one output for each, in order.

    Args:
        requests: Of kind ``conversation``, with distinct ids; a prompt is the script.
        ask: Answers one round: requests of kind ``generate``, and the number of the turn, from 1.

    Returns:
        Outputs whose ``text`` is the list of answers, one a turn. ``finish`` is ``length`` where any answer was cut,
        and ``error`` where a turn has no answer: the conversation ends there, and the answers before it are kept.
        Tokens, seconds and money are sums over the turns; every turn's prompt counts whole.
    """
    held: dict[str, list[Output]] = {request.id: [] for request in requests}
    turn = 1
    while round_ := [request for request in requests if _goes_on(request, held[request.id])]:
        asked = [_turn(request, held[request.id], turn) for request in round_]
        for request, output in zip(round_, ask(asked, turn), strict=True):
            held[request.id].append(output)
        turn += 1
    return [_whole(request, held[request.id]) for request in requests]


def recorded(request: Request, output: Output) -> Output:
    """Return an output that was recorded whole as that of a conversation: a list with an answer for each turn."""
    texts = [output.text] if isinstance(output.text, str) else list(output.text)
    expected = turns_asked(_script(request))
    if output.finish == "error" or len(texts) == expected:
        return replace(output, text=texts if output.finish != "error" else [])
    told = f"expected a list with an answer to each of its {expected} turns, got {len(texts)}"
    return replace(output, text=texts, finish="error", error=told)


def _script(request: Request) -> list[Message]:
    if isinstance(request.prompt, str):
        return [Message(role="user", content=request.prompt)]
    return request.prompt


def _goes_on(request: Request, outputs: Sequence[Output]) -> bool:
    if outputs and outputs[-1].finish == "error":
        return False
    return len(outputs) < turns_asked(_script(request))


def _turn(request: Request, outputs: Sequence[Output], turn: int) -> Request:
    # The id seeds sampled answers: each turn draws from random numbers of its own.
    id_ = request.id if turn == 1 else f"{request.id}#{turn}"
    prompt = as_spoken(_script(request), [output.first for output in outputs])
    return Request(id_, "generate", prompt, request.generation)


def _whole(request: Request, outputs: Sequence[Output]) -> Output:
    last, turns = outputs[-1], turns_asked(_script(request))
    failed = last.finish == "error"
    costs = [output.cost for output in outputs if output.cost is not None]
    hashes = [output.prompt_ids_sha256 for output in outputs]
    logprobs = [values for output in outputs for values in output.logprobs or ()]
    return Output(
        id=request.id,
        text=[output.first for output in (outputs[:-1] if failed else outputs)],
        finish="error" if failed else "length" if any(o.finish == "length" for o in outputs) else "stop",
        prompt_tokens=sum(output.prompt_tokens for output in outputs),
        output_tokens=sum(output.output_tokens for output in outputs),
        seconds=sum(output.seconds for output in outputs),
        prompt_ids_sha256=digest(hashes) if all(hashes) else "",
        error=f"{last.error} (turn {len(outputs)} of {turns})" if failed else None,
        cost=sum(costs) if costs else None,
        logprobs=tuple(logprobs) if logprobs else None,
    )
