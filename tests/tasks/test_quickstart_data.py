"""The quickstart's tickets: the committed files are what the script writes, and the test rows are new."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.data.tasks import load_task, load_task_for_training, training_conversations
from evalkit.judging.cases import Case
from evalkit.judging.records import Judgement, read_judgements
from evalkit.running.judge import replayed
from evalkit.running.judges import check_judges

QUICKSTART = Path(__file__).resolve().parents[2] / "studies" / "quickstart"
LABELS = "refund delivery login billing cancel damaged address invoice crash voucher"


def _read(name: str) -> list[dict[str, Any]]:
    path = QUICKSTART / "tasks" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _grams(text: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def test_the_script_writes_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, QUICKSTART / "make_data.py", tmp_path], check=True)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jsonl"))
    assert written == [
        "tickets-choice/test.jsonl",
        "tickets/fewshot.jsonl",
        "tickets/test.jsonl",
        "tickets/train.jsonl",
    ]
    for path in written:
        assert (tmp_path / path).read_bytes() == (QUICKSTART / "tasks" / path).read_bytes(), path


def test_labels_are_balanced() -> None:
    wanted = set(LABELS.split())
    assert Counter(row["intent"] for row in _read("tickets/train.jsonl")) == dict.fromkeys(wanted, 30)
    assert Counter(row["intent"] for row in _read("tickets/test.jsonl")) == dict.fromkeys(wanted, 8)


def test_train_and_test_share_no_template_and_no_text() -> None:
    train, test = _read("tickets/train.jsonl"), _read("tickets/test.jsonl")
    assert not {row["template"] for row in train} & {row["template"] for row in test}
    assert len({row["template"] for row in test}) == 80  # each test row has a sentence of its own
    assert len({row["text"] for row in [*train, *test]}) == 380


def test_test_rows_hardly_share_word_sequences_with_training() -> None:
    train, test = _read("tickets/train.jsonl"), _read("tickets/test.jsonl")
    for size, most in ((3, 0.03), (4, 0.01), (5, 0.0)):
        seen = set().union(*(_grams(row["text"], size) for row in train))
        grams = [gram for row in test for gram in _grams(row["text"], size)]
        assert sum(gram in seen for gram in grams) / len(grams) <= most


def test_the_choice_task_asks_the_same_rows() -> None:
    roots = [QUICKSTART]
    tickets, choice = (load_task(name, roots, seed=17) for name in ("tickets", "tickets-choice"))
    assert [sample.input for sample in choice.samples] == [sample.input for sample in tickets.samples]
    assert [sample.target for sample in choice.samples] == [sample.target for sample in tickets.samples]
    assert all(sample.choices == tuple(LABELS.split()) for sample in choice.samples)


def test_the_prompt_does_not_name_the_labels() -> None:
    task = load_task_for_training("tickets", [QUICKSTART], seed=17)
    chat = training_conversations(task, chat=True)[0].messages
    assert chat is not None
    assert [message["role"] for message in chat] == ["system", "user", "assistant"]
    assert 60 <= len(chat[0]["content"].split()) <= 90
    assert not set(re.findall(r"\w+", chat[0]["content"].lower())) & set(LABELS.split())


@pytest.mark.parametrize("split", ["train", "test"])
def test_messages_are_short_and_vary_in_tone(split: str) -> None:
    texts = [row["text"] for row in _read(f"tickets/{split}.jsonl")]
    lengths = sorted(len(text.split()) for text in texts)
    assert lengths[len(texts) // 2] <= 16
    assert lengths[-1] <= 32
    assert 0.05 <= sum(text == text.lower() for text in texts) / len(texts) <= 0.35
    assert sum(bool(re.search(r"[.!?:] \S", text)) for text in texts) / len(texts) >= 0.3


def test_recorded_verdicts_are_of_the_judge_as_it_is_and_cover_every_topic() -> None:
    """A model trained on tickets answers mini-safety with a topic; any other answer is unscored, never counted."""
    plan = evalkit.plan(QUICKSTART / "study.yaml")
    (judged,) = check_judges(plan)
    (model,) = judged.models
    assert model.replay is not None
    assert model.under_test
    (task,) = [task for task in plan.tasks if task.name == "mini-safety"]
    assert len(task.samples) == 32

    def replay(answer: str) -> list[Judgement]:
        cases = [Case("r8", task.name, sample.id, "", answer) for sample in task.samples]
        return replayed(model.replay or Path(), cases, judged)

    for topic in LABELS.split():
        rows = replay(topic)
        assert all(1 <= (row.value or 0) <= 5 for row in rows), [row.unscored for row in rows]
    reasons = {row.unscored for row in replay("Voucher")}
    assert reasons == {"verdicts.jsonl has verdicts on other answers to this sample, none on this one"}
    recorded = read_judgements(model.replay)
    assert {row.model for row in recorded} == {plan.study.model}
    # of the untrained ones what they answer on machines with bf16, and on others
    assert {"base", "base[fp32]", "prompt", "prompt-fp32"} <= {row.candidate for row in recorded}
    assert len({(row.id, row.output_sha256) for row in recorded}) == len(recorded)
    assert any(row.repeats for row in recorded)
