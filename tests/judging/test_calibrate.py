from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.errors import DataError
from evalkit.judging.calibrate import calibrate_judge, verdict_values
from evalkit.judging.people import HumanLabel, read_human_labels
from evalkit.judging.records import Judgement

TRUTH = {"base": 0.5, "r16": 0.6}


def planted(seed: int, n: int = 500, labelled: int = 120) -> tuple[dict[Any, Any], list[HumanLabel]]:
    """A judge that calls 90 % of the right and 35 % of the wrong answers right; two people who know."""
    rng = np.random.default_rng(seed)
    verdicts, labels = {}, []
    for candidate, share in TRUTH.items():
        for i in range(n):
            right = rng.random() < share
            verdicts[candidate, "t", str(i)] = (float(rng.random() < (0.9 if right else 0.35)), 1.0)
            if i < labelled:
                labels += [HumanLabel(candidate, "t", str(i), who, float(right)) for who in ("ann", "ben")]
    return verdicts, labels


def test_the_three_estimates_stand_side_by_side() -> None:
    verdicts, labels = planted(3)
    found = calibrate_judge(
        verdicts, labels, bounds=(0.0, 1.0), controls={"r16": "base"}, resamples=400, seed=1
    )
    assert (found["labels"], found["raters"], found["answers"], found["judged"]) == (480, 2, 240, 1000)
    assert found["sensitivity"]["low"] < 0.9 < found["sensitivity"]["high"]
    assert found["specificity"]["low"] < 0.65 < found["specificity"]["high"]
    base, r16 = found["estimates"]
    for row in (base, r16):
        truth = TRUTH[row["candidate"]]
        assert row["judge"]["low"] > truth  # precise and wrong
        for estimate in (row["corrected"], row["right"]["corrected"], row["people"]):
            assert estimate["low"] < truth < estimate["high"]
        width = {name: row[name]["high"] - row[name]["low"] for name in ("judge", "people", "corrected")}
        assert width["judge"] < width["corrected"] < width["people"]
        assert row["right"]["corrected"]["errors"] == "own"
    (gap,) = found["comparisons"]
    assert (gap["candidate"], gap["control"], gap["judged"], gap["labelled"]) == ("r16", "base", 500, 120)
    assert gap["corrected"]["low"] < 0.1 < gap["corrected"]["high"]
    assert found["bias"]["low"] > 0.05
    assert found["notes"] == ["This judge agrees with people less than people do with each other."]
    assert found["agreement"]["people_people"]["same"] == 1.0
    judge = found["agreement"]["judge_people"]
    assert judge["level"] == "nominal"
    assert judge["kappa"]["weights"] is None
    assert 0.4 < judge["kappa"]["low"] < judge["kappa"]["value"] < judge["kappa"]["high"] < 0.75


def test_corrected_estimates_and_differences_cover() -> None:
    hits = np.zeros(3)
    for seed in range(300):
        verdicts, labels = planted(seed, n=300, labelled=100)
        labels = [label for label in labels if label.rater == "ann"]
        found = calibrate_judge(
            verdicts, labels, bounds=(0.0, 1.0), controls={"r16": "base"}, resamples=2, seed=seed
        )
        row, gap = found["estimates"][1], found["comparisons"][0]
        for place, (estimate, truth) in enumerate(
            [(row["corrected"], 0.6), (row["right"]["corrected"], 0.6), (gap["corrected"], 0.1)]
        ):
            hits[place] += estimate["low"] <= truth <= estimate["high"]
    assert ((hits / 300 >= 0.925) & (hits / 300 <= 0.98)).all(), hits / 300


def test_unevenly_chosen_labels_do_not_bias() -> None:
    """People see mostly what the judge scores low. With weights the corrected mean covers; without it does not."""
    rng = np.random.default_rng(4)
    hits = np.zeros(2)
    for _ in range(200):
        truth = rng.normal(3, 0.8, 600)
        judge = truth + 0.4 + rng.normal(0, 0.5, 600)
        chance = np.where(judge < 3, 0.4, 0.08)
        taken = rng.random(600) < chance
        verdicts = {("a", "t", str(i)): (float(judge[i]), 1.0) for i in range(600)}
        for place, weighted in enumerate((True, False)):
            labels = [
                HumanLabel("a", "t", str(i), "x", float(truth[i]), 1 / chance[i] if weighted else 1.0)
                for i in np.flatnonzero(taken)
            ]
            found = calibrate_judge(verdicts, labels, bounds=(0.0, 6.0), resamples=2)
            corrected = found["estimates"][0]["corrected"]
            hits[place] += corrected["low"] <= 3.0 <= corrected["high"]
            if weighted:
                assert found["estimates"][0]["right"]["corrected"]["note"] == "chosen unevenly"
    weighted, plain = hits / 200
    assert 0.92 <= weighted <= 0.985
    assert plain < 0.9


def test_a_scale_is_measured_as_one() -> None:
    rng = np.random.default_rng(2)
    verdicts, labels = {}, []
    for i in range(120):
        truth = rng.integers(1, 6)
        verdicts["a", "t", str(i)] = (float(np.clip(truth + rng.normal(0.5, 0.7), 1, 5)), 1.0)
        for who in ("x", "y"):
            labels.append(
                HumanLabel("a", "t", str(i), who, float(np.clip(truth + rng.integers(-1, 2), 1, 5)))
            )
    found = calibrate_judge(verdicts, labels, bounds=(1.0, 5.0), resamples=200)
    assert found["agreement"]["judge_people"]["level"] == "interval"
    assert found["agreement"]["judge_people"]["kappa"]["weights"] == "quadratic"
    assert found["agreement"]["people_people"]["pairs"] == 120
    assert found["threshold"] == 3.0
    assert found["bias"]["low"] > 0.2


def test_weighted_kappa_counts_the_steps_of_the_scale() -> None:
    """Labels 1, 2 and 5 are not 0, 1 and 2: scikit-learn with all steps of the scale as labels."""
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(3)
    judge, people = rng.choice([1.0, 2.0, 5.0], 60), rng.choice([1.0, 2.0, 5.0], 60)
    verdicts = {("a", "t", str(i)): (judge[i], 1.0) for i in range(60)}
    labels = [HumanLabel("a", "t", str(i), "x", people[i]) for i in range(60)]
    found = calibrate_judge(verdicts, labels, bounds=(1.0, 5.0), resamples=2)
    expected = cohen_kappa_score(
        judge.astype(int), people.astype(int), weights="quadratic", labels=[1, 2, 3, 4, 5]
    )
    assert found["agreement"]["judge_people"]["kappa"]["value"] == pytest.approx(expected, abs=1e-9)
    assert found["agreement"]["people_people"] is None
    assert "nobody knows how far people agree" in found["notes"][0]


def test_labels_that_do_not_meet_verdicts() -> None:
    verdicts, labels = planted(1, n=5, labelled=1)
    stray = HumanLabel("base", "t", "99", "ann", 1.0)
    found = calibrate_judge(verdicts, [*labels, stray], bounds=(0.0, 1.0), resamples=2)
    assert found["unmatched"] == 1
    assert any("1 labelled answers were not scored" in note for note in found["notes"])
    assert found["estimates"][0]["corrected"]["low"] is None
    with pytest.raises(DataError, match="No label is about an answer"):
        calibrate_judge(verdicts, [stray], bounds=(0.0, 1.0))


def test_values_of_verdicts() -> None:
    rows = [
        Judgement(
            "a", "t", "1", score=4.0, value=4.0, criteria={"tone": 5, "tact": {"unscored": "no"}}, weight=3.0
        ),
        Judgement("a", "t", "2", unscored="no JSON"),
    ]
    assert verdict_values(rows) == {("a", "t", "1"): (4.0, 3.0)}
    assert verdict_values(rows, "tone") == {("a", "t", "1"): (5.0, 3.0)}
    assert verdict_values(rows, "tact") == {}


def test_labels_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("Candidate,Task,ID,rater,label\na,t,1,ann,win\na,t,1,ann,1\na,t,2,ann,tie\na,t,3,ben,\n")
    found = read_human_labels(file)
    assert [(label.id, label.rater, label.value) for label in found] == [("1", "ann", 1.0), ("2", "ann", 0.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("candidate,task,label\na,t,1\n", "expected a column 'id', got 'candidate', 'task', 'label'."),
        (
            "candidate,task,id,label\na,t,1,perhaps\n",
            "labels.csv:2: expected a number, yes or no, or win, loss or tie",
        ),
        (
            "candidate,task,id,label\na,t,1,4\na,t,1,5\n",
            "labels.csv:3: 'people' said 5 of a on t, 1, but 4 at",
        ),
        ("candidate,task,id,label\na,,1,4\n", "labels.csv:2: the task is empty."),
        (
            "candidate,task,id,label,question\na,t,1,4,tone\na,t,1,5,tact\n",
            "type --question with one of tone, tact",
        ),
        ("candidate,task,id,label\na,t,1,\n", "has no labels"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_human_labels(file)
    assert message in str(caught.value)


def test_the_question_that_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    rows = [("tone", 4, 0), ("tone", 5, 1), ("safe", True, 0)]
    lines = [
        f'{{"candidate": "a", "task": "t", "id": "1", "question": "{q}", "rater": "x", '
        f'"label": {str(label).lower()}, "weight": 2.5, "repeat": {repeat}}}'
        for q, label, repeat in rows
    ]
    file.write_text("\n".join(lines))
    assert read_human_labels(file, "tone") == [HumanLabel("a", "t", "1", "x", 4.0, 2.5)]
    assert read_human_labels(file, "safe")[0].value == 1.0
    with pytest.raises(DataError, match=r"no question 'tune'\. Did you mean 'tone'"):
        read_human_labels(file, "tune")
