"""Stage answer: keys that change with everything that matters, and nothing asked twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.records import Choice, Generation, Message, Output, Request
from evalkit.running.answer import answer
from evalkit.running.cache import Cache
from evalkit.running.keys import answer_key, train_key
from evalkit.running.progress import Silent


class Counting:
    """Answers with the id, remembers what it was asked, breaks off after some answers if told to."""

    def __init__(self, fingerprint: Mapping[str, Any] | None = None, break_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._fingerprint = fingerprint or {"weights": "a", "adapter": None}
        self._break_after = break_after

    def fingerprint(self) -> Mapping[str, Any]:
        return self._fingerprint

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        for request in reversed(requests):  # any order is allowed
            if self._break_after is not None and len(self.asked) == self._break_after:
                raise KeyboardInterrupt
            self.asked.append(request.id)
            yield Output(request.id, f"answer to {request.prompt}", output_tokens=3, seconds=0.5)


def request(id_: str, prompt: str = "", **changes: Any) -> Request:
    return replace(Request(id_, "generate", prompt or f"question {id_}"), **changes)


def test_outputs_are_in_order_and_come_from_the_cache_the_second_time(tmp_path: Path) -> None:
    asked = [request(str(i)) for i in range(5)]
    model = Counting()
    with Cache(tmp_path) as cache:
        first = answer(model, asked, cache, Silent(), "m")
        second = answer(model, asked, cache, Silent(), "m")
    assert [output.id for output in first] == ["0", "1", "2", "3", "4"]
    assert first == second
    assert len(model.asked) == 5


def test_an_interrupted_stage_goes_on_with_the_next_sample(tmp_path: Path) -> None:
    asked = [request(str(i)) for i in range(6)]
    with Cache(tmp_path) as cache:
        with pytest.raises(KeyboardInterrupt):
            answer(Counting(break_after=4), asked, cache, Silent(), "m")
        model = Counting()
        outputs = answer(model, asked, cache, Silent(), "m")
    assert sorted(model.asked) == ["0", "1"]
    assert [output.first for output in outputs] == [f"answer to question {i}" for i in range(6)]


def test_equal_prompts_are_asked_once_when_greedy_and_each_when_sampling(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        greedy = Counting()
        outputs = answer(greedy, [request("a", "same"), request("b", "same")], cache, Silent(), "m")
        assert (len(greedy.asked), [output.id for output in outputs]) == (1, ["a", "b"])
        sampled = Counting()
        warm = Generation(temperature=0.7)
        answer(sampled, [request(i, "same", generation=warm) for i in "ab"], cache, Silent(), "m")
        assert len(sampled.asked) == 2


def test_errors_are_not_kept(tmp_path: Path) -> None:
    class Failing(Counting):
        def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
            for item in requests:
                self.asked.append(item.id)
                yield Output(item.id, "", finish="error", error="too long")

    model = Failing()
    with Cache(tmp_path) as cache:
        for _ in range(2):
            outputs = answer(model, [request("1")], cache, Silent(), "m")
    assert outputs[0].error == "too long"
    assert model.asked == ["1", "1"]


def test_choices_come_back_from_the_cache(tmp_path: Path) -> None:
    class Rating(Counting):
        def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
            for item in requests:
                yield Output(item.id, "a", choices=(Choice("a", -0.5, 1), Choice("b", -2.25, 2)))

    rated = [Request("1", "choice", "q", choices=("a", "b"))]
    with Cache(tmp_path) as cache:
        assert answer(Rating(), rated, cache, Silent(), "m") == answer(
            Counting(), rated, cache, Silent(), "m"
        )


BASE = request("1", "q")
CHANGES: list[tuple[str, Request, dict[str, Any]]] = [
    ("another weight", BASE, {"weights": "b", "adapter": None}),
    ("another adapter", BASE, {"weights": "a", "adapter": "sha"}),
    ("another prompt", request("1", "q "), {}),
    ("chat instead of text", replace(BASE, prompt=[Message(role="user", content="q")]), {}),
    ("more tokens", replace(BASE, generation=Generation(max_new_tokens=257)), {}),
    ("a stop string", replace(BASE, generation=Generation(stop=("\n",))), {}),
    ("sampling", replace(BASE, generation=Generation(temperature=0.1)), {}),
    ("another kind", replace(BASE, kind="choice", choices=("a",)), {}),
]


@pytest.mark.parametrize(("what", "changed", "fingerprint"), CHANGES, ids=[c[0] for c in CHANGES])
def test_whatever_can_change_an_answer_changes_its_key(
    what: str, changed: Request, fingerprint: dict[str, Any]
) -> None:
    plain = {"weights": "a", "adapter": None}
    assert answer_key(plain, BASE) != answer_key(fingerprint or plain, changed)


def test_what_cannot_change_an_answer_does_not_change_its_key() -> None:
    plain = {"weights": "a", "adapter": None}
    assert answer_key(plain, BASE) == answer_key(plain, replace(BASE, id="2"))
    assert answer_key(plain, BASE) == answer_key(plain, replace(BASE, generation=Generation(seed=9)))
    warm = replace(BASE, generation=Generation(temperature=1.0, seed=1))
    assert answer_key(plain, warm) != answer_key(
        plain, replace(warm, generation=Generation(temperature=1.0, seed=2))
    )
    assert answer_key(plain, warm) != answer_key(plain, replace(warm, id="2"))


def test_train_key_holds_every_input() -> None:
    inputs: dict[str, Any] = {
        "base": {"weights": "a"},
        "trainer": "t",
        "settings": {"rank": 8},
        "rows": [{"text": "x"}],
        "validation": [{"text": "y"}],
        "overlong": "drop",
    }
    others = {
        "base": {"weights": "b"},
        "trainer": "u",
        "settings": {"rank": 16},
        "rows": [{"text": "z"}],
        "validation": [],
        "overlong": "truncate",
    }
    keys = {train_key(**inputs)} | {train_key(**{**inputs, name: value}) for name, value in others.items()}
    assert len(keys) == 7
