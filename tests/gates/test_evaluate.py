"""Policies over real runs: names, samples, signatures, baselines and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit.errors import DataError
from evalkit.gates.baseline import read_baseline, write_baseline
from evalkit.gates.evaluate import evaluate, evaluate_run
from evalkit.running.folder import RunFolder, write_json
from evalkit.running.scores import Scores
from evalkit.specs.gate import GatePolicy
from evalkit.stats import clopper_pearson_interval, paired_proportions_interval

Make = Callable[..., evalkit.Run]
Policy = Callable[..., GatePolicy]
ScoresOf = Callable[[evalkit.Run], Scores]

OLD = [1] * 60 + [0] * 40
GOOD = [1] * 80 + [0] * 20
BAD = [1] * 40 + [0] * 60


def renamed(run: evalkit.Run, changes: dict[str, dict[str, Any]]) -> evalkit.Run:
    """The same run with these fields of its candidates changed, as a trained candidate would have them."""
    results = run.results
    for row in results["candidates"]:
        row.update(changes.get(row["name"], {}))
        if changes.get(row["name"], {}).get("error"):
            results["scores"] = [score for score in results["scores"] if score["candidate"] != row["name"]]
    RunFolder(run.path).write_results(results)
    return run


@pytest.fixture
def with_f1(make_run: Make) -> evalkit.Run:
    return make_run({"old": OLD, "good": GOOD, "bad": BAD}, f1=True)


@pytest.fixture
def run(make_run: Make) -> evalkit.Run:
    return make_run({"old": OLD, "good": GOOD, "bad": BAD})


def test_verdicts_and_numbers(with_f1: evalkit.Run, policy: Policy, scores_of: ScoresOf) -> None:
    found = evaluate(
        policy(
            {"candidate": "good", "no_worse_than": "old", "margin": 0.02},
            {"candidate": "bad", "no_worse_than": "old", "margin": 0.02},
            {"candidate": "good", "at_least": 0.75},
            {"candidate": "good", "metric": "f1", "better_than": "old", "by": 0.05},
            confidence=0.9,
        ),
        scores_of(with_f1),
    )
    assert [rule.verdict for rule in found.rules] == ["pass", "fail", "inconclusive", "pass"]
    assert (found.verdict, found.exit_code) == ("fail", 1)
    first, second, third, fourth = found.rules
    assert (first.low, first.high) == pytest.approx(paired_proportions_interval(20, 0, 100, 0.9, strict=True))
    assert (first.difference, first.value, first.reference_value, first.n) == (
        pytest.approx(0.2),
        0.8,
        0.6,
        100,
    )
    assert (first.gained, first.lost, first.n_needed) == (20, 0, None)
    assert (second.gained, second.lost) == (0, 20)
    assert second.flips[0] == {"id": "s40", "candidate": 0.0, "reference": 1.0}
    assert len(second.flips) == 10
    assert (third.low, third.high) == pytest.approx(clopper_pearson_interval(80, 100, 0.9))
    assert third.n_needed is not None
    assert f"{third.n_needed:,} samples" in third.reason
    # A macro average is no mean of its samples: its statistics come from the run folder.
    assert fourth.value == next(
        row["value"]
        for row in with_f1.results["scores"]
        if (row["candidate"], row["metric"]) == ("good", "f1")
    )
    assert fourth.difference == pytest.approx(fourth.value - fourth.reference_value)


def test_the_intervals_are_those_of_the_run_or_wider(
    with_f1: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    """A bootstrap's is the same; right/wrong is described by Tango's and decided by ends that are never closer."""
    told = {(row["candidate"], row["metric"]): row for row in with_f1.results["comparisons"]}
    for metric in ("exact_match", "f1"):
        found = evaluate(
            policy({"candidate": "bad", "metric": metric, "no_worse_than": "old"}), scores_of(with_f1)
        ).rules[0]
        assert found.low is not None
        assert found.low <= told["bad", metric]["low"] + 1e-9
        assert found.high is not None
        assert found.high >= told["bad", metric]["high"] - 1e-9
        close = 1e-12 if metric == "f1" else 0.01
        assert (found.low, found.high) == pytest.approx(
            (told["bad", metric]["low"], told["bad", metric]["high"]), abs=close
        )
    values = {(row["candidate"], row["metric"]): row for row in with_f1.results["scores"]}
    found = evaluate(
        policy({"candidate": "good", "metric": "f1", "at_least": 0.1}), scores_of(with_f1)
    ).rules[0]
    assert (found.low, found.high) == (values["good", "f1"]["low"], values["good", "f1"]["high"])


def test_without_a_candidate_every_trained_one_is_held(
    run: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    rule = {"no_worse_than": "old", "margin": 0.1}
    with pytest.raises(DataError, match="no train or adapter candidate"):
        evaluate(policy(rule), scores_of(run))
    renamed(run, {"good": {"kind": "train"}, "bad": {"kind": "adapter"}})
    found = evaluate(policy(rule, {"at_least": 0.1}), scores_of(run))
    assert [rule.candidate for rule in found.rules] == ["good", "bad", "good", "bad"]
    assert [
        rule.candidate for rule in evaluate(policy({**rule, "candidate": "good"}), scores_of(run)).rules
    ] == ["good"]
    default = policy(rule, {"candidate": "bad", "at_least": 0.1}, candidate="good")
    assert [rule.candidate for rule in evaluate(default, scores_of(run)).rules] == ["good", "bad"]


def test_a_grid_is_held_by_its_common_name(run: evalkit.Run, policy: Policy, scores_of: ScoresOf) -> None:
    scores = scores_of(run)
    names = {"good": "sweep[rank=8]", "bad": "sweep[rank=16]#2"}
    entries = {(names.get(c, c), t, m): row for (c, t, m), row in scores.entries.items()}
    back = {new: old for old, new in names.items()}
    swept = Scores(
        scores.where, scores.study, scores.run,
        [{**row, "name": names.get(row["name"], row["name"])} for row in scores.candidates],
        scores.tasks, entries, scores.seed, lambda c, t: scores.load(back.get(c, c), t),
    )  # fmt: skip
    found = evaluate(policy({"candidate": "sweep", "no_worse_than": "old"}), swept)
    assert [rule.candidate for rule in found.rules] == ["sweep[rank=8]", "sweep[rank=16]#2"]


def test_a_candidate_that_could_not_be_trained_fails_by_name(
    run: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    renamed(run, {"good": {"kind": "train", "error": "loss became NaN at step 7"}})
    found = evaluate(policy({"no_worse_than": "old", "margin": 0.9}, inconclusive="pass"), scores_of(run))
    assert found.verdict == "fail"
    assert found.rules[0].reason == "good could not be done, so it fails: loss became NaN at step 7."
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["rules"][0]["value"] is None
    against = evaluate(policy({"candidate": "bad", "no_worse_than": "good"}), scores_of(run))
    assert (against.verdict, against.exit_code) == ("inconclusive", 3)
    assert "good could not be done, so there is nothing to compare with" in against.rules[0].reason


@pytest.mark.parametrize(
    ("inconclusive", "verdict", "code"),
    [("exit3", "inconclusive", 3), ("fail", "fail", 1), ("pass", "pass", 0)],
)
def test_what_becomes_of_inconclusive(
    run: evalkit.Run, policy: Policy, scores_of: ScoresOf, inconclusive: str, verdict: str, code: int
) -> None:
    found = evaluate(
        policy({"candidate": "good", "at_least": 0.8}, inconclusive=inconclusive), scores_of(run)
    )
    assert (found.evidence, found.verdict, found.exit_code) == ("inconclusive", verdict, code)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"task": "quizz", "at_least": 0.1}, "no task named 'quizz'; it has quiz. Did you mean 'quiz'?"),
        (
            {"metric": "exact_mach", "at_least": 0.1},
            "no metric named 'exact_mach'.*Did you mean 'exact_match'?",
        ),
        (
            {"candidate": "goood", "at_least": 0.1},
            "no candidate named 'goood'; it has old, good, bad. Did you mean",
        ),
        ({"candidate": "good", "no_worse_than": "olde"}, "no candidate named 'olde'.*Did you mean 'old'?"),
        ({"candidate": "good", "no_worse_than": "good"}, "compares 'good' with itself"),
        ({"candidate": "good", "no_worse_than": "baseline"}, "with --baseline RUN"),
        (
            {"candidate": "good", "metric": "output_tokens", "at_most": 9.0},
            "none of 100 samples has a output_tokens",
        ),
    ],
)
def test_wrong_names_are_told_and_nothing_is_written(
    run: evalkit.Run, policy: Policy, rule: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_run(RunFolder(run.path), policy({"candidate": "good", **rule}))
    assert not (run.path / "gate.json").exists()


def test_every_mistake_is_told_at_once(run: evalkit.Run, policy: Policy, scores_of: ScoresOf) -> None:
    with pytest.raises(DataError) as caught:
        evaluate(policy({"task": "a", "at_least": 0.1}, {"metric": "b", "at_least": 0.1}), scores_of(run))
    assert [message.split(":")[0] for message in caught.value.messages] == [
        "gate ci, rule 1",
        "gate ci, rule 2",
    ]


def test_one_sample_has_no_spread(make_run: Make, policy: Policy, scores_of: ScoresOf) -> None:
    alone = make_run({"old": [1, None, None], "new": [1, None, None]})
    with pytest.raises(DataError, match="only one sample has a exact_match"):
        evaluate(policy({"candidate": "new", "at_least": 0.1}), scores_of(alone))
    apart = make_run({"old": [1, 1, None, None], "new": [None, None, 1, 1]}, name="apart")
    with pytest.raises(DataError, match="share 0 scored samples"):
        evaluate(policy({"candidate": "new", "no_worse_than": "old"}), scores_of(apart))


def test_unscored_samples_are_counted(make_run: Make, policy: Policy, scores_of: ScoresOf) -> None:
    part = make_run({"old": [1] * 50, "new": [1] * 40 + [None] * 10})
    found = evaluate(
        policy({"candidate": "new", "no_worse_than": "old", "margin": 0.2}), scores_of(part)
    ).rules[0]
    assert (found.n, found.unscored) == (40, 10)
    assert "40 pairs" in found.reason


def noisy(run: evalkit.Run, sd: float, candidate: str) -> None:
    """As if answering again had moved a candidate's value."""
    folder = RunFolder(run.path)
    results = folder.results()
    for row in results["scores"]:
        if row["candidate"] == candidate and row["metric"] == "exact_match":
            row["noise_sd"] = sd
    folder.write_results(results)


def test_noise_joins_values_and_differences(make_run: Make, policy: Policy, scores_of: ScoresOf) -> None:
    """Of both sides, at every level; and no number of samples helps against it."""
    run = make_run({"old": [1] * 50 + [0] * 50, "new": [1] * 70 + [0] * 30})
    rules = [{"at_least": 0.59, "candidate": "new"}, {"better_than": "old", "by": 0.1, "candidate": "new"}]
    held = policy(*rules)
    before = evaluate(held, scores_of(run)).rules
    assert [rule.verdict for rule in before] == ["pass", "pass"]
    noisy(run, 0.03, "new")
    noisy(run, 0.04, "old")
    after = evaluate(held, scores_of(run)).rules
    for plain, wide, sd in zip(before, after, (0.03, 0.05), strict=True):
        estimate = plain.value if plain.difference is None else plain.difference
        assert estimate is not None
        assert plain.low is not None
        assert plain.high is not None
        reach = 1.959964 * sd
        assert wide.low == pytest.approx(estimate - np.hypot(estimate - plain.low, reach), abs=1e-6)
        assert wide.high == pytest.approx(estimate + np.hypot(plain.high - estimate, reach), abs=1e-6)
    assert [rule.verdict for rule in after] == ["inconclusive", "inconclusive"]
    # 0.11 from the bound, and (1.96 + 0.84) · 0.03 = 0.084 of it are the noise's: more samples help …
    assert after[0].n_needed is not None
    assert after[0].n_needed > 100
    # … 0.1 from the bound, and 2.8 · 0.05 = 0.14: they do not.
    assert after[1].n_needed is None
    assert "no number of samples decides" in after[1].reason


def test_a_baseline_keeps_its_noise(stored: evalkit.Run, tmp_path: Path) -> None:
    noisy(stored, 0.04, "new")
    kept = read_baseline(write_baseline(RunFolder(stored.path), "noisy", tmp_path))
    series = kept.series("new", "quiz", "exact_match")
    assert series is not None
    assert series.noise_sd == 0.04


def test_clusters_widen_the_interval(make_run: Make, policy: Policy, scores_of: ScoresOf) -> None:
    """Twenty topics of five samples that stand and fall together are twenty observations, not a hundred."""
    old = [int(i // 5 % 2 == 0) for i in range(100)]
    new = [int(i // 5 % 4 < 3) for i in range(100)]
    rule = {"candidate": "new", "no_worse_than": "old"}
    alone = evaluate(policy(rule), scores_of(make_run({"old": old, "new": new}))).rules[0]
    together = evaluate(
        policy(rule), scores_of(make_run({"old": old, "new": new}, name="two", more="cluster: topic\n"))
    )
    wide = together.rules[0]
    assert None not in (wide.low, wide.high, alone.low, alone.high)
    assert wide.high - wide.low > 1.7 * (alone.high - alone.low)  # √5 = 2.2 in theory


def test_statistics_come_back(tmp_path: Path) -> None:
    folder, rows = RunFolder(tmp_path), np.arange(6.0).reshape(3, 2)
    folder.write_statistics("a/b", "t", {"f1": rows}, {"f1": {"classes": ["é", "n"]}})
    statistics, labels = folder.statistics("a/b", "t")
    assert statistics["f1"].tolist() == rows.tolist()
    assert labels == {"f1": {"classes": ["é", "n"]}}
    folder.write_statistics("a/b", "t", {}, {})
    assert folder.statistics("a/b", "t") == ({}, {})


# --- baselines ---


@pytest.fixture
def stored(make_run: Make) -> evalkit.Run:
    return make_run({"old": OLD, "new": OLD}, name="before")


def test_a_baseline_file_says_what_the_run_says(
    make_run: Make, policy: Policy, scores_of: ScoresOf, tmp_path: Path
) -> None:
    stored = make_run({"old": OLD, "new": OLD}, name="before", f1=True)
    after = scores_of(make_run({"old": OLD, "new": BAD}, name="after", f1=True))
    path = write_baseline(RunFolder(stored.path), root=tmp_path)
    assert path == tmp_path / "baselines" / "quiz.json"
    rules = policy(
        {"candidate": "new", "no_worse_than": "baseline", "margin": 0.05},
        {"candidate": "new", "metric": "f1", "no_worse_than": "baseline", "margin": 0.05},
    )
    by_file = evaluate(rules, after, read_baseline(path))
    by_run = evaluate(rules, after, scores_of(stored))
    assert [rule.to_json() for rule in by_file.rules] == [rule.to_json() for rule in by_run.rules]
    assert [rule.verdict for rule in by_file.rules] == ["fail", "fail"]
    assert by_file.rules[0].lost == 20


def test_a_baseline_holds_no_text(stored: evalkit.Run, tmp_path: Path) -> None:
    text = write_baseline(RunFolder(stored.path), "main", tmp_path).read_text()
    assert "yes" not in text
    assert "?" not in text
    assert json.loads(text)["candidates"][1]["scores"]["quiz"]["exact_match"]["samples"] == OLD
    asked = write_baseline(RunFolder(stored.path), "texts", tmp_path, outputs=True)
    kept = json.loads(asked.read_text())["candidates"][1]["outputs"]["quiz"]
    assert kept[:2] == [row["output"] for row in stored.samples("new", "quiz")][:2]
    series = read_baseline(asked).series("new", "quiz", "exact_match")
    assert series is not None
    assert series.scores.tolist() == OLD


def test_the_studys_own_baseline_is_found(stored: evalkit.Run, policy: Policy, tmp_path: Path) -> None:
    write_baseline(RunFolder(stored.path), root=tmp_path)
    rules = policy({"candidate": "new", "no_worse_than": "baseline", "margin": 0.1})
    found = evaluate_run(RunFolder(stored.path), rules)  # the working directory is tmp_path
    assert (found.verdict, found.rules[0].difference) == ("pass", 0)
    assert found.baseline == "baselines/quiz.json"
    assert evaluate_run(RunFolder(stored.path), rules, baseline="quiz").baseline == "baselines/quiz.json"
    with pytest.raises(DataError, match=r"No baseline 'quizz'.*Did you mean 'quiz'"):
        evaluate_run(RunFolder(stored.path), rules, baseline="quizz")


def test_other_samples_are_refused(
    make_run: Make, stored: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    rules = policy({"candidate": "new", "no_worse_than": "baseline"})
    fewer = make_run({"old": OLD[:50], "new": OLD[:50]}, name="fewer")
    with pytest.raises(
        DataError, match=r"not the same samples: 50 of 100 are in only one of .* such as 's50'"
    ):
        evaluate(rules, scores_of(fewer), scores_of(stored))
    asked = make_run({"old": OLD, "new": OLD}, name="asked", prompt="Please: ")
    with pytest.raises(DataError, match="not the same samples: 100 of 100 ask or accept something else"):
        evaluate(rules, scores_of(asked), scores_of(stored))


def test_other_signatures_are_refused(stored: evalkit.Run, policy: Policy, scores_of: ScoresOf) -> None:
    now = scores_of(stored)
    results = stored.results
    for row in results["scores"]:
        row["signature"] += "|version:2"
    RunFolder(stored.path).write_results(results)
    with pytest.raises(DataError, match=r"not made the same way.*version:2"):
        evaluate(policy({"candidate": "new", "no_worse_than": "baseline"}), now, scores_of(stored))


def test_a_baseline_on_other_weights_is_compared(
    stored: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    now = scores_of(stored)
    results = stored.results
    for row in results["scores"]:
        row["signature"] += "|base:53aa51172d14"
    RunFolder(stored.path).write_results(results)
    rules = policy({"candidate": "new", "no_worse_than": "baseline", "margin": 0.05})
    assert evaluate(rules, now, scores_of(stored)).verdict == "pass"


def test_a_candidate_the_baseline_lacks(
    make_run: Make, stored: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    other = make_run({"old": OLD, "newer": OLD}, name="other")
    with pytest.raises(
        DataError, match=r"has no candidate named 'newer'; it has old, new. Did you mean 'new'?"
    ):
        evaluate(
            policy({"candidate": "newer", "no_worse_than": "baseline"}), scores_of(other), scores_of(stored)
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "baseline", "format": 2}, "baseline of format 2, and this evalkit reads format 1: upgrade"),
        ({"format": 1}, "is no baseline: expected a file that `evalkit baseline set RUN` wrote"),
        ({"kind": "baseline", "format": 1, "study": "quiz"}, "damaged baseline"),
    ],
)
def test_files_that_are_no_baseline(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write_json(tmp_path / "b.json", content)
    with pytest.raises(DataError, match=message):
        read_baseline(tmp_path / "b.json")


def test_a_run_without_statistics_is_refused_for_a_corpus_metric(
    with_f1: evalkit.Run, policy: Policy, scores_of: ScoresOf
) -> None:
    """Scores per sample of a macro F1 do not add up to it: better no verdict than one about something else."""
    path = with_f1.path / "statistics" / "good" / "quiz.safetensors"
    lopsided = with_f1.results
    for row in lopsided["scores"]:
        row["value"] = 0.123 if row["metric"] == "f1" else row["value"]
    RunFolder(with_f1.path).write_results(lopsided)
    path.unlink()
    with pytest.raises(DataError, match="statistics per sample are missing"):
        evaluate(policy({"candidate": "good", "metric": "f1", "at_least": 0.1}), scores_of(with_f1))


# --- in people's own tests ---


def test_assert_no_regression(run: evalkit.Run) -> None:
    verdict = evalkit.assert_no_regression(run, reference="old", candidate="good", margin=0.02)
    assert verdict.rules[0].verdict == "pass"
    with pytest.raises(AssertionError, match=r"bad is worse than old by 0.2 .*it would stop failing"):
        evalkit.assert_no_regression(run.path, reference="old", candidate="bad", margin=0.02)
    with pytest.raises(AssertionError, match="samples would decide"):
        evalkit.assert_no_regression(run, reference="old", candidate="bad", margin=0.25)
    with pytest.raises(DataError, match="Did you mean 'quiz'"):
        evalkit.assert_no_regression(run, reference="old", candidate="bad", tasks=["quizz"])


def test_nothing_scored_and_no_samples_are_refused(
    make_run: Make, policy: Policy, scores_of: ScoresOf
) -> None:
    unanswered = make_run({"old": [1] * 4, "new": [1] * 4}, name="unanswered")
    file = next((unanswered.path / "samples/new").glob("quiz.jsonl"))
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for row in rows:
        row["scores"]["exact_match"] = {"unscored": "no answer"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with pytest.raises(DataError, match="none of 4 samples has a exact_match; there is nothing to judge"):
        evaluate(policy({"candidate": "new", "at_least": 0.5}), scores_of(unanswered))
    assert not (unanswered.path / "gate.json").exists()
    empty = make_run({"old": [1] * 3, "new": [1] * 3}, name="empty")
    for file in (empty.path / "samples").glob("*/quiz.jsonl"):
        file.write_text("", "utf-8")
    with pytest.raises(DataError, match="no sample has a score named 'exact_match'"):
        evaluate(policy({"candidate": "new", "at_least": 0.5}), scores_of(empty))
