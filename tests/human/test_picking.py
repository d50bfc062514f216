"""What a run knows about its samples: which ones people are shown more likely, and that estimates stay unbiased."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evalkit.gates.evaluate import evaluate_run
from evalkit.human.key import read_exports
from evalkit.judging.records import Judgement, Order, write_judgements
from evalkit.running.picking import interest_of
from evalkit.specs.gate import GatePolicy

IDS = [f"m{i}" for i in range(12)]


def wanted(run: Any) -> dict[str, float]:
    rows = {name: {row["id"]: row for row in run.samples(name, "mail")} for name in ("base", "r16")}
    found = interest_of(run, run.results(), "mail", IDS, rows).tolist()
    return {id_: value for id_, value in zip(IDS, found, strict=True) if value > 1}


def write_scores(run: Any, metric: str, scores: dict[str, Any]) -> None:
    """``scores``: candidate → place → score."""
    for name in ("base", "r16"):
        rows = list(run.samples(name, "mail"))
        for i, row in enumerate(rows):
            row["scores"] = {"exact_match": 0.0, metric: scores[name](i)}
        run.write_samples(name, "mail", rows)


def judged(run: Any, name: str, *rows: Judgement) -> None:
    folder = run.path / "judgements"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text(write_judgements(rows), "utf-8")


def test_candidates_that_flip(mail_run: Any) -> None:
    run = mail_run()
    right = {"base": lambda i: 1.0, "r16": lambda i: float(i not in (3, 7))}
    write_scores(run, "exact_match", right)
    assert wanted(run) == {"m3": 4, "m7": 4}


def test_judges_of_every_kind_that_do_not_agree(mail_run: Any) -> None:
    run = mail_run()
    write_scores(run, "exact_match", {"base": lambda i: 0.0, "r16": lambda i: 0.0})
    calm = [
        Judgement("r16", "mail", id_, score=v, value=v) for id_, v in zip(IDS, (1, 5, 3, 3), strict=False)
    ]
    judged(run, "helpful", *calm)
    judged(run, "list", *(Judgement("r16", "mail", id_, answers=(v > 0,), value=v) for id_, v in
                          zip(IDS, (0.0, 1.0, 0.5, 0.0), strict=False)))  # fmt: skip
    assert wanted(run) == {"m3": 4}  # (3 − 1) / 4 = 0.5 of the one, 0 of the other; the rest agree
    pairs = [
        Judgement("r16", "mail", "m4", winner="tie", value=0.5, opponent="base",
                  orders=(Order("A", "A"), Order("B", "B"))),  # the first one shown won, twice
        Judgement("r16", "mail", "m5", winner="A", value=1.0, opponent="base",
                  orders=(Order("A", "A"), Order("B", "A"))),
        Judgement("r16", "mail", "m1", winner="B", value=0.0, opponent="base"),  # another question than "helpful"
    ]  # fmt: skip
    judged(run, "pair", *pairs)
    jury = [
        Judgement("base", "mail", "m6", score=3.0, value=3.0, votes={"x": 1.0, "y": 5.0}, disagreement=1.0),
        Judgement("base", "mail", "m7", score=3.0, value=3.0, votes={"x": 3.0, "y": 4.0}, disagreement=0.25),
        Judgement("base", "mail", "m8", unscored="no quorum", votes={"x": 3.0, "y": None}),
        Judgement("base", "other", "m9", score=3.0, value=3.0, disagreement=1.0),
        Judgement("gone", "mail", "m9", score=3.0, value=3.0, disagreement=1.0),
    ]
    judged(run, "jury", *jury)
    assert wanted(run) == {"m3": 4, "m4": 4, "m6": 4, "m8": 4}


def test_graded_scores_near_a_bound_of_the_gate(mail_run: Any) -> None:
    """A tenth of the metric's range, whatever its scale; the gate is written by the gate itself."""
    run = mail_run()
    graded = {"base": lambda i: 9.0, "r16": lambda i: i / 2}
    write_scores(run, "marks", graded)
    results = run.results()
    results["tasks"][0]["metrics"] = {
        "marks": {"settings": {"metric": "marks"}, "mean": True, "bounds": [0, 10]}
    }
    first = {**results["scores"][0], "signature": "marks", "metric": "marks"}
    means = {"base": 9.0, "r16": 2.75}
    results["scores"] = [{**first, "candidate": name, "value": value} for name, value in means.items()]
    results["scores"] += [{**one, "metric": "exact_match", "value": 0.0} for one in results["scores"]]
    run.write_results(results)
    rules = [
        {"task": "mail", "metric": "marks", "candidate": "r16", "at_least": 3.0},
        {
            "task": "mail",
            "metric": "exact_match",
            "candidate": "r16",
            "at_least": 0.05,
        },  # right or wrong: never near
        {"task": "mail", "metric": "marks", "candidate": "r16", "better_than": "base"},
    ]
    evaluate_run(run, GatePolicy.model_validate({"gate": "g", "rules": rules}))
    assert wanted(run) == {f"m{i}": 4 for i in (4, 5, 6, 7, 8)}  # 2.0 to 4.0


@pytest.mark.parametrize("seed", [0, 1])
def test_what_matters_is_shown_more_often_and_counts_for_less(
    mail_run: Any, export: Any, single: Any, seed: int
) -> None:
    run = mail_run(n=40)
    right = {"base": lambda i: 1.0, "r16": lambda i: float(i >= 8)}
    write_scores(run, "exact_match", right)
    export(run, "csv", single, samples=20, pick="matters", seed=seed)
    (made,) = read_exports(run.path / "human").values()
    weights = {row.id: row.weight for row in made.rows.values()}
    assert len(weights) == 20
    # 8 · 4 + 32 · 1 = 64: chances 4 · 20/64 > 1 become 1, and 12 of the other 32 are drawn
    assert {id_: weights[id_] for id_ in IDS[:8]} == dict.fromkeys(IDS[:8], 1.0)
    assert [weights[id_] for id_ in weights if id_ not in IDS[:8]] == pytest.approx([32 / 12] * 12)
    assert (
        json.loads((run.path / "human" / made.export / "export.json").read_text())["settings"]["pick"]
        == "matters"
    )
