"""Conversations: answers fed back, each turn stored, sums over turns, what cannot go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.data.dialogue import as_spoken, faults_of
from evalkit.data.tasks import load_task_for_training, training_conversations
from evalkit.errors import UserError
from evalkit.models.chat import prompt_ids
from evalkit.models.loading import load_base
from evalkit.models.local import LocalModel, ids_sha256
from evalkit.models.replay import ReplayModel
from evalkit.models.selftest import write_tiny_model
from evalkit.records import Generation, Message, Output, Request
from evalkit.running.answer import answer
from evalkit.running.cache import Cache
from evalkit.running.progress import Silent
from evalkit.running.score_file import score_file
from evalkit.signature import digest
from evalkit.specs.study import Quantization


def user(*texts: str) -> list[Message]:
    return [Message(role="user", content=text) for text in texts]


def talk(id_: str, *texts: str, **settings: Any) -> Request:
    return Request(id_, "conversation", user(*texts), Generation(**settings))


class Talker:
    """Answers with the number of messages it read and the last of them; has no answer to what is too long."""

    def __init__(self, name: str = "m", break_after: int | None = None) -> None:
        self.name, self.break_after, self.asked = name, break_after, list[Request]()

    def fingerprint(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        for request in reversed(requests):
            if len(self.asked) == self.break_after:
                raise KeyboardInterrupt
            self.asked.append(request)
            last = request.prompt[-1]["content"]
            if last == "too long":
                yield Output(request.id, "", "error", error="no room")
            else:
                finish = "length" if last == "ramble" else "stop"
                text = f"{self.name}:{len(request.prompt)}:{last}"
                yield Output(request.id, text, finish, 10, 3, 0.5, f"hash{len(request.prompt)}", cost=0.25)


def test_its_own_answers_stand_in_what_it_is_asked_next(tmp_path: Path) -> None:
    model = Talker()
    asked = [talk("a", "one", "two", "three"), talk("b", "hi"), talk("c", "ramble", "end")]
    with Cache(tmp_path) as cache:
        a, b, c = answer(model, asked, cache, Silent(), "m")
    assert a == Output(
        "a",
        ["m:1:one", "m:3:two", "m:5:three"],
        "stop",
        prompt_tokens=30,
        output_tokens=9,
        seconds=1.5,
        prompt_ids_sha256=digest(["hash1", "hash3", "hash5"]),
        cost=0.75,
    )
    assert (b.text, c.text, c.finish) == (["m:1:hi"], ["m:1:ramble", "m:3:end"], "length")
    last = next(request for request in model.asked if len(request.prompt) == 5)
    assert last.kind == "generate"
    assert [turn["content"] for turn in last.prompt] == ["one", "m:1:one", "two", "m:3:two", "three"]
    assert [turn["role"] for turn in last.prompt] == ["user", "assistant", "user", "assistant", "user"]
    ids = [request.id for request in model.asked]
    assert len(set(ids)) == len(ids)  # the id seeds a sampled answer: no two turns draw the same numbers


def test_each_turn_is_stored_and_belongs_to_the_answers_before_it(tmp_path: Path) -> None:
    asked = [talk(str(i), f"first {i}", "second") for i in range(3)]
    with Cache(tmp_path) as cache:
        with pytest.raises(KeyboardInterrupt):
            answer(Talker(break_after=4), asked, cache, Silent(), "m")
        model = Talker()
        outputs = answer(model, asked, cache, Silent(), "m")
        assert len(model.asked) == 2  # three first turns and one second turn were there
        assert [output.text[0] for output in outputs] == [f"m:1:first {i}" for i in range(3)]
        assert answer(Talker(break_after=0), asked, cache, Silent(), "m") == outputs
        other = Talker("n")
        answer(other, asked, cache, Silent(), "n")
        assert len(other.asked) == 6


def test_a_turn_without_an_answer_ends_its_conversation_alone(tmp_path: Path) -> None:
    model = Talker()
    with Cache(tmp_path) as cache:
        bad, good = answer(
            model, [talk("bad", "hi", "too long", "more"), talk("good", "hi!", "yes")], cache, Silent(), "m"
        )
    assert (bad.finish, bad.text, bad.error) == ("error", ["m:1:hi"], "no room (turn 2 of 3)")
    assert (bad.output_tokens, good.finish, len(good.text)) == (3, "stop", 2)
    assert len(model.asked) == 4


def test_recorded_conversations_come_whole(tmp_path: Path) -> None:
    rows = [("a", ["x", "y"]), ("b", "x"), ("c", "alone")]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"task": "t", "id": i, "output": o}) + "\n" for i, o in rows))
    asked = [talk("a", "one", "two"), talk("b", "one", "two"), talk("c", "one"), talk("d", "one")]
    with Cache(tmp_path / "cache") as cache:
        a, b, c, d = answer(ReplayModel(file, "t"), asked, cache, Silent(), "r")
    assert (a.text, c.text) == (["x", "y"], ["alone"])
    assert (b.finish, b.error) == ("error", "expected a list with an answer to each of its 2 turns, got 1")
    assert (d.finish, d.text) == ("error", [])


def test_a_turn_that_is_given_is_not_asked() -> None:
    script = [*user("May I ask?"), Message(role="assistant", content="Do."), *user("Why?", "And now?")]
    assert [turn["content"] for turn in as_spoken(script, ["So."])] == [
        "May I ask?",
        "Do.",
        "Why?",
        "So.",
        "And now?",
    ]
    assert faults_of(script) is None
    system = Message(role="system", content="Be kind.")
    assert faults_of([system, *script]) is None
    assert faults_of([system]) == "the user says nothing"
    assert "after the first turn" in str(faults_of([*script, system]))
    assert "ends with the assistant" in str(faults_of(script[:2]))
    assert "does not follow" in str(faults_of([system, *script[1:]]))
    assert "'tool'" in str(faults_of([Message(role="tool", content="4"), *script]))


def test_a_local_model_reads_what_its_template_makes_of_each_turn(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    base = load_base(
        str(tmp_path / "tiny"), quantization=Quantization(type="none"), dtype="fp32", device="cpu"
    )
    model = LocalModel(base)
    long = "x" * 400  # a byte is a token: with what was said before it more than the context of 512
    with Cache(tmp_path / "cache") as cache:
        two, outgrown = answer(
            model,
            [talk("1", "Hello", "Go on", max_new_tokens=6), talk("2", "y" * 150, long, max_new_tokens=6)],
            cache,
            Silent(),
            "m",
        )
    first, second = two.text
    prompts = [as_spoken(user("Hello", "Go on"), said) for said in ([], [first])]
    ids = [prompt_ids(base.tokenizer, prompt) for prompt in prompts]
    by_hand = [
        next(iter(model.answer([Request("x", "generate", prompt, Generation(max_new_tokens=6))]))).text
        for prompt in prompts
    ]
    assert by_hand == [first, second]
    assert two.prompt_tokens == sum(map(len, ids))
    assert two.prompt_ids_sha256 == digest([ids_sha256(one) for one in ids])
    assert outgrown.finish == "error"
    assert len(outgrown.text) == 1
    assert "leaves no room in the model's context of 512 (turn 2 of 2)" in str(outgrown.error)


def test_conversations_made_elsewhere_are_scored_by_their_last_answer(tmp_path: Path) -> None:
    rows = [
        {"id": "c01", "output": ["Nice.", "Miso"]},
        {"id": "c02", "output": "Lisbon"},
        {"id": "c03", "output": ["4812", "Blue."]},
        {"id": "c04", "output": ["Ines", "Tom"]},
    ]
    (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (result,) = score_file(tmp_path / "outputs.jsonl", task="mini-conversation").results
    assert (result.value, result.n, result.unscored) == (pytest.approx(2 / 3), 3, 1)


def test_a_conversation_offers_no_training_rows() -> None:
    with pytest.raises(UserError, match="is a conversation"):
        training_conversations(load_task_for_training("mini-conversation", seed=1), chat=True)
