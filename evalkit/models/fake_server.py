"""A small OpenAI-compatible server that answers by a rule. For tests, demonstrations and benchmarks.

It speaks just enough HTTP/1.1 for the ``openai`` client, and can misbehave in every way that a real one does.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeAlias

__all__ = ["FakeServer", "Reply", "Rule"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends.

    Attributes:
        text: The answer, for a good reply.
        status: HTTP status; above 299 the text is the error's message.
        headers: On top of the usual ones.
        raw: Sent in place of the reply's JSON.
        cut: Send only so many bytes of the body, then close the connection.
        seconds: Wait so long before replying.
        more: Keys of the first choice beside its text, such as ``logprobs`` or ``finish_reason``.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: int | None = None
    seconds: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)


Rule: TypeAlias = Callable[[dict[str, Any]], Reply | str]
"""From a request's body, which gets its ``path``, to the reply."""


class FakeServer:
    """Serves on a free port of this machine within a ``with`` block.

    A token is a word. Requests are kept in ``calls`` where ``keep`` is set. With ``exact``, replies wait for their
    ``seconds`` to the microsecond and not up to a millisecond longer; at most 1,000 connections can be open then.

    >>> with FakeServer(lambda body: "Paris") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, rule: Rule, *, port: int = 0, keep: bool = True, exact: bool = False) -> None:
        self._rule, self._keep = rule, keep
        self.port = port
        self.calls: list[dict[str, Any]] = []
        # epoll counts in whole milliseconds, and waits for the next one
        selector = selectors.SelectSelector() if exact else selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(selector)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop every connection and stop."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._until_stopped())
        self._loop.close()

    async def _until_stopped(self) -> None:
        self._stop = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                connections.add(task)
                task.add_done_callback(connections.discard)
            try:
                while await self._exchange(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                return  # the client is gone, or the server stops
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        body = {**(json.loads(content) if content else {}), "path": first.split(" ")[1]}
        if self._keep:
            self.calls.append(body)
        made = self._rule(body)
        reply = made if isinstance(made, Reply) else Reply(made)
        if reply.seconds:
            await asyncio.sleep(reply.seconds)
        data = reply.raw if reply.raw is not None else _body(body, reply)
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} X\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n{extra}\r\n".encode()
            + data[: reply.cut]
        )
        await writer.drain()
        return reply.cut is None


def _body(asked: Mapping[str, Any], reply: Reply) -> bytes:
    if reply.status > 299:
        return json.dumps({"error": {"message": reply.text or "no", "type": "error"}}).encode()
    chat = "messages" in asked
    text: dict[str, Any] = (
        {"message": {"role": "assistant", "content": reply.text}} if chat else {"text": reply.text}
    )
    prompt = "\n".join(m["content"] for m in asked["messages"]) if chat else str(asked.get("prompt", ""))
    counts = len(prompt.split()), len(reply.text.split())
    return json.dumps(
        {
            "id": "fake",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": asked.get("model", ""),
            "choices": [{"index": 0, "finish_reason": "stop", **text, **reply.more}],
            "usage": {
                "prompt_tokens": counts[0],
                "completion_tokens": counts[1],
                "total_tokens": sum(counts),
            },
        }
    ).encode()
