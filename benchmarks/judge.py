"""Overhead of the client: 10,000 verdicts against a local server that takes 20 ms, at concurrency 64.

The ideal is calls × delay ÷ concurrency: what the server alone would take. Below evalkit stand what the same calls
take with nothing but a socket, which is what this server allows, with aiohttp alone, and with the official client
as its manual has it. Each has a process of its own and asks twice: what it imports is part of the first time alone.
Run: python benchmarks/judge.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evalkit.judging.ask import ask
from evalkit.judging.card import open_judge
from evalkit.judging.cases import Case, questions_of
from evalkit.judging.prompts import Question, fence_mark, question_messages
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.openai_call import Server
from evalkit.models.openai_http import OpenAIModel

DELAY = 0.020
REPLY = '{"reason": "as asked", "score": 4}'


def serve(pipe: Connection) -> None:
    """The server in a process of its own, until it is told to end."""
    reply = Reply(REPLY, seconds=DELAY)
    with FakeServer(lambda body: reply, keep=False, exact=True) as server:
        pipe.send(server.base_url)
        pipe.recv()


def questions(count: int) -> Iterator[Question]:
    judge = open_judge("helpfulness")
    cases = (Case("r", "t", str(i), "What is asked?", f"answer {i}") for i in range(count))
    return (question for case in cases for question in questions_of(judge, case, case.id))


def asked_body() -> dict[str, Any]:
    """What evalkit sends for one of the questions."""
    (question,) = questions(1)
    messages = question_messages(question, fence_mark(question))
    return {"model": "m", "messages": messages, "max_tokens": 512, "temperature": 0}


async def repeat(call: Callable[[], Awaitable[None]], count: int, concurrency: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


def by_evalkit(url: str, count: int, concurrency: int) -> None:
    model = OpenAIModel(Server("m", url, concurrency=concurrency))
    scores = [one.verdict.value for one in ask(model, questions(count)) if one.verdict is not None]
    assert scores == [4] * count, "verdicts were lost"


async def by_openai(url: str, count: int, concurrency: int) -> None:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    body = asked_body()
    async with AsyncOpenAI(api_key="none", base_url=url, http_client=DefaultAioHttpClient()) as client:

        async def call() -> None:
            reply = await client.chat.completions.create(**body)
            assert reply.choices[0].message.content == REPLY

        await repeat(call, count, concurrency)


async def by_aiohttp(url: str, count: int, concurrency: int) -> None:
    import aiohttp

    body = asked_body()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                assert (await reply.json())["choices"][0]["message"]["content"] == REPLY

        await repeat(call, count, concurrency)


class Line(asyncio.Protocol):
    """A connection that knows just enough HTTP for this server."""

    transport: Any
    reply: asyncio.Future[bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    async def ask(self, request: bytes) -> bytes:
        self.got, self.reply = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.reply

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, _, content = self.got.partition(b"\r\n\r\n")
        if len(content) == int(head.partition(b"content-length: ")[2].partition(b"\r")[0]):
            self.reply.set_result(content)


async def by_socket(url: str, count: int, concurrency: int) -> None:
    data, place = json.dumps(asked_body()).encode(), urlsplit(url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    request, loop, free = head.encode() + data, asyncio.get_running_loop(), list[Line]()

    async def call() -> None:
        line = free.pop() if free else (await loop.create_connection(Line, place.hostname, place.port))[1]
        assert json.loads(await line.ask(request))["choices"][0]["message"]["content"] == REPLY
        free.append(line)

    await repeat(call, count, concurrency)


WAYS: dict[str, Callable[[str, int, int], Any]] = {
    "evalkit": by_evalkit,
    "nothing but a socket": by_socket,
    "aiohttp": by_aiohttp,
    "openai over aiohttp": by_openai,
}


def measure(way: str, url: str, count: int, concurrency: int, pipe: Connection) -> None:
    """Send seconds, CPU seconds and the peak of memory in MB of the first time and of the second."""
    run = WAYS[way]
    if asyncio.iscoroutinefunction(run):
        run = partial(_run, run)
    for _ in range(2):
        started, busy = time.perf_counter(), time.process_time()
        run(url, count, concurrency)
        pipe.send((time.perf_counter() - started, time.process_time() - busy, peak()))


def peak() -> float:
    """Of this process alone: what ``getrusage`` tells includes the one that started it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _run(way: Callable[..., Any], *arguments: Any) -> None:
    asyncio.run(way(*arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--only", choices=WAYS, help="one row of the table")
    arguments = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    server = fresh.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    ideal = arguments.verdicts * DELAY / arguments.concurrency
    print(
        f"{arguments.verdicts} calls, {arguments.concurrency} open at once, {DELAY} s each: ideal {ideal:.2f} s\n"
    )
    print(
        "| asked by | first time, s | ÷ ideal | again, s | ÷ ideal | CPU ms a call | peak MB, first and again |"
    )
    print("|---|---|---|---|---|---|---|")
    for way in [arguments.only] if arguments.only else WAYS:
        told, tell = fresh.Pipe()
        child = fresh.Process(
            target=measure, args=(way, url, arguments.verdicts, arguments.concurrency, tell)
        )
        child.start()
        tell.close()
        (first, _, least), (again, cpu, most) = told.recv(), told.recv()
        child.join()
        print(
            f"| {way} | {first:.2f} | {first / ideal:.2f} | {again:.2f} | {again / ideal:.2f} | "
            f"{1000 * cpu / arguments.verdicts:.2f} | {least:.0f}, {most:.0f} |",
            flush=True,
        )
    ours.send(None)


if __name__ == "__main__":
    main()
