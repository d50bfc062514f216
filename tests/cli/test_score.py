from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rows = [{"id": str(i), "output": "Paris", "target": "paris" if i < 8 else "Rome"} for i in range(10)]
    rows.append({"id": "10", "output": "Oslo"})
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def score(evalkit_command: Any) -> Callable[..., Any]:
    return functools.partial(evalkit_command, "score")


def test_json(answers: Path, tmp_path: Path, score: Callable[..., Any]) -> None:
    out = tmp_path / "scores.jsonl"
    done = score(answers, "--metrics", "exact_match,f1", "--json", "--samples", out)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["scores"]
    assert first == {
        "metric": "exact_match",
        "value": 0.8,
        "low": pytest.approx(0.4902, abs=5e-5),
        "high": pytest.approx(0.9433, abs=5e-5),
        "confidence": 0.95,
        "n": 10,
        "unscored": 1,
        "higher_is_better": True,
        "signature": "exact_match|normalize:squad|definition:1|bs:10000|rs:0",
    }
    assert second["metric"] == "f1"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == [str(i) for i in range(11)]
    assert lines[10]["scores"]["exact_match"] == {"unscored": "the row has no target"}


def test_text_goes_to_stderr(answers: Path, score: Callable[..., Any]) -> None:
    done = score(answers, "--metrics", "exact_match", "--confidence", "0.9")
    assert (done.returncode, done.stdout) == (0, "")
    assert (
        "exact_match  0.8000 [0.5408, 0.9314]  n=10, 1 unscored" in done.stderr
    )  # Wilson of 8 in 10 at 90 %


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("exact_mach", "No metric named 'exact_mach'"),
        ("", "Say either --metrics NAME[,NAME…] or --task NAME"),
        ("exact_match,exact_match", "is asked for twice"),
    ],
)
def test_a_wrong_metric_is_exit_2_in_one_line(
    answers: Path, metrics: str, message: str, score: Callable[..., Any]
) -> None:
    done = score(answers, "--metrics", metrics)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_bad_file_is_exit_2_with_its_line(tmp_path: Path, score: Callable[..., Any]) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"output": "a"}\n{"output": "b"\n')
    done = score(file, "--metrics", "json_valid", "--json")
    assert done.returncode == 2
    assert f"{file}:2: not JSON" in done.stderr
    assert "Traceback" not in done.stderr
    file.write_text("")
    assert score(file, "--metrics", "json_valid").returncode == 2


def test_code_runs_without_a_sandbox_by_the_users_own_word(
    evalkit_command: Callable[..., Any], tmp_path: Path
) -> None:
    """``--sandbox none`` reaches the metric by name and through a task; where nothing runs code it is a mistake."""
    target = {
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"id": "c01", "output": "    return 1", "target": target}) + "\n")
    for asked in (["--metrics", "pass@1"], ["--task", "mini-code"]):
        done = evalkit_command("score", str(file), *asked, "--sandbox", "none", "--json")
        assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)["scores"][0]
        assert "sandbox:none" in row["signature"]
        assert row["n"] == 1
    refused = evalkit_command("score", str(file), "--metrics", "bleu", "--sandbox", "none")
    assert (refused.returncode, "runs code" in refused.stderr) == (2, True)
    wrong = evalkit_command("score", str(file), "--metrics", "pass@1", "--sandbox", "docker")
    assert (wrong.returncode, "one of bubblewrap, optional, none" in wrong.stderr) == (2, True)
