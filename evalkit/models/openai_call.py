"""One call to an OpenAI-compatible server: where it goes, what may go wrong, and how its reply is read.

Replies are read strictly. What is no JSON object with choices, or lacks what was asked for, is a ``BadReplyError``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from evalkit.errors import ModelError
from evalkit.models.pace import retry_after
from evalkit.records import Choice, Output, Request

__all__ = ["BadReplyError", "RefusedError", "Server", "api_key", "generated", "post", "rated", "usage"]

OPTIONS = {"headers": {}, "params": {}, "max_retries": 0, "security": {"bearer_auth": True}}
"""The official client's own, but said outright: it copies what is left open for each call."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a model is asked, and how hard.

    Attributes:
        model: Its name on the server.
        base_url: Such as ``http://localhost:8000/v1``; None for OpenAI.
        api_key_env: Environment variable with the key; None: ``OPENAI_API_KEY`` for OpenAI, no key elsewhere.
        api: ``chat`` or ``completions``.
        concurrency: Calls open at once, at most.
        deadline: Seconds one try of a call may take.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    api: Literal["chat", "completions"] = "chat"
    concurrency: int = 64
    deadline: float = 120.0


def api_key(server: Server) -> str:
    """Return the key for a server. OpenAI's own key never goes to another address unless the study names it.

    Raises:
        ModelError: The variable is not set, its value or the address cannot be sent; says what to type.
    """
    _check_address(server)
    name = server.api_key_env or ("OPENAI_API_KEY" if server.base_url is None else None)
    if name is None:
        return "none"  # the client insists on one; a server without keys ignores it
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(
            f"Model {server.model!r}: the key in {name} has characters that no key has. Copy it again."
        )
    if not key:
        raise ModelError(
            f"Model {server.model!r} needs a key: the environment variable {name} is not set. Type: export {name}=…"
        )
    return key


def _check_address(server: Server) -> None:
    if server.base_url is None:
        return
    told = f"Model {server.model!r}: base_url {server.base_url!r} is no address"
    try:
        address = urlsplit(server.base_url)
        host, _ = address.hostname, address.port  # a port that is none raises ValueError
        known = address.scheme in ("http", "https") and bool(host) and server.base_url.isprintable()
        (host or "").encode("idna")
    except ValueError as error:  # UnicodeError among them
        raise ModelError(f"{told} ({error}). Write one such as http://localhost:8000/v1") from error
    if address.username is not None:
        raise ModelError(
            f"{told} that evalkit asks: write the key into a variable and name it in api_key_env"
        )
    if not known:
        raise ModelError(f"{told}. Write one such as http://localhost:8000/v1")


class BadReplyError(Exception):
    """A reply that cannot be used, or none after all tries; the message is what the user reads."""


class RefusedError(Exception):
    """The server answered with an error, or could not be reached (``status`` None).

    Attributes:
        status: HTTP status code.
        told: What the server or the network said.
        wait: Seconds that the server asked to wait.
    """

    def __init__(self, status: int | None, told: str, wait: float | None = None) -> None:
        super().__init__(told)
        self.status, self.told, self.wait = status, told, wait


async def post(client: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask once and return the reply's object.

    Args:
        client: An ``openai.AsyncOpenAI``.
        path: Such as ``/chat/completions``.
        body: What is asked.

    Raises:
        RefusedError: The server answered with an error, or could not be reached.
        TimeoutError: No reply in time.
        BadReplyError: The reply breaks off, is no JSON, or has no choices.
    """
    import aiohttp
    import httpx2
    import openai

    try:
        options = {**OPTIONS, "timeout": client.timeout}
        response = await client.post(path, cast_to=httpx2.Response, body=body, options=options)
    except openai.APIStatusError as error:
        told = " ".join(str(error.message).split())[:300]
        raise RefusedError(error.status_code, told, retry_after(error.response.headers)) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__
        # aiohttp tells more than httpx's names for it, under which a server that hangs up is a timeout.
        inner = getattr(cause, "__cause__", None)
        unreachable = isinstance(inner, aiohttp.ClientConnectorError)
        late = isinstance(error, openai.APITimeoutError) if inner is None else isinstance(inner, TimeoutError)
        if late and not unreachable:
            raise TimeoutError from error
        # A reply that breaks off has reached a server; only a refused or lost connection has not.
        lost = isinstance(inner, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
        if not unreachable and (lost or isinstance(cause, httpx2.RemoteProtocolError | httpx2.ReadError)):
            raise BadReplyError(f"the reply breaks off ({cause})") from error
        why = inner or cause
        raise RefusedError(None, f"{type(why).__name__}: {why}" if why else str(error)) from error
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"the reply is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadReplyError(f"the reply is not an object, but {type(value).__name__}")
    if not isinstance(value.get("choices"), list) or not value["choices"]:
        raise BadReplyError("the reply has no choices")
    return value


def usage(reply: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of the prompt and of the answers, as the server counts them; 0 where it does not."""
    told = reply.get("usage")
    told = told if isinstance(told, dict) else {}
    counts = [told.get("prompt_tokens"), told.get("completion_tokens")]
    prompt, output = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return prompt, output


def generated(request: Request, reply: Mapping[str, Any]) -> list[tuple[str, Literal["stop", "length"]]]:
    """The answers of a reply, cut before the first stop string, and how each ended.

    Raises:
        BadReplyError: A choice has no text.
        RefusedError: A content filter stopped an answer.
    """
    answers: list[tuple[str, Literal["stop", "length"]]] = []
    for choice in reply["choices"]:
        choice = choice if isinstance(choice, dict) else {}
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else choice.get("text")
        refusal = message.get("refusal") if isinstance(message, dict) else None
        if text is None and isinstance(refusal, str):  # how OpenAI words a declined structured answer
            text = refusal
        finish = choice.get("finish_reason")
        if finish == "content_filter":
            raise RefusedError(400, "the server's content filter stopped the answer")
        if not isinstance(text, str):
            raise BadReplyError("the reply has a choice without text")
        text = text.encode("utf-8", "replace").decode()  # half a character, which JSON can hold, is no text
        cut = min((at for stop in request.generation.stop if (at := text.find(stop)) >= 0), default=None)
        if cut is not None:
            answers.append((text[:cut], "stop"))
        else:
            answers.append((text, "length" if finish == "length" else "stop"))
    return answers


def rated(request: Request, replies: Sequence[Mapping[str, Any]]) -> Output:
    """Log-probabilities of a request's choices, or of its whole text, from replies with ``echo``.

    Raises:
        BadReplyError: The server returned no log-probabilities of the prompt, or too few.
    """
    prompt = request.prompt if isinstance(request.prompt, str) else ""
    if request.kind == "choice":
        texts, start = request.choices, len(prompt)
    else:
        texts, start = (prompt,), 0
    choices = tuple(
        _rated(text, start, reply["choices"][0]) for text, reply in zip(texts, replies, strict=True)
    )
    best = max(choices, key=lambda choice: choice.logprob)
    return Output(
        id=request.id,
        text=best.text if request.kind == "choice" else "",
        prompt_tokens=max(usage(reply)[0] for reply in replies),
        output_tokens=best.tokens if request.kind == "choice" else 0,
        choices=choices,
    )


def _rated(text: str, start: int, choice: Mapping[str, Any]) -> Choice:
    """Sum over the tokens that begin in the text; one that straddles its begin belongs to it."""
    told = choice.get("logprobs")
    told = told if isinstance(told, dict) else {}
    values, offsets = told.get("token_logprobs"), told.get("text_offset")
    if not isinstance(values, list) or not isinstance(offsets, list) or len(values) != len(offsets):
        raise BadReplyError(
            "the server returned no log-probabilities of the prompt (completions with echo and logprobs)"
        )
    ends = [*offsets[1:], math.inf]
    inside = [
        (value, place)
        for place, (value, offset, end) in enumerate(zip(values, offsets, ends, strict=True))
        if end > start and offset < start + len(text)
    ]
    # Nothing precedes a text's first token, so a server has no value for it.
    known = [value for value, place in inside if not (value is None and place == 0)]
    if not known or not all(isinstance(value, int | float) and math.isfinite(value) for value in known):
        raise BadReplyError("the server returned log-probabilities for a part of the prompt only")
    return Choice(text, float(sum(known)), len(known))
