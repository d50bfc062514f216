"""End to end against a real OpenAI-compatible server: `transformers serve` with the embedded model on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

import evalkit
from evalkit.judging.ask import ask
from evalkit.judging.card import Judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.judging.prompts import menu_of
from evalkit.judging.records import read_judgements
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.openai_call import Server
from evalkit.models.openai_http import OpenAIModel
from evalkit.models.registry import resolve
from evalkit.records import Generation, Request

SECONDS = 120
MakeJudge = Callable[..., Judge]


@contextmanager
def serving() -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """(base URL, model, process) of a server of its own."""
    pytest.importorskip("fastapi", reason="the server needs transformers[serving]")
    folder = str(resolve("smollm2-135m-instruct-q4_1").path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", folder]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + SECONDS
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except (URLError, OSError):
                    assert process.poll() is None, "the server ended"
                    assert time.monotonic() < until, "the server did not start in time"
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", folder, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """(base URL, model) of a server of this module's own."""
    with serving() as (url, folder, _):
        yield url, folder


@pytest.mark.slow
def test_chat_and_completions_with_real_usage(server: tuple[str, str]) -> None:
    url, name = server
    chat = OpenAIModel(Server(name, url, concurrency=2))
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    (output,) = chat.answer([Request("1", "generate", question, Generation(max_new_tokens=8))])
    assert output.error is None
    assert "Paris" in output.first
    assert output.prompt_tokens > 10
    assert 0 < output.output_tokens <= 8
    plain = OpenAIModel(Server(name, url, api="completions", concurrency=2))
    (text,) = plain.answer([Request("1", "generate", "1, 2, 3, 4,", Generation(max_new_tokens=4))])
    assert text.error is None
    assert "5" in text.first
    # this server has no log-probabilities of prompts, and says so instead of giving a number
    (rated,) = plain.answer([Request("1", "choice", "1, 2,", choices=(" 3", " 9"))])
    assert rated.finish == "error"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pointwise", "pairwise"])
def test_a_judge(server: tuple[str, str], kind: str, make_judge: MakeJudge) -> None:
    url, model_name = server
    texts = "{{ first }}\n{{ second }}" if kind == "pairwise" else "{{ output }}"
    judge = make_judge(f"kind: {kind}\nmax_new_tokens: 8", texts)
    case = Case("r16", "t", "1", "2 + 2?", "It is 4.", opponent="base", opponent_output="It is 5.")
    model = OpenAIModel(Server(model_name, url, concurrency=2), response_format=menu_of(judge).schema())
    questions = questions_of(judge, case, "0")
    asked = {one.id: one for one in ask(model, questions)}
    row = judgement_of(judge, case, questions, asked)
    # a model of 135 million parameters may well not find the form: then it is unscored with every reply kept
    assert (row.value is None) == (row.unscored is not None)
    assert row.calls >= len(questions)
    assert len(row.replies) == row.calls
    assert row.tokens > 100


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(
    server: tuple[str, str], tmp_path: Path, make_judge: MakeJudge
) -> None:
    """The server is killed while it judges; the same command goes on with another one at the same address."""
    judge = make_judge("kind: pointwise\nmax_new_tokens: 6", "{{ output }}")
    task = tmp_path / "tasks" / "say"
    task.mkdir(parents=True)
    (task / "task.yaml").write_text(
        "task: say\ndata: {test: rows.jsonl}\nprompt: prompt.j2\ntarget: a\nmetrics: [exact_match]\n"
    )
    (task / "prompt.j2").write_text("Say it.")
    names = [f"number {place}" for place in range(8)]
    (task / "rows.jsonl").write_text("".join(json.dumps({"a": name}) + "\n" for name in names))
    answers = [{"task": "say", "id": str(place + 1), "output": name} for place, name in enumerate(names)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))

    def forward(to: str, body: dict[str, Any]) -> Reply:
        asked = {key: value for key, value in body.items() if key != "path"}
        assert not asked.get("stream")
        request = urllib.request.Request(
            f"{to}/chat/completions", json.dumps(asked).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as reply:
                data = reply.read()
        except (URLError, OSError):
            return Reply(raw=b"{", cut=0)  # the line is dead
        replied.append(next(name for name in names if f"\n{name}\n" in str(asked["messages"][0]["content"])))
        return Reply(raw=data)

    replied: list[str] = []  # whose question each reply that arrived was about
    with serving() as (url, folder, process), FakeServer(lambda body: forward(url, body)) as line:
        path = tmp_path / "study.yaml"
        path.write_text(
            "study: s\ncandidates: [{name: own, kind: replay, path: own.jsonl}]\ntasks: [say]\n"
            f"judges: [{{judge: {judge.name}, repeat: 0, model: {{model: {folder}, base_url: {line.base_url}, "
            "concurrency: 2}}]\n"
        )

        def kill() -> None:
            while len(replied) < 9:
                time.sleep(0.05)
            process.kill()
            line.close()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        run = evalkit.run(path)
        killer.join()
        port = line.port
    verdicts = run.path / "judgements" / f"{judge.name}.jsonl"
    assert (run.exit_code, run.results["status"]) == (4, "partial")
    assert "cannot be reached" in run.failed[f"judge {judge.name}"]
    before = {row.id: row for row in read_judgements(verdicts)}
    settled = {
        id_ for id_, row in before.items() if row.value is not None or "no verdict" in str(row.unscored)
    }
    assert 2 <= len(settled) < 8
    first, replied[:] = list(replied), []
    with FakeServer(lambda body: forward(server[0], body), port=port):
        run = evalkit.run(path)
    assert run.exit_code == 0
    after = {row.id: row for row in read_judgements(verdicts)}
    asked_again = {names.index(name) + 1 for name in replied}
    assert not asked_again & {int(id_) for id_ in settled}  # nothing settled is asked twice
    assert {int(id_) for id_ in settled} | asked_again == set(range(1, 9))  # nothing is lost
    for id_ in settled:
        assert after[id_].replies == before[id_].replies
    for id_, row in after.items():
        assert row.value is not None or "no verdict in 3 replies" in str(row.unscored)
        assert (
            row.calls == len(row.replies) == (first if id_ in settled else replied).count(names[int(id_) - 1])
        )
        assert row.tokens > 50  # as the server counts them
