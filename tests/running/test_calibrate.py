"""A judge of a run held against people: what the command writes, and what the page then says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit.errors import DataError
from evalkit.judging.records import Judgement, Order, write_judgements
from evalkit.reporting.html import write_report
from evalkit.running.calibrate import apply_calibrations
from evalkit.running.folder import RunFolder
from evalkit.running.instruments import apply_instruments, metric_validity


def score_row(candidate: str, metric: str, **more: Any) -> dict[str, Any]:
    row = {"candidate": candidate, "task": "chat", "metric": metric, "value": 3.0, "low": 2.5, "high": 3.5}
    row |= {
        "confidence": 0.95,
        "n": 200,
        "unscored": 0,
        "higher_is_better": True,
        "signature": f"{metric}|v:1",
    }
    return row | more


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two candidates, 200 samples; a judge of 1–5 that adds half a point; a good metric, and one that says nothing."""
    rng = np.random.default_rng(0)
    folder = RunFolder(tmp_path / "runs" / "s" / "20260101T000000Z-00000000")
    names = ("base", "r16")
    rows, labels = [], ["candidate,task,id,rater,label"]
    for place, name in enumerate(names):
        samples = []
        for i in range(200):
            truth = float(np.clip(3.0 + 0.4 * place + rng.normal(0, 1), 1, 5))
            value = float(np.clip(truth + 0.5 + rng.normal(0, 0.4), 1, 5))
            text = "word " * int(5 + 4 * value)
            rows.append(Judgement(name, "chat", str(i), score=value, value=value, characters=len(text)))
            scores = {
                "good": truth + rng.normal(0, 0.5),
                "noise": float(rng.random()),
                "human:quality": round(truth),
            }
            samples.append({"id": str(i), "input": "Q", "target": None, "output": text, "scores": scores})
            if i < 60:
                labels += [f"{name},chat,{i},{who},{round(truth)}" for who in ("ann", "ben")]
        folder.write_samples(name, "chat", samples)
    candidates = [{"name": name, "kind": "base", "model": "smollm2-135m", "settings": {}} for name in names]
    scores = [
        score_row(name, metric, higher_is_better=metric != "bad")
        for name in names
        for metric in ("good", "noise", "human:quality", "judge:taste")
    ]
    judge = {
        "name": "taste",
        "judge": "taste",
        "kind": "pointwise",
        "models": ["smollm2-360m"],
        "families": [None],
    }
    judge |= {
        "aggregate": None,
        "judged": 400,
        "unscored": 0,
        "disputed": 0,
        "calls": 400,
        "tokens": 0,
        "money": None,
    }
    comparison = {
        "candidate": "r16",
        "control": "base",
        "task": "chat",
        "metric": "good",
        "difference": 0.4,
        "low": 0.1,
    }
    comparison |= {
        "high": 0.7,
        "low_adjusted": None,
        "high_adjusted": None,
        "p_value": 0.01,
        "p_adjusted": None,
    }
    comparison |= {"test": "permutation", "n": 200, "gained": [], "lost": []}
    results = {
        "format": 1,
        "study": "s",
        "run": folder.path.name,
        "status": "complete",
        "candidates": candidates,
    }
    results |= {"scores": scores, "comparisons": [comparison], "costs": {}}
    results |= {"judges": [{**judge, "calibrated": False, "error": None}]}
    results |= {"tasks": [{"name": "chat", "metrics": {"judge:taste": {"bounds": [1.0, 5.0]}}}]}
    folder.write_run({"study": {"study": "s", "control": "base"}, "seeds": {"study": 7}})
    folder.write_results(results)
    (folder.path / "judgements").mkdir()
    (folder.path / "judgements" / "taste.jsonl").write_text(write_judgements(rows))
    (tmp_path / "labels.csv").write_text("\n".join(labels))
    return folder


def test_the_command_calibrates_and_the_report_stops_warning(
    run: RunFolder, tmp_path: Path, evalkit_command: Any
) -> None:
    assert "UNCALIBRATED" in write_report(run).read_text()
    done = evalkit_command(
        "calibrate", run.path, "--judge", "taste", "--labels", tmp_path / "labels.csv", "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["judge"], found["scale"], found["answers"]) == ("taste", [1.0, 5.0], 120)
    assert found["bias"]["low"] < 0.5 < found["bias"]["high"]
    base = found["estimates"][0]
    assert base["judge"]["low"] > base["corrected"]["value"]
    assert "base on chat: judge 3." in done.stderr
    (entry,) = run.results()["judges"]
    assert entry["calibrated"] is True
    assert entry["bias"]["length_slope"]["low"] > 0
    assert (entry["bias"]["family"], entry["bias"]["kin"]) == ("smollm", ["base", "r16"])
    page = write_report(run).read_text()
    assert "UNCALIBRATED" not in page
    assert "against people" in page
    assert "How well each number predicts people" in page


def test_a_calibration_outlives_the_stages_but_not_other_verdicts(run: RunFolder, tmp_path: Path) -> None:
    evalkit.calibrate(run.path, "taste", tmp_path / "labels.csv")
    results = run.results()
    results["judges"][0]["calibrated"] = False
    del results["calibrations"]
    run.write_results(results)  # what a second run does
    assert apply_calibrations(run) == []
    assert run.results()["judges"][0]["calibrated"] is True
    file = run.path / "judgements" / "taste.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    (remark,) = apply_calibrations(run)
    assert "is about other verdicts" in remark
    assert run.results()["judges"][0]["calibrated"] is False
    assert run.results()["calibrations"] == []


@pytest.mark.parametrize(
    ("judge", "text", "message"),
    [
        ("tast", None, "Did you mean 'taste'? Judges of this run: taste"),
        ("taste", "candidate,task,id,label\nr61,chat,1,3\n", "no candidate 'r61'. Did you mean 'r16'?"),
        ("taste", "candidate,task,id,label\nr16,chat,1,7\n", "judge's scale, 1 to 5; got 7"),
        ("taste", "candidate,task,id,label\nr16,chat,x1,3\n", "No label is about an answer"),
        ("taste", "none", "no labels of people: type --labels FILE"),
    ],
)
def test_mistakes_are_one_line(
    run: RunFolder, tmp_path: Path, judge: str, text: str | None, message: str
) -> None:
    labels = None if text == "none" else tmp_path / "labels.csv"
    if labels is not None and text is not None:
        labels.write_text(text)
    with pytest.raises(DataError) as caught:
        evalkit.calibrate(run.path, judge, labels)
    assert message in str(caught.value)
    assert len(caught.value.messages) == 1


def test_how_well_metrics_predict_people(run: RunFolder) -> None:
    found = {row["metric"]: row for row in metric_validity(run, run.results())}
    assert set(found) == {"good", "noise"}  # the judge's scores are not among these samples
    assert found["good"]["spearman"]["low"] > 0.7
    assert found["good"]["accuracy"]["low"] > 0.75
    assert found["noise"]["spearman"]["low"] < 0 < found["noise"]["spearman"]["high"]
    assert found["noise"]["accuracy"]["low"] < 0.5 < found["noise"]["accuracy"]["high"]
    assert found["good"]["n"] == 400


def test_how_well_metrics_predict_people_uses_the_weights(run: RunFolder) -> None:
    """Of two halves of the samples one, in which the metric is turned round, stands for next to nothing."""
    names = [entry["name"] for entry in run.results()["candidates"]]
    for name in names:
        rows = list(run.samples(name, "chat"))
        for place, row in enumerate(rows):
            odd = place % 2
            row["scores"]["good"] *= -1 if odd else 1
            row["weights"] = {"human:quality": 1e-6 if odd else 2.0}
        run.write_samples(name, "chat", rows)
    found = {row["metric"]: row for row in metric_validity(run, run.results())}
    assert found["good"]["accuracy"]["value"] > 0.75
    assert found["good"]["spearman"]["value"] > 0.7


def test_position_bias_stands_in_the_page(run: RunFolder) -> None:
    rows = [
        Judgement(
            "r16", "chat", str(i), winner="tie", value=0.5, opponent="base", characters=10, opponent_characters=20,
            orders=(Order("A", "A"), Order("B", "B")),
        )
        for i in range(30)
    ]  # fmt: skip
    (run.path / "judgements" / "taste.jsonl").write_text(write_judgements(rows))
    apply_instruments(run)
    bias = run.results()["judges"][0]["bias"]
    assert bias["position_flips"]["value"] == 1.0
    assert bias["wins"][0]["win_rate"]["value"] == 0.5
    page = write_report(run).read_text()
    assert (
        "<strong>1.00 [0.89, 1.00]</strong> of its verdicts turned round when the sides were exchanged"
        in page
    )
    assert "turned round 1.00, first shown 1.00" in page  # beside each of its numbers
    assert "At equal length" in page


def test_a_run_without_judges_and_people_is_left_alone(run: RunFolder) -> None:
    results = {**run.results(), "judges": []}
    results["scores"] = [row for row in results["scores"] if "human" not in row["metric"]]
    run.write_results(results)
    before = (run.path / "results.json").read_bytes()
    apply_instruments(run)
    assert apply_calibrations(run) == []
    assert (run.path / "results.json").read_bytes() == before


def test_labels_of_pairs_are_told_from_the_judges_side(run: RunFolder, tmp_path: Path) -> None:
    rows = [
        Judgement(
            "r16", "chat", str(i), winner="A" if i % 3 else "B", value=float(i % 3 > 0), opponent="base"
        )
        for i in range(30)
    ]
    (run.path / "judgements" / "duel.jsonl").write_text(write_judgements(rows))
    lines = ["candidate,other,task,id,rater,label"]
    for i in range(20):
        lines += [
            f"base,r16,chat,{i},ann,{'loss' if i % 3 else 'win'}"
        ]  # the same verdict, told the other way round
        lines += [f"r16,third,chat,{i},ben,{'loss' if i % 3 else 'win'}"]  # about another pair
    labels = tmp_path / "pairs.csv"
    labels.write_text("\n".join(lines))
    found = evalkit.calibrate(run.path, "duel", labels)
    assert (found["labels"], found["raters"], found["scale"]) == (20, 1, [0.0, 1.0])
    assert found["agreement"]["judge_people"]["same"] == 1.0
    with pytest.raises(DataError, match="this judge rates one answer at a time"):
        evalkit.calibrate(run.path, "taste", labels)
