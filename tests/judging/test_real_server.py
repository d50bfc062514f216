"""End to end against a real OpenAI-compatible server: `transformers serve` with the embedded model on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from evalkit.judging.ask import ask
from evalkit.judging.card import Judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.judging.prompts import menu_of
from evalkit.models.openai_call import Server
from evalkit.models.openai_http import OpenAIModel
from evalkit.models.registry import resolve
from evalkit.records import Generation, Request

SECONDS = 120
MakeJudge = Callable[..., Judge]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """(base URL, model) of a server of this module's own."""
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
            yield f"http://127.0.0.1:{port}/v1", folder
        finally:
            process.kill()


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
