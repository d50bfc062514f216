"""The client for OpenAI-compatible servers, against servers that misbehave in every way real ones do."""

from __future__ import annotations

import gzip
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from evalkit.errors import CandidateError, ModelError
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.openai_call import Server
from evalkit.models.openai_http import OpenAIModel
from evalkit.models.prices import Budget, Price
from evalkit.records import Generation, Request


def ask(server: FakeServer, requests: list[Request], **settings: Any) -> dict[str, Any]:
    where = {key: settings.pop(key) for key in ("api", "concurrency", "deadline") if key in settings}
    model = OpenAIModel(Server("m", server.base_url, **where), **settings)
    outputs = list(model.answer(requests))
    assert len({output.id for output in outputs}) == len(outputs), "an output was doubled"
    return {output.id: output for output in outputs}


def questions(count: int, **settings: Any) -> list[Request]:
    return [
        Request(
            str(i),
            "generate",
            [{"role": "user", "content": f"say {i}"}],
            Generation(max_new_tokens=8, **settings),
        )
        for i in range(count)
    ]


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"]).removeprefix("say ")


def test_what_is_sent_and_read() -> None:
    with FakeServer(lambda body: "one two STOP three") as server:
        request = Request(
            "a",
            "generate",
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Count!"}],
            Generation(max_new_tokens=5, stop=("STOP",), temperature=0.5, top_p=0.9, seed=3),
        )
        output = ask(server, [request], price=Price(1_000_000, 2_000_000))["a"]
        (call,) = server.calls
    assert output.text == "one two "
    assert output.finish == "stop"
    assert output.seconds > 0
    # a token of the fake server is a word: 3 of the prompt, 4 of the reply; 3 × 1 + 4 × 2
    assert (output.prompt_tokens, output.output_tokens, output.cost) == (3, 4, 11.0)
    assert call["path"] == "/v1/chat/completions"
    assert call["model"] == "m"
    assert (call["max_tokens"], call["stop"], call["temperature"], call["top_p"]) == (5, ["STOP"], 0.5, 0.9)
    assert isinstance(call["seed"], int)
    assert "n" not in call


def test_a_greedy_request_sends_no_seed_and_no_sampling() -> None:
    with FakeServer(lambda body: "x") as server:
        ask(server, questions(1))
        assert server.calls[0]["temperature"] == 0
        assert not {"seed", "top_p", "stop"} & set(server.calls[0])


def test_completions() -> None:
    with FakeServer(lambda body: " Paris") as server:
        request = Request("a", "generate", "The capital of France is", Generation(max_new_tokens=2))
        assert ask(server, [request], api="completions")["a"].text == " Paris"
        assert (server.calls[0]["path"], server.calls[0]["prompt"]) == ("/v1/completions", request.prompt)
        chat = Request("b", "generate", [{"role": "user", "content": "?"}])
        assert "chat: false" in str(ask(server, [chat], api="completions")["b"].error)


def test_samples_come_with_seeds_of_their_own_where_the_server_gives_one_a_call() -> None:
    with FakeServer(lambda body: str(body["seed"])) as server:
        output = ask(server, questions(1, temperature=1.0, samples=3))["0"]
        assert len(set(output.text)) == 3
        assert [call.get("n") for call in server.calls] == [3, 2, None]
        again = ask(server, questions(1, temperature=1.0, samples=3))["0"]
    assert again.text == output.text


def faults() -> tuple[Callable[[dict[str, Any]], Reply | str], Counter[str]]:
    """A server that fails the first tries of two fifths of the requests, each in another way."""
    seen: Counter[str] = Counter()
    wrong = [
        Reply(status=429, headers={"Retry-After": "0.05"}),
        Reply(status=500),
        Reply(status=503, headers={"retry-after-ms": "10"}),
        Reply("later", seconds=0.45),  # past the deadline
        Reply("broken", cut=20),  # the connection closes within the body
        Reply(raw=b'{"choices": [{"message": {"content": "ha'),
        Reply(raw=b'{"object": "chat.completion"}'),
        Reply(raw=b'{"choices": [{"message": {"content": 7}}]}'),
        Reply(raw=b"[]"),
    ]

    def rule(body: dict[str, Any]) -> Reply | str:
        number = said(body)
        seen[number] += 1
        i = int(number)
        tries = (0, 0, 1, 0, 2)[i % 5]
        if seen[number] <= tries:
            return wrong[(i // 5 + seen[number] - 1) % len(wrong)]
        return Reply(f"answer {number}", seconds=0.02 if i % 50 == 0 else 0.0)

    return rule, seen


def test_a_thousand_requests_to_a_failing_server_lose_and_double_nothing() -> None:
    rule, seen = faults()
    with FakeServer(rule, keep=False) as server:
        outputs = ask(server, questions(1000), deadline=0.3, concurrency=64)
    assert {i: output.text for i, output in outputs.items()} == {str(i): f"answer {i}" for i in range(1000)}
    assert sum(seen.values()) == 1600  # 200 failed once, 200 twice


def test_a_request_the_server_refuses_is_its_own_error() -> None:
    def rule(body: dict[str, Any]) -> Reply | str:
        return Reply("context too long", status=400) if said(body) == "1" else "fine"

    with FakeServer(rule) as server:
        outputs = ask(server, questions(3))
    assert outputs["1"].finish == "error"
    assert "refused with status 400" in str(outputs["1"].error)
    assert "context too long" in str(outputs["1"].error)
    assert outputs["0"].text == outputs["2"].text == "fine"
    assert Counter(said(call) for call in server.calls)["1"] == 1


def test_retry_after_holds_every_call_back() -> None:
    times: list[tuple[float, int]] = []

    def rule(body: dict[str, Any]) -> Reply | str:
        first = not times
        times.append((time.monotonic(), 429 if first else 200))
        return Reply(status=429, headers={"Retry-After": "0.4"}) if first else "ok"

    with FakeServer(rule) as server:
        ask(server, questions(20), concurrency=1)
    assert times[1][0] - times[0][0] >= 0.4


def test_a_wrong_key_ends_it_at_once() -> None:
    with (
        FakeServer(lambda body: Reply("bad key", status=401)) as server,
        pytest.raises(CandidateError, match=r"refuses the key .*bad key"),
    ):
        ask(server, questions(500))
    assert len(server.calls) <= 64


def test_no_server() -> None:
    with FakeServer(lambda body: "x") as server:
        gone = server.base_url
    model = OpenAIModel(Server("m", gone))
    with pytest.raises(CandidateError, match="cannot be reached"):
        list(model.answer(questions(3)))


def test_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="OPENAI_API_KEY is not set"):
        OpenAIModel(Server("gpt-4o")).answer(questions(1))
    with pytest.raises(ModelError, match="export MY_KEY="):
        OpenAIModel(Server("m", "http://localhost:1/v1", api_key_env="MY_KEY")).answer(questions(1))
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    headers: list[str] = []
    # the maker's key goes to nobody else
    with FakeServer(lambda body: headers.append(str(body)) or "x") as server:
        ask(server, questions(1))
    assert "secret" not in headers[0]


@pytest.mark.parametrize("key", ["clé", "a\x00b"])
def test_a_key_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"MY_KEY": key})
    with pytest.raises(ModelError, match="MY_KEY has characters that no key has"):
        OpenAIModel(Server("m", "http://localhost:1/v1", api_key_env="MY_KEY")).answer(questions(1))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8000/v1",
        "http://",
        "ftp://host/v1",
        "http://host:99999/v1",
        "http://host/v1\n",
        "http://é" + 70 * "x",
    ],
)
def test_an_address_that_is_none_is_told_at_once(address: str) -> None:
    with pytest.raises(ModelError, match="is no address"):
        OpenAIModel(Server("m", address)).answer(questions(1))
    with pytest.raises(ModelError, match="api_key_env"):
        OpenAIModel(Server("m", "http://user:word@host/v1")).answer(questions(1))


def test_half_a_character_is_no_text() -> None:
    with FakeServer(lambda body: "half \ud800") as server:
        assert ask(server, questions(1))["0"].first == "half ?"


def test_the_budget_is_never_exceeded() -> None:
    with FakeServer(lambda body: "four words in all") as server:
        # a call costs 4 output words × 1 = 4, and may cost 8: with 30 there is room for at most 7
        budget = Budget(30.0)
        outputs = ask(server, questions(100), price=Price(0, 1_000_000), budget=budget, name="gpt")
    done = [output for output in outputs.values() if output.finish != "error"]
    assert budget.spent == 4.0 * len(done) <= 30
    assert 5 <= len(done) <= 7
    assert budget.by_name == {"gpt": budget.spent}
    assert len(server.calls) == len(done)
    assert len(outputs) == 100
    assert {output.error for output in outputs.values() if output.finish == "error"} == {
        "the budget of 30 is spent"
    }


def test_concurrency_follows_the_server() -> None:
    now, most, busy = 0, 0, 0
    lock = threading.Lock()

    def rule(body: dict[str, Any]) -> Reply | str:
        nonlocal busy
        if len(server.calls) % 20 == 0 and len(server.calls) < 100:
            busy += 1
            return Reply(status=429, headers={"Retry-After": "0.01"})
        return Reply("ok", seconds=0.005)

    with FakeServer(rule) as server:
        model = OpenAIModel(Server("m", server.base_url, concurrency=64))
        outputs = list(model.answer(questions(300)))
        limit = model._pace.limit
    assert busy >= 4
    assert all(output.text == "ok" for output in outputs)
    assert 1 <= limit < 64  # halved four times from at most 64, and growing by one a round since
    del now, most, lock


def test_a_server_that_knows_other_names_is_asked_by_them() -> None:
    def rule(body: dict[str, Any]) -> Reply | str:
        if "response_format" in body:
            return Reply("response_format is not supported", status=400)
        if "max_tokens" in body:
            return Reply("use max_completion_tokens instead", status=400)
        return "ok"

    with FakeServer(rule) as server:
        outputs = ask(server, questions(5), response_format={"type": "json_object"}, concurrency=1)
    assert all(output.text == "ok" for output in outputs.values())
    assert len(server.calls) == 7  # two refusals, then five good calls


def test_log_likelihoods() -> None:
    """The values of one prompt with two choices, worked by hand: " Paris" is two tokens, " Rome" one."""
    tokens = {
        "France: Paris": ([None, -1.0, -0.25, -0.5], [0, 2, 7, 10]),
        "France: Rome": ([None, -1.0, -2.0], [0, 2, 7]),
    }

    def rule(body: dict[str, Any]) -> Reply | str:
        values, offsets = tokens[body["prompt"]]
        # the generated token that servers add comes after the prompt's end
        told = {"token_logprobs": [*values, -9.0], "text_offset": [*offsets, len(body["prompt"])]}
        return Reply(body["prompt"], more={"logprobs": told})

    with FakeServer(rule) as server:
        choice = Request("a", "choice", "France:", choices=(" Paris", " Rome"))
        whole = Request("b", "perplexity", "France: Rome")
        outputs = ask(server, [choice, whole])
        assert server.calls[0]["echo"] is True
        assert server.calls[0]["path"] == "/v1/completions"
    rated = outputs["a"].choices
    assert [(c.text, c.logprob, c.tokens) for c in rated] == [(" Paris", -0.75, 2), (" Rome", -2.0, 1)]
    assert outputs["a"].text == " Paris"
    (text,) = outputs["b"].choices
    assert (text.logprob, text.tokens) == (-3.0, 2)
    assert math.isfinite(text.logprob)


def test_a_server_without_log_probabilities_says_so() -> None:
    with FakeServer(lambda body: "x") as server:
        output = ask(server, [Request("a", "choice", "p", choices=(" a", " b"))])["a"]
    assert "no log-probabilities of the prompt" in str(output.error)


def test_stopping_early_ends_the_calls() -> None:
    with FakeServer(lambda body: Reply("x", seconds=0.01)) as server:
        answers = OpenAIModel(Server("m", server.base_url, concurrency=2)).answer(questions(500))
        next(answers)
        answers.close()
        time.sleep(0.5)  # calls that were on their way reach the server's list a moment later
        made = len(server.calls)
        time.sleep(0.1)
        assert len(server.calls) == made < 20


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_a_proxy_is_used_where_the_machine_names_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What is asked of an address that nobody serves arrives at the proxy; without one it does not."""
    with FakeServer(lambda body: "by the proxy") as proxy:
        server = Server("m", "http://nowhere.invalid/v1", deadline=5)
        monkeypatch.setenv(name, proxy.base_url.removesuffix("/v1"))
        (output,) = OpenAIModel(server).answer([Request("1", "generate", "2 + 2?")])
        assert output.first == "by the proxy"
        (call,) = proxy.calls
        assert call["path"] == "http://nowhere.invalid/v1/chat/completions"


def test_what_a_refusal_says_arrives() -> None:
    """Compressed, as gateways send it; redirects are followed."""
    told = gzip.compress('{"error": {"message": "zu groß"}}'.encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}

    def replies(body: dict[str, Any]) -> Reply:
        if body["path"].startswith("/v1"):
            return Reply(status=307, headers={"location": "/v2/chat/completions"})
        return Reply(status=413, raw=told, headers=headers)

    with FakeServer(replies) as server:
        (output,) = OpenAIModel(Server("m", server.base_url)).answer([Request("1", "generate", "2 + 2?")])
    assert output.finish == "error"
    assert "413" in str(output.error)
    assert "zu groß" in str(output.error)
