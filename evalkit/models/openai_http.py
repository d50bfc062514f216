"""A model behind any OpenAI-compatible server, chat or completions, through the official ``openai`` package.

Many calls are open at once (``models.pace``); a busy or failing server is asked again with growing, random waits
that honour ``Retry-After``; a call that hangs ends at its deadline. Each request gets exactly one output, whatever
the server does. Replies are read strictly: half a JSON document, or one of another form, is a failed call.

The calls run on an event loop in a thread of their own, so that the caller may have a loop itself (a notebook).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from evalkit.errors import CandidateError
from evalkit.models.handover import Handover
from evalkit.models.openai_call import (
    BadReplyError,
    RefusedError,
    Server,
    api_key,
    generated,
    post,
    rated,
    usage,
)
from evalkit.models.openai_client import open_client
from evalkit.models.pace import Pace, backoff
from evalkit.models.prices import SPENT, Budget, Price
from evalkit.records import Message, Output, Request
from evalkit.signature import digest

__all__ = ["VERSION", "OpenAIModel"]

VERSION = 1
"""Raised when the same server may be asked otherwise than before; part of cache keys."""
ATTEMPTS = 8
"""Tries of one call."""
NOBODY_THERE = 4
"""Tries to reach a server that has not answered anything yet."""
RETRIED = frozenset({408, 409, 425, 429})
"""Status codes below 500 that may be gone next time."""
FATAL = {401: "refuses the key", 403: "forbids this", 404: "has no such model or address"}
"""Status codes that every call would meet again."""


_Read = TypeVar("_Read")


class _BudgetSpentError(Exception):
    """The next call might cost more than is left."""


class OpenAIModel:
    """Answers by asking a server.

    Args:
        server: Where.
        price: Of its tokens; None where unknown: outputs then have no cost.
        budget: Shared by all that spend; None: no limit.
        name: What the spending is counted under; None: the model's name.
        response_format: Sent with every request, such as a JSON schema; left out for good when the server refuses it.
    """

    def __init__(
        self,
        server: Server,
        *,
        price: Price | None = None,
        budget: Budget | None = None,
        name: str | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> None:
        self.server = server
        self._price, self._budget, self._name = price, budget or Budget(), name or server.model
        self._format = response_format
        self._limit_key = "max_tokens"
        self._successes = 0
        self._pace = Pace(server.concurrency)

    def fingerprint(self) -> dict[str, Any]:
        """See ``models.base.Model``: the model's name and address; what weights a server holds it alone knows."""
        server = self.server
        return {
            "kind": "api",
            "version": VERSION,
            "model": server.model,
            "base_url": None if server.base_url is None else server.base_url.rstrip("/"),
            "api": server.api,
            "response_format": None if self._format is None else dict(self._format),
        }

    lazy = True

    def answer(self, requests: Iterable[Request]) -> Iterator[Output]:
        """See ``models.base.Model``. Requests are taken as their turn comes, in the thread that asks.

        When the budget is spent the requests that are left get outputs with ``finish="error"``.

        Raises:
            ModelError: There is no key.
            CandidateError: The server cannot be reached, refuses the key or does not know the model.
        """
        key = api_key(self.server)
        return self._stream(iter(requests), key)

    def _stream(self, requests: Iterator[Request], key: str) -> Iterator[Output]:
        loop = asyncio.new_event_loop()
        finished = Handover(loop, self.server.concurrency)
        everything = loop.create_task(self._all(requests, key, finished))
        thread = threading.Thread(target=_run, args=(loop, everything, finished), daemon=True)
        thread.start()
        try:
            yield from finished
        finally:
            loop.call_soon_threadsafe(everything.cancel)  # does nothing to what is finished
            thread.join()
            loop.close()

    async def _all(self, requests: Iterator[Request], key: str, finished: Handover) -> None:
        self._pace = Pace(self.server.concurrency)  # its futures belong to this loop
        async with open_client(key, self.server.base_url, self.server.deadline) as client:

            async def work() -> None:
                for request in requests:
                    finished.put(await self._one(client, request))

            async with asyncio.TaskGroup() as group:
                for _ in range(self.server.concurrency):
                    group.create_task(work())

    async def _one(self, client: Any, request: Request) -> Output:
        started = asyncio.get_running_loop().time()
        try:
            if request.kind == "generate":
                return await self._generate(client, request, started)
            output = await self._likelihood(client, request)
        except _BudgetSpentError:
            return Output(request.id, "", "error", error=f"{SPENT} {self._budget.limit:g} is spent")
        except BadReplyError as error:
            output = Output(request.id, "", "error", error=str(error))
        return replace(output, seconds=_since(started))

    async def _generate(self, client: Any, request: Request, started: float) -> Output:
        settings = request.generation
        body = self._body(request.prompt)
        body[self._limit_key] = settings.max_new_tokens
        body["temperature"] = settings.temperature
        if settings.stop:
            body["stop"] = list(settings.stop[:4])  # what OpenAI takes; all of them are cut here again
        if settings.temperature > 0:
            body |= {"top_p": settings.top_p, "seed": 0}
        answers: list[tuple[str, Any]] = []
        replies: list[Any] = []
        while len(answers) < settings.samples:  # a server without `n` gives one a call
            left = settings.samples - len(answers)
            if left > 1:
                body["n"] = left
            else:
                body.pop("n", None)
            if "seed" in body:
                body["seed"] = _seed(settings.seed, request.id, len(answers))
            most = settings.max_new_tokens * left
            reply, read = await self._call(client, body, most, partial(generated, request))
            replies.append(reply)
            answers += read[:left]
        texts = [text for text, _ in answers]
        return Output(
            id=request.id,
            text=texts[0] if settings.samples == 1 else texts,
            finish="length" if any(finish == "length" for _, finish in answers) else "stop",
            prompt_tokens=usage(replies[0])[0],
            output_tokens=sum(usage(reply)[1] for reply in replies),
            seconds=_since(started),
            cost=self._cost(replies),
        )

    async def _likelihood(self, client: Any, request: Request) -> Output:
        if not isinstance(request.prompt, str):
            return Output(
                request.id,
                "",
                "error",
                error="a server gives log-probabilities of texts, not of chats: set chat: false in the task",
            )
        texts = [request.prompt + choice for choice in request.choices] or [request.prompt]
        replies: list[Any] = []
        for text in texts:
            body = {"model": self.server.model, "prompt": text, "echo": True, "logprobs": 1}
            body |= {self._limit_key: 1, "temperature": 0}
            replies.append((await self._call(client, body, 1, usage, "/completions"))[0])
        return replace(rated(request, replies), cost=self._cost(replies))

    def _body(self, prompt: str | list[Message]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.server.model}
        if self.server.api == "chat":
            body["messages"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        elif isinstance(prompt, str):
            body["prompt"] = prompt
        else:
            raise BadReplyError("`api: completions` takes a text, not a chat: set chat: false in the task")
        if self._format is not None:
            body["response_format"] = dict(self._format)
        return body

    def _cost(self, replies: Sequence[Mapping[str, Any]]) -> float | None:
        return None if self._price is None else sum(self._price.of(*usage(reply)) for reply in replies)

    async def _call(
        self, client: Any, body: dict[str, Any], most_new: int, read: Callable[[Any], _Read], path: str = ""
    ) -> tuple[Any, _Read]:
        """Ask until there is a reply that ``read`` can read; return both.

        Raises:
            BadReplyError: The server refuses this request, or fails each time.
            CandidateError: No request can succeed.
        """
        path = path or ("/chat/completions" if self.server.api == "chat" else "/completions")
        before, reason, unreachable, attempt = self._successes, "", 0, 0
        while attempt < ATTEMPTS:
            attempt += 1
            started = await self._pace.enter()
            wait: float | None = None
            try:
                reply = await self._paid(client, path, body, most_new)
                found = read(reply)
                self._successes += 1
                self._pace.went_well()
                return reply, found
            except RefusedError as error:
                if self._adapted(body, error):
                    attempt -= 1  # said otherwise, the request may be fine
                    continue
                reason, wait = self._judged(error), error.wait
                unreachable += error.status is None
                self._pace.balked(started, wait)
            except TimeoutError:
                reason = f"no reply within the deadline of {self.server.deadline:g} s"
                self._pace.balked(started)
            except BadReplyError as error:  # no sign of a busy server
                reason = str(error)
            finally:
                self._pace.leave()
            if unreachable == NOBODY_THERE and self._successes == 0:
                break
            if attempt < ATTEMPTS:
                await asyncio.sleep(backoff(attempt))
        if unreachable == attempt and self._successes == before:
            raise CandidateError(
                f"{self._where} cannot be reached: {reason}. Start it and run the same again."
            )
        raise BadReplyError(f"no answer after {ATTEMPTS} tries: {reason}")

    async def _paid(self, client: Any, path: str, body: dict[str, Any], most_new: int) -> Any:
        most = 0.0 if self._price is None else self._price.of(_most_tokens(body), most_new)
        while not self._budget.reserve(most):
            if not self._budget.waiting:
                raise _BudgetSpentError
            await asyncio.sleep(0.02)
        cost = 0.0
        try:
            async with asyncio.timeout(self.server.deadline):
                reply = await post(client, path, body)
            cost = self._cost([reply]) or 0.0
            return reply
        finally:
            self._budget.settle(most, cost, self._name)

    def _adapted(self, body: dict[str, Any], error: RefusedError) -> bool:
        """Say a refused request as this server wants it, from now on; False where that is not the trouble."""
        if error.status not in (400, 422):
            return False
        if "response_format" in body and ("response_format" in error.told or "json_schema" in error.told):
            self._format = None
            del body["response_format"]
            return True
        if "max_tokens" in body and "max_completion_tokens" in error.told:
            self._limit_key = "max_completion_tokens"
            body[self._limit_key] = body.pop("max_tokens")
            return True
        return False

    def _judged(self, error: RefusedError) -> str:
        """Why a call failed, where it may be tried again.

        Raises:
            CandidateError: It would fail for every request.
            BadReplyError: It would fail for this request each time.
        """
        if error.status in FATAL:
            raise CandidateError(
                f"{self._where} {FATAL[error.status]} (status {error.status}): {error.told}"
            ) from error
        if error.status is not None and error.status < 500 and error.status not in RETRIED:
            raise BadReplyError(f"refused with status {error.status}: {error.told}") from error
        return error.told if error.status is None else f"status {error.status}: {error.told}"

    @property
    def _where(self) -> str:
        return f"{self.server.model} at {self.server.base_url or 'OpenAI'}"


def _run(loop: asyncio.AbstractEventLoop, everything: asyncio.Task[None], finished: Handover) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(everything)
        finished.end()
    except BaseExceptionGroup as group:
        finished.end(_first(group))
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
        finished.end(None if isinstance(error, asyncio.CancelledError) else error)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _since(started: float) -> float:
    return asyncio.get_running_loop().time() - started


def _seed(seed: int, sample: str, index: int) -> int:
    return int(digest([seed, sample, index])[:7], 16)


def _most_tokens(body: Mapping[str, Any]) -> int:
    """No prompt has more tokens than bytes; 16 a message for the template."""
    texts = [message["content"] for message in body.get("messages", [])] or [str(body.get("prompt", ""))]
    return sum(len(text.encode("utf-8", "replace")) + 16 for text in texts)
