"""Outputs on their way between threads, and the client below them."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest

from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.handover import LONGEST, Handover
from evalkit.models.openai_call import post
from evalkit.models.openai_client import open_client
from evalkit.records import Output


def handed_over(count: int, error: BaseException | None) -> tuple[list[str], BaseException | None]:
    """The ids that arrive of so many outputs, the last of them just before the end, and the error that does."""
    loop = asyncio.new_event_loop()
    finished = Handover(loop, 64)

    async def give() -> None:
        for i in range(count):
            finished.put(Output(str(i), "x"))
            await asyncio.sleep(LONGEST / 3 if i % 4 == 0 else 0)
        finished.end(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(give(),))
    thread.start()
    arrived: list[str] = []
    try:
        for output in finished:
            arrived.append(output.id)
    except ValueError as raised:
        return arrived, raised
    finally:
        thread.join()
        loop.close()
    return arrived, None


def test_every_output_arrives_in_order_and_before_the_error() -> None:
    assert handed_over(50, None) == ([str(i) for i in range(50)], None)
    error = ValueError("the server is gone")
    assert handed_over(50, error) == ([str(i) for i in range(50)], error)
    assert handed_over(0, None) == ([], None)


def test_an_output_arrives_while_others_are_on_their_way() -> None:
    loop = asyncio.new_event_loop()
    finished = Handover(loop, 64)
    ended = threading.Event()

    async def give() -> None:
        finished.put(Output("0", "x"))
        await asyncio.to_thread(ended.wait, 10)
        finished.end()

    thread = threading.Thread(target=loop.run_until_complete, args=(give(),))
    thread.start()
    outputs = iter(finished)
    assert next(outputs).id == "0"
    assert not ended.is_set()
    ended.set()
    assert list(outputs) == []
    thread.join()
    loop.close()


def test_few_are_held_back() -> None:
    """Of 16 open calls one, of a single call none: what is not handed over is lost in a crash."""
    loop = asyncio.new_event_loop()
    for concurrency, sent in ((64, [8, 8, 4]), (16, [2] * 10), (1, [1] * 20)):
        finished = Handover(loop, concurrency)
        for i in range(20):
            finished.put(Output(str(i), "x"))
        finished.end()
        batches = iter(finished._sent.get, None)
        assert [len(batch) for batch in batches if isinstance(batch, list)] == sent
    loop.close()


def test_the_address_and_the_key_of_each_call() -> None:
    """An address with a path of its own; put together once, it serves both calls, and no two calls share a key."""
    with FakeServer(lambda body: "x") as server:

        async def twice() -> list[str]:
            base = server.base_url.replace("/v1", "/team/a/v1/")
            async with open_client("none", base, 5) as client:
                for path in ("/chat/completions", "/chat/completions", "/completions"):
                    await post(client, path, {"model": "m", "prompt": "?"})
                return [client._idempotency_key() for _ in range(3)]

        keys = asyncio.run(twice())
        assert len(set(keys)) == 3
        paths = [call["path"] for call in server.calls]
    assert paths == ["/team/a/v1/chat/completions"] * 2 + ["/team/a/v1/completions"]


@pytest.mark.parametrize("before", ["gc.disable()", "gc.enable()", "gc.freeze()"])
def test_the_collector_is_left_as_it_was(before: str) -> None:
    told = "gc.isenabled(), gc.get_freeze_count() > 0"
    program = (
        f"import gc; from evalkit.models.openai_client import open_client; {before}; was = {told}; "
        f"open_client('none', 'http://127.0.0.1:1/v1', 5); import openai; assert ({told}) == was, was"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert gc.isenabled()


def test_an_exact_server_takes_its_time() -> None:
    with FakeServer(lambda body: Reply("x", seconds=0.02), exact=True) as server:

        async def seconds() -> list[float]:
            taken = []
            async with open_client("none", server.base_url, 5) as client:
                for _ in range(10):
                    started = time.perf_counter()
                    await post(client, "/completions", {"model": "m", "prompt": "?"})
                    taken.append(time.perf_counter() - started)
            return taken

        assert 0.02 <= min(asyncio.run(seconds())) < 0.03
