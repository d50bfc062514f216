"""What a run of several candidates with a gate says: in results.json, in the table, in the report."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import evalkit
from evalkit.errors import DataError
from evalkit.gates.evaluate import evaluate
from evalkit.records import Output, Sample
from evalkit.reporting.caveats import caveats
from evalkit.reporting.runs import rewrite_report
from evalkit.reporting.tables import board
from evalkit.running.folder import RunFolder
from evalkit.running.recipes import recipes
from evalkit.running.score import Scored, score_task
from evalkit.running.scores import run_scores
from evalkit.specs.gate import GatePolicy, GateRule

MakeRun = Callable[..., evalkit.Run]

GATE = (
    "gate: ci\nrules: [{task: quiz, metric: exact_match, candidate: a, no_worse_than: old, margin: 0.02}]\n"
)


@pytest.fixture
def several(make_run: MakeRun) -> evalkit.Run:
    rng = np.random.default_rng(1)
    names = {"old": 0.6, "a": 0.62, "b": 0.62, "c": 0.62, "d": 0.62}
    right = {name: [int(rng.random() < share) for _ in range(120)] for name, share in names.items()}
    return make_run(right, name="several", gate=GATE)


def test_the_leader_is_corrected_for_having_been_picked(several: evalkit.Run) -> None:
    results = several.results
    (leader,) = results["leaders"]
    rows = {row["candidate"]: row for row in results["comparisons"] if row["metric"] == "exact_match"}
    assert leader["of"] == len(rows) == 4
    assert leader["candidate"] == max(rows, key=lambda name: rows[name]["difference"])
    assert leader["difference"] == pytest.approx(rows[leader["candidate"]]["difference"])
    assert leader["corrected"] <= leader["difference"]
    assert leader["low"] <= leader["corrected"] <= leader["high"]
    for row in rows.values():  # wider than one alone, narrower than Bonferroni's
        assert row["low_adjusted"] < row["low_max_t"] < row["low"]
        assert row["high"] < row["high_max_t"] < row["high_adjusted"]
    told = evalkit.results_table(results)
    assert f"Of 4 candidates {leader['candidate']} leads on quiz exact_match" in told
    assert evalkit.compare(several.path)["leaders"] == results["leaders"]


def test_nobody_leads_who_is_behind_the_control(make_run: MakeRun) -> None:
    rng = np.random.default_rng(5)
    behind = {name: [int(rng.random() < 0.3) for _ in range(120)] for name in "abc"}
    results = make_run({"old": [1] * 100 + [0] * 20, **behind}, name="behind").results
    assert results["leaders"][0]["difference"] < 0
    assert " leads on " not in evalkit.results_table(results)


def test_runs_compared_with_each_other_have_a_leader_too(several: evalkit.Run, make_run: MakeRun) -> None:
    rng = np.random.default_rng(2)
    other = make_run({"old": [1, 0] * 60, "e": [int(rng.random() < 0.9) for _ in range(120)]}, name="other")
    merged = evalkit.compare(several.path, other.path)
    (leader,) = merged["leaders"]
    assert (leader["candidate"], leader["of"], leader["n"]) == (
        "e",
        6,
        120,
    )  # the second run's own control is one of the six
    assert all(
        row["low_max_t"] is not None for row in merged["comparisons"] if row["metric"] == "exact_match"
    )


def test_any_two_candidates_are_compared_on_every_metric(make_run: MakeRun) -> None:
    """Against a control of one's choice, F1 included; a gate's rule on the same two has the same interval."""
    rng = np.random.default_rng(7)
    shares = {"old": 0.6, "good": 0.8, "bad": 0.4}
    run = make_run(
        {name: [int(rng.random() < share) for _ in range(120)] for name, share in shares.items()}, f1=True
    )
    plain = evalkit.compare(run.path)
    assert {row["control"] for row in plain["comparisons"]} == {"old"}
    merged = evalkit.compare(run.path, control="bad")
    rows = {(row["candidate"], row["metric"]): row for row in merged["comparisons"]}
    assert {row["control"] for row in merged["comparisons"]} == {"bad"}
    values = {(row["candidate"], row["metric"]): row["value"] for row in run.results["scores"]}
    for metric in ("exact_match", "f1"):
        row = rows["good", metric]
        assert row["difference"] == pytest.approx(values["good", metric] - values["bad", metric])
        assert row["p_value"] < 0.001
        assert (row["p_adjusted"] is None) == (metric == "f1")  # one family: primary metrics, as in a run
    rule = GateRule(task="quiz", metric="f1", candidate="good", better_than="bad", by=0.0)
    (told,) = evaluate(GatePolicy(gate="ci", rules=[rule]), run_scores(RunFolder(run.path))).rules
    assert (told.low, told.high) == pytest.approx((rows["good", "f1"]["low"], rows["good", "f1"]["high"]))
    with pytest.raises(DataError, match="Did you mean 'good'"):
        evalkit.compare(run.path, control="goood")


def test_runs_are_compared_on_corpus_metrics_too(make_run: MakeRun) -> None:
    runs = [
        make_run({"old": [1, 0] * 30}, name="one", f1=True),
        make_run({"new": [1] * 60}, name="two", f1=True),
    ]
    merged = evalkit.compare(*(run.path for run in runs))
    (row,) = [row for row in merged["comparisons"] if row["metric"] == "f1"]
    values = [next(row["value"] for row in run.results["scores"] if row["metric"] == "f1") for run in runs]
    assert row["difference"] == pytest.approx(values[1] - values[0])
    assert row["test"] == "permutation, paired bootstrap"


def test_the_report_shows_the_gate_and_what_could_not_be_seen(several: evalkit.Run) -> None:
    page = several.report.read_text("utf-8")
    assert 'id="gate"' in page
    verdict = json.loads((several.path / "gate.json").read_text("utf-8"))
    assert verdict["rules"][0]["reason"].split(" (")[0] in page
    assert f'href="#/quiz/{verdict["rules"][0]["flips"][0]["id"]}"' in page
    assert "What could not have been seen: true differences below" in page
    (several.path / "gate.json").write_text("{", "utf-8")  # half a file is no gate
    assert 'id="gate"' not in rewrite_report(several.path).read_text("utf-8")


def test_seeds_speak_for_their_recipe_from_three_on() -> None:
    rng = np.random.default_rng(3)
    samples = [Sample(str(i), "?", "yes") for i in range(100)]

    def scored(share: float) -> Scored:
        outputs = [Output(sample.id, "yes" if rng.random() < share else "no") for sample in samples]
        return score_task(samples, outputs, ["exact_match"])

    names = [*(f"r16#{seed}" for seed in (1, 2, 3)), "r8#1", "r8#2"]
    every = {("old", "quiz"): scored(0.4), **{(name, "quiz"): scored(0.8) for name in names}}
    found = recipes(every, {"quiz": "exact_match"}, dict.fromkeys(names, "old"))
    rows = {(row["recipe"], row["against"]): row for row in found}
    assert set(rows) == {("r16", "old"), ("r8", "old"), ("r16", "r8")}
    three = rows["r16", "old"]
    assert (three["seeds"], three["note"]) == (3, None)
    assert three["low"] < three["difference"] < three["high"]
    assert set(three["variance"]) == {"seed", "sample", "rest"}
    assert "2 seeds: nothing is said about the recipe" in rows["r8", "old"]["note"]
    assert rows["r8", "old"]["low"] is None
    assert rows["r16", "r8"]["p_value"] is None
    told = caveats({"recipes": found, "leaders": []}, board({}))
    assert any(line.startswith("Recipe r16 against old on quiz exact_match: +0.") for line in told)
    assert any("only about its adapters; 3 at least are needed" in line for line in told)


@pytest.mark.parametrize("metric", ["judge:helpful", "human:tone", "cost", "latency"])
def test_judges_people_cost_and_latency_are_metrics_like_any_other(make_run: MakeRun, metric: str) -> None:
    """Scores that came after the run, in the files where the stages that make them put them."""
    run = make_run({"old": [1] * 40, "new": [1] * 40}, name="late")
    results = json.loads((run.path / "results.json").read_text("utf-8"))
    lower = metric in ("cost", "latency")
    for name, value in (("old", 2.0), ("new", 3.0)):
        file = run.path / f"samples/{name}/quiz.jsonl"
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        scores = [value + 0.5 * (i % 3) for i in range(len(rows))]
        for row, score in zip(rows, scores, strict=True):
            row["scores"][metric] = score
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        entry = {
            "candidate": name,
            "task": "quiz",
            "metric": metric,
            "value": float(np.mean(scores)),
            "n": 40,
        }
        entry |= {"low": None, "high": None, "confidence": 0.95, "unscored": 0, "signature": metric}
        results["scores"].append({**entry, "higher_is_better": not lower})
    (run.path / "results.json").write_text(json.dumps(results), "utf-8")
    policy = run.path / "policy.yaml"
    policy.write_text(
        f"gate: ci\ncandidate: new\nrules:\n"
        f"  - {{task: quiz, metric: '{metric}', no_worse_than: old, margin: 0.2}}\n"
        f"  - {{task: quiz, metric: '{metric}', at_most: 4.5}}\n"
    )
    first, second = evalkit.gate(run.path, policy).rules
    assert first.verdict == ("fail" if lower else "pass")
    assert first.difference == pytest.approx(-1.0 if lower else 1.0)
    assert second.verdict == "pass"
