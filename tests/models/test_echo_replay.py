from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.errors import DataError
from evalkit.models.base import Model
from evalkit.models.echo import EchoModel
from evalkit.models.replay import ReplayModel, read_answers, unknown_tasks
from evalkit.records import Generation, Request


def write(path: Path, *rows: object) -> Path:
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8"
    )
    return path


ROWS = [
    {"task": "t", "id": "a", "output": "Größe"},
    {"task": "t", "id": 2, "output": ["x", "y"]},
    {"task": "u", "id": "a", "output": ""},
]


def test_echo_answers_by_rule() -> None:
    chat = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "last"},
    ]
    assert isinstance(EchoModel(), Model)
    (output,) = EchoModel().answer([Request("1", "generate", chat)])  # type: ignore[arg-type]
    assert (output.text, output.finish) == ("last", "stop")
    (output,) = EchoModel("fixed").answer([Request("1", "generate", "q", Generation(samples=2))])
    assert output.text == ["fixed", "fixed"]
    outputs = list(
        EchoModel({"1": "yes"}).answer([Request("1", "generate", "q"), Request("2", "generate", "q")])
    )
    assert [output.finish for output in outputs] == ["stop", "error"]


def test_echo_rates_choices_and_texts() -> None:
    (rated,) = EchoModel("b").answer([Request("1", "choice", "q", choices=("a", "b"))])
    assert rated.choices is not None
    assert [choice.logprob for choice in rated.choices] == [-1.0, 0.0]
    (text,) = EchoModel().answer([Request("1", "perplexity", "three words here")])
    assert text.choices is not None
    assert (text.choices[0].logprob, text.choices[0].tokens) == (-3.0, 3)


def test_replay_hands_out_what_was_recorded(tmp_path: Path) -> None:
    model = ReplayModel(write(tmp_path / "o.jsonl", ROWS[0], "", *ROWS[1:]), "t")
    assert isinstance(model, Model)
    outputs = list(model.answer([Request(i, "generate", "q") for i in ("2", "a", "zz")]))
    assert [output.text for output in outputs] == [["x", "y"], "Größe", ""]
    assert [output.finish for output in outputs] == ["stop", "stop", "error"]
    assert outputs[2].error == "o.jsonl has no answer with this id for task 't'"


def test_line_separators_of_unicode_do_not_end_a_row(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text('{"task": "t", "id": "1", "output": "one\u2028two\x85three"}\n', "utf-8")
    assert read_answers(path) == {"t": {"1": "one\u2028two\x85three"}}


def test_the_fingerprint_is_of_the_tasks_rows(tmp_path: Path) -> None:
    before = ReplayModel(write(tmp_path / "o.jsonl", *ROWS), "t").fingerprint()
    assert ReplayModel(write(tmp_path / "moved.jsonl", *ROWS[::-1][1:]), "t").fingerprint() == before
    changed = [{**ROWS[0], "output": "other"}, *ROWS[1:]]
    assert ReplayModel(write(tmp_path / "o.jsonl", *changed), "t").fingerprint() != before


def test_a_task_that_is_not_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", {"task": "tickets", "id": 1, "output": "x"})
    (output,) = ReplayModel(path, "ticket").answer([Request("1", "generate", "q")])
    assert (
        output.error
        == "o.jsonl has no row for task 'ticket'; it has rows for tickets. Did you mean 'tickets'?"
    )
    (line,) = unknown_tasks(path, ["ticket"])
    assert line.endswith("has answers for task 'tickets', which is not in the study. Did you mean 'ticket'?")
    assert unknown_tasks(path, ["tickets"]) == []


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "o.jsonl",
        ROWS[0],
        "{oops",
        ROWS[0],
        [1],
        {"task": "t", "output": "x"},
        {"task": 1, "id": "b", "output": "x"},
        {"task": "t", "id": "c", "output": None},
        {"task": "t", "id": "d", "output": []},
    )
    with pytest.raises(DataError) as caught:
        ReplayModel(path, "t")
    found = caught.value.messages
    assert [message.split(": ")[0].rpartition(":")[2] for message in found] == [
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
    ]
    assert "is there already, in line 1" in found[1]
    assert "no 'id'" in found[3]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        ReplayModel(tmp_path / "gone.jsonl", "t")
    with pytest.raises(DataError, match="holds no rows"):
        ReplayModel(write(tmp_path / "empty.jsonl"), "t")
    (tmp_path / "latin.jsonl").write_bytes(b'{"task": "t", "id": 1, "output": "\xe9"}')
    with pytest.raises(DataError, match="not UTF-8"):
        ReplayModel(tmp_path / "latin.jsonl", "t")
