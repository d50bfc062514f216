"""Overhead of the client: 10,000 verdicts against a local server that takes 20 ms, at concurrency 64.

The ideal is calls × delay ÷ concurrency: what the server alone would take. Run: python benchmarks/judge.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

from evalkit.judging.ask import ask
from evalkit.judging.card import open_judge
from evalkit.judging.cases import Case, questions_of
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.openai_call import Server
from evalkit.models.openai_http import OpenAIModel

DELAY = 0.020


def serve(pipe: Connection) -> None:
    """The server in a process of its own, until it is told to end."""
    reply = Reply('{"reason": "as asked", "score": 4}', seconds=DELAY)
    with FakeServer(lambda body: reply, keep=False) as server:
        pipe.send(server.base_url)
        pipe.recv()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    model = OpenAIModel(Server("m", ours.recv(), concurrency=arguments.concurrency))
    judge = open_judge("helpfulness")
    cases = (Case("r", "t", str(i), "What is asked?", f"answer {i}") for i in range(arguments.verdicts))
    questions = (question for case in cases for question in questions_of(judge, case, case.id))
    started, busy = time.perf_counter(), time.process_time()
    scores = [one.verdict.value for one in ask(model, questions) if one.verdict is not None]
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    ours.send(None)
    assert scores == [4] * arguments.verdicts, "verdicts were lost"
    ideal = arguments.verdicts * DELAY / arguments.concurrency
    print("| verdicts | concurrency | ideal s | measured s | ratio | client CPU ms a call | peak memory MB |")
    print("|---|---|---|---|---|---|---|")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {arguments.verdicts} | {arguments.concurrency} | {ideal:.2f} | {seconds:.2f} | {seconds / ideal:.2f} | "
        f"{1000 * cpu / arguments.verdicts:.2f} | {memory:.0f} |"
    )


if __name__ == "__main__":
    main()
