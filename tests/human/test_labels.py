"""Labels used: scores with weights, agreement, raters, gates, rankings, preferences."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from evalkit.api import import_labels as import_and_report
from evalkit.errors import DataError
from evalkit.gates.evaluate import evaluate_run
from evalkit.human.records import Label, label_from_json, read_labels
from evalkit.human.scores import sample_scores, series_result
from evalkit.running.labels import apply_labels, to_preferences
from evalkit.specs.gate import GatePolicy


def fill(path: Path, answers: Callable[[dict[str, str]], dict[str, str]]) -> Path:
    """Answer every line of a CSV: ``answers`` gets its cells by column, returns question → answer."""
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    heads = [head.partition(":")[0] for head in rows[0]]
    for row in rows[1:]:
        for question, said in answers(dict(zip(heads, row, strict=True))).items():
            row[heads.index(question)] = said
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def of(run: Any, metric: str, candidate: str) -> dict[str, Any]:
    rows = run.results()["scores"]
    return next(row for row in rows if (row["metric"], row["candidate"]) == (metric, candidate))


def plain(name: str, i: int) -> str:
    return f"{'good' if name == 'r16' else 'weak'} {i}"


def test_labels_become_scores_comparisons_and_the_report(mail_run, export, single) -> None:
    run = mail_run(text=plain)
    path = fill(
        export(run, "csv", single).files[0],
        lambda row: {"coherence": "5" if "good" in row["answer"] else "2", "safe": "yes", "fault": "none"},
    )
    import_and_report(run.path, [path])
    assert (of(run, "human:coherence", "r16")["value"], of(run, "human:coherence", "base")["value"]) == (5, 2)
    (row,) = [one for one in run.results()["comparisons"] if one["metric"] == "human:coherence"]
    assert (row["candidate"], row["control"], row["difference"], row["n"]) == ("r16", "base", 3, 12)
    assert row["p_value"] == pytest.approx(2 / 2**12)  # every one of 12 differences has one sign
    assert len(row["gained"]) == 12
    assert of(run, "human:fault", "base")["value"] == 1.0
    assert {row["scores"]["human:coherence"] for row in run.samples("r16", "mail")} == {5.0}
    page = (run.path / "report.html").read_text("utf-8")
    assert '<h2 id="h-people">People</h2>' in page
    assert "human:coherence" in page


def test_weights_are_honoured_in_results_and_gate(mail_run, export, take, single) -> None:
    """Hájek's estimate by hand: samples that were likelier to be shown count for less."""
    run = mail_run(n=40, text=plain)
    rows = list(run.samples("r16", "mail"))
    for row in rows:
        row["scores"]["exact_match"] = float(int(row["id"][1:]) < 10)  # on these ten the candidates differ
    run.write_samples("r16", "mail", rows)
    base = [row | {"scores": {"exact_match": 0.0}, "output": f"weak {row['id'][1:]}"} for row in rows]
    run.write_samples("base", "mail", base)
    path = export(run, "csv", single, samples=12, pick="matters", seed=1).files[0]

    def answer(row: dict[str, str]) -> dict[str, str]:
        kind, number = row["answer"].split()
        return {"coherence": "2" if kind == "weak" else "5" if int(number) < 10 else "3"}

    take(run, fill(path, answer))
    labels = [one for one in read_labels(run.path / "human" / "labels.jsonl") if one.candidate == "r16"]
    assert len({label.weight for label in labels}) == 2
    value = sum(one.weight * one.label for one in labels) / sum(one.weight for one in labels)
    assert value != pytest.approx(sum(one.label for one in labels) / len(labels), abs=0.1)
    score = of(run, "human:coherence", "r16")
    assert score["value"] == pytest.approx(value, abs=1e-12)
    rules = [
        {"task": "mail", "metric": "human:coherence", "candidate": "r16", "better_than": "base", "by": 0.5},
        {"task": "mail", "metric": "human:coherence", "candidate": "r16", "at_least": 2.5},
    ]
    paired, alone = evaluate_run(run, GatePolicy.model_validate({"gate": "people", "rules": rules})).rules
    assert (paired.verdict, paired.difference) == ("pass", pytest.approx(value - 2))
    assert (alone.value, alone.low, alone.high) == pytest.approx((value, score["low"], score["high"]))


def test_a_gate_says_what_the_results_say(mail_run, export, take, single) -> None:
    run = mail_run(text=plain)
    said = {"good": list("345543544524"), "weak": list("233441243332")}
    made = export(run, "csv", single)
    take(run, fill(made.files[0], lambda row: {"coherence": said[row["answer"][:4]][int(row["answer"][5:])]}))
    rules = [
        {"task": "mail", "metric": "human:coherence", "candidate": "r16", "better_than": "base"},
        {"task": "mail", "metric": "human:coherence", "candidate": "r16", "at_least": 3.0},
    ]
    paired, value = evaluate_run(run, GatePolicy.model_validate({"gate": "people", "rules": rules})).rules
    (row,) = [one for one in run.results()["comparisons"] if one["metric"] == "human:coherence"]
    assert (paired.difference, paired.low, paired.high) == pytest.approx(
        tuple(row[k] for k in ("difference", "low", "high"))
    )
    score = of(run, "human:coherence", "r16")
    assert (value.value, value.low, value.high) == pytest.approx(
        (score["value"], score["low"], score["high"])
    )


def test_agreement_is_krippendorffs_and_raters_are_described(mail_run, export, take, single) -> None:
    run = mail_run(text=plain, n=20)
    made = export(run, "csv", single, raters=2, overlap=1.0, checks=2, repeats=0.1)
    said: dict[str, dict[str, int]] = {"rater-1": {}, "rater-2": {}}

    def answer(row: dict[str, str]) -> dict[str, str]:
        number = sum(map(ord, row["answer"]))
        harsh = row["rater"] == "rater-2"
        score = 2 + number % 3 - (harsh and number % 4 == 0)
        if "check" not in row["answer"]:
            said[row["rater"]][row["answer"]] = score
        return {"coherence": str(score)}

    take(run, *[fill(path, answer) for path in made.files])
    human = run.results()["human"]
    (question,) = human["questions"]
    table = np.array(
        [[said[rater][text] for text in sorted(said["rater-1"])] for rater in sorted(said)], dtype=float
    )
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")  # krippendorff 0.8
    assert question["alpha"]["value"] == pytest.approx(expected, abs=1e-9)
    assert question["cohen"]["value"] == pytest.approx(cohen_kappa_score(*table), abs=1e-9)  # scikit-learn
    counts, _ = aggregate_raters(table.T)
    assert question["fleiss"]["value"] == pytest.approx(fleiss_kappa(counts), abs=1e-9)  # statsmodels
    assert question["cohen"]["low"] < question["cohen"]["value"] < question["cohen"]["high"]
    assert question["agreed"] == pytest.approx(float((table[0] == table[1]).mean()))
    first, second = human["raters"]
    assert first["bias"] == pytest.approx(float((table[0] - table[1]).mean()) / 4)
    assert second["bias"] == pytest.approx(-first["bias"])
    (mixed,) = human["mixed"]
    (row,) = [one for one in run.results()["comparisons"] if one["metric"] == "human:coherence"]
    assert mixed["differences"][0]["difference"] == pytest.approx(row["difference"])  # balanced: parts cancel
    assert (first["checks"], first["repeated"], first["repeats"]) == (2, 1.0, 4)


def test_a_failed_attention_check_shows(mail_run, export, take, single) -> None:
    run = mail_run(text=plain)
    made = export(run, "csv", single, checks=3)
    asked = [
        row
        for row in csv.reader(io.StringIO(made.files[0].read_text("utf-8-sig"), newline=""))
        if "check" in row[4]
    ]
    assert len(asked) == 3

    def obey(row: dict[str, str]) -> dict[str, str]:
        if "check" not in row["answer"]:
            return {"coherence": "3"}
        wanted = row["answer"].split("coherence: ")[1].split(";")[0].rstrip(".")
        return {"coherence": wanted if row["item"] != asked[0][0] else str(int(wanted) % 5 + 1)}

    take(run, fill(made.files[0], obey))
    (rater,) = run.results()["human"]["raters"]
    assert (rater["checks"], rater["passed"]) == (3, 2)
    assert all(
        label.label == 3 for label in read_labels(run.path / "human" / "labels.jsonl")
    )  # checks are no labels


def test_pairs_are_ranked_and_become_preferences(mail_run, export, take, paired, tmp_path) -> None:
    run = mail_run(n=20, text=plain)
    made = export(run, "csv", paired)

    def answer(row: dict[str, str]) -> dict[str, str]:
        number = int(row["answer A"].split()[1])
        if number >= 16:
            return {"better": "tie" if number < 18 else "both bad"}
        good = "A" if "good" in row["answer A"] else "B"
        return {"better": good if number >= 4 else {"A": "B", "B": "A"}[good]}

    take(run, fill(made.files[0], answer))
    assert of(run, "human:better", "r16")["value"] == pytest.approx((12 + 4 * 0.5) / 20)
    ranking = run.results()["human"]["rankings"]["better"]
    assert [(row["candidate"], row["wins"], row["ties"], row["losses"]) for row in ranking["candidates"]] == [
        ("r16", 12, 4, 4),
        ("base", 4, 4, 12),
    ]
    assert ranking["notes"] == []
    rows = to_preferences(run.path)
    assert len(rows) == 16
    assert sum(row["chosen"].startswith("good") for row in rows) == 12
    assert rows[0]["messages"][0]["role"] == "user"
    assert {row["source"] for row in rows} == {"human:better"}


def test_ratings_become_preferences_where_they_differ_by_a_step(mail_run, export, take, single) -> None:
    run = mail_run(n=4, text=plain)
    scores = {"good": "5345", "weak": "4352"}
    made = export(run, "csv", single)
    take(
        run, fill(made.files[0], lambda row: {"coherence": scores[row["answer"][:4]][int(row["answer"][5:])]})
    )
    assert sorted((row["id"], row["chosen"]) for row in to_preferences(run.path, "coherence")) == [
        ("mail/m0", "good 0"),
        ("mail/m2", "weak 2"),
        ("mail/m3", "good 3"),
    ]


def test_labels_of_answers_that_have_changed_are_left_out(mail_run, export, take, single) -> None:
    run = mail_run(text=plain)
    take(run, fill(export(run, "csv", single).files[0], lambda row: {"coherence": "4"}))
    rows = list(run.samples("r16", "mail"))
    rows[0]["output"] = "another answer"
    run.write_samples("r16", "mail", rows)
    assert apply_labels(run) == ["1 label is left out: the answer it is about has changed since."]
    assert of(run, "human:coherence", "r16")["n"] == 11


def test_people_who_disagree_are_listed(mail_run, export, take, single) -> None:
    run = mail_run(text=plain, names=("base",), n=6)
    made = export(run, "csv", single, raters=2, overlap=1.0)
    for path, said in zip(made.files, ("5", "4"), strict=True):
        fill(
            path,
            lambda row, said=said: {"coherence": "1" if said == "4" and row["answer"] == "weak 3" else said},
        )
    take(run, *made.files)
    rows = [json.loads(line) for line in (run.path / "human" / "adjudication.jsonl").read_text().splitlines()]
    assert [(row["id"], row["spread"], row["labels"]) for row in rows] == [
        ("m3", 1.0, {"rater-1": 5, "rater-2": 1})
    ]


def test_a_series_by_hand(single) -> None:
    labels = [Label("r16", "mail", str(i), "safe", "ann", i < 8) for i in range(10)]
    (series,) = sample_scores(labels, single.questions)
    row = series_result(series, {})
    # Wilson 1927 for 8 of 10, as statsmodels 0.14 proportion_confint(8, 10, method="wilson").
    assert (row["value"], round(row["low"], 4), round(row["high"], 4)) == (0.8, 0.4902, 0.9433)
    assert row["metric"] == "human:safe"


def test_a_line_that_is_no_label_is_named(tmp_path) -> None:
    path = tmp_path / "labels.jsonl"
    row = Label("r16", "mail", "1", "safe", "ann", True).to_json()
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "weight": 0}) + "\n")
    with pytest.raises(DataError, match=r"labels.jsonl:2: expected a weight above 0, got 0"):
        read_labels(path)
    assert label_from_json(row, "here") == Label("r16", "mail", "1", "safe", "ann", True)


def test_the_commands(mail_run, evalkit_command, tmp_path) -> None:
    run = mail_run(text=plain)
    made = evalkit_command("human", "export", run.path, "--format", "csv", "--out", "sheets", check=True)
    (path,) = [tmp_path / line for line in made.stdout.split()]
    fill(path, lambda row: {"quality": "4" if "good" in row["answer"] else "3"})
    done = evalkit_command("human", "import", run.path, path, check=True)
    assert done.stdout.strip() == str(run.path / "report.html")
    assert "24 new labels, 0 changed, 0 known already" in done.stderr
    evalkit_command("human", "to-preferences", run.path, "-o", "prefs.jsonl", check=True)
    assert len((tmp_path / "prefs.jsonl").read_text().splitlines()) == 12
    path.write_text("nothing\n", "utf-8")
    wrong = evalkit_command("human", "import", run.path, path)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
