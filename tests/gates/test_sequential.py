from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit.errors import DataError
from evalkit.gates.looks import Look, judge_looks
from evalkit.gates.sequential import BATCH, gate_sequentially
from evalkit.running.progress import Silent

MakeRun = Callable[..., evalkit.Run]

POLICY = """\
gate: ci
candidate: new
rules:
  - {task: quiz, metric: exact_match, no_worse_than: old, margin: 0.03}
"""


def marks(share: float, n: int = 400) -> list[int]:
    """Right where a multiple of the golden ratio's fraction falls below the share: evenly mixed, no seed."""
    return [int((i * 0.618034) % 1 < share) for i in range(n)]


@pytest.fixture
def worse(make_run: MakeRun) -> evalkit.Run:
    return make_run({"old": marks(0.9), "new": marks(0.5), "same": marks(0.9)}, name="worse")


@pytest.fixture
def policy_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "policy.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_a_study_answers_no_more_than_its_verdict_needs(
    worse: evalkit.Run, tmp_path: Path, policy_file: Callable[[str], Path]
) -> None:
    study, out = tmp_path / "worse/study.yaml", tmp_path / "fresh"
    found = gate_sequentially(study, policy_file(POLICY), out=out)
    assert (found.verdict, found.exit_code) == ("fail", 1)
    rule = found.rules[0]
    assert rule.n < 150
    assert rule.lost > 10
    assert len(rule.flips) == 10
    assert found.sequential is not None
    assert found.sequential["samples"] == [{"candidate": "new", "task": "quiz", "asked": rule.n, "of": 400}]
    folder = next(out.glob("quiz/*/gate.json"))
    assert json.loads(folder.read_text("utf-8"))["sequential"]["looks"] == -(-rule.n // BATCH)
    # The same on the finished run: same order, same samples, same verdict.
    again = gate_sequentially(worse.path, policy_file(POLICY))
    assert (again.verdict, again.rules[0].n, again.rules[0].low) == ("fail", rule.n, rule.low)
    assert again.rules[0].flips == rule.flips


class Stops(Silent):
    """Interrupts after a number of looks, as a person would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def say(self, text: str) -> None:
        self.left -= text.startswith("look")
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_gate_goes_on_with_the_same_samples(
    worse: evalkit.Run, tmp_path: Path, policy_file: Callable[[str], Path]
) -> None:
    study, out = tmp_path / "worse/study.yaml", tmp_path / "fresh"
    with pytest.raises(KeyboardInterrupt):
        gate_sequentially(study, policy_file(POLICY), out=out, progress=Stops(2))
    assert not list(out.glob("quiz/*/gate.json"))
    found = gate_sequentially(study, policy_file(POLICY), out=out)
    whole = gate_sequentially(study, policy_file(POLICY), out=tmp_path / "other")
    assert (found.rules, found.sequential) == (whole.rules, whole.sequential)
    assert len(list(out.glob("quiz/*/run.json"))) == 1  # the same run folder


def test_an_equal_candidate_uses_all_samples_and_stays_open_or_passes(
    worse: evalkit.Run, policy_file: Callable[[str], Path]
) -> None:
    found = gate_sequentially(worse.path, policy_file(POLICY.replace("candidate: new", "candidate: same")))
    rule = found.rules[0]
    assert (rule.verdict, rule.gained, rule.lost) == (
        "pass",
        0,
        0,
    )  # no flip in so many: 3 points worse is out
    assert 100 < rule.n < 250
    tight = POLICY.replace("candidate: new", "candidate: same").replace("0.03", "0.005")
    found = gate_sequentially(worse.path, policy_file(tight))
    assert (found.verdict, found.exit_code, found.rules[0].n) == ("inconclusive", 3, 400)
    assert found.rules[0].n_needed is not None


def test_bounds_on_values_and_both_directions(worse: evalkit.Run, policy_file: Callable[[str], Path]) -> None:
    rules = "gate: ci\nrules:\n"
    rules += "  - {task: quiz, metric: exact_match, candidate: old, at_least: 0.7}\n"
    rules += "  - {task: quiz, metric: exact_match, candidate: new, at_most: 0.8}\n"
    rules += "  - {task: quiz, metric: exact_match, candidate: old, better_than: new, by: 0.1}\n"
    found = gate_sequentially(worse.path, policy_file(rules))
    assert [rule.verdict for rule in found.rules] == ["pass", "pass", "pass"]
    assert found.exit_code == 0
    assert all(rule.low is not None and rule.high is not None for rule in found.rules)
    # Each rule stops asking once it has passed.
    assert len({rule.n for rule in found.rules}) > 1


def test_what_has_no_bounded_mean_is_refused(make_run: MakeRun, policy_file: Callable[[str], Path]) -> None:
    run = make_run({"old": marks(0.9, 40), "new": marks(0.5, 40)}, name="f1", f1=True)
    rules = policy_file("gate: ci\nrules: [{task: quiz, metric: f1, candidate: new, at_most: 0.3}]\n")
    with pytest.raises(DataError, match="f1 cannot stop early: its value is no mean"):
        gate_sequentially(run.path, rules)


def test_clusters_are_looked_at_whole(make_run: MakeRun, policy_file: Callable[[str], Path]) -> None:
    run = make_run(
        {"old": marks(0.95, 300), "new": marks(0.2, 300)}, name="clustered", more="cluster: topic\n"
    )
    found = gate_sequentially(run.path, policy_file(POLICY))
    assert found.verdict == "fail"
    assert found.rules[0].n % 5 == 0


def look(passing: int, failing: int) -> Look:
    """A rule that has seen so many wins and losses."""
    made = Look("better_than", 0.0, -1.0, 1.0)
    made.sums, made.sizes = [1.0] * passing + [-1.0] * failing, [1] * (passing + failing)
    return made


def test_holm_over_e_values_holds_a_lone_failure_back() -> None:
    weak = look(0, 10)  # refuted at its own level, not at a tenth of it
    assert 40 <= weak.evidence()[1] < 400
    whole, words, together = judge_looks([weak], 0.95)
    assert (whole, words, together) == ("fail", ["fail"], [True])
    whole, words, together = judge_looks([weak, *(look(0, 0) for _ in range(9))], 0.95)
    assert (whole, words[0], together[0]) == ("inconclusive", "fail", False)
    assert judge_looks([look(30, 0), look(40, 0)], 0.95)[0] == "pass"
    broken = look(0, 0)
    broken.error = "no memory"
    assert judge_looks([look(30, 0), broken], 0.95)[0] == "fail"
