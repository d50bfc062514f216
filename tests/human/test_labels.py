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
from evalkit.human.key import Export, KeyRow
from evalkit.human.layer import question_rows
from evalkit.human.questions import Question, QuestionsSpec
from evalkit.human.records import Label, label_from_json, read_labels
from evalkit.human.sampling import choose
from evalkit.human.scores import sample_scores, series_result
from evalkit.human.weights import weigh
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


def test_remarks_and_answers_that_are_all_alike_stand_in_the_report(mail_run, export, single) -> None:
    run = mail_run(text=plain)
    made = export(run, "csv", single, raters=2, overlap=1.0)
    files = [
        fill(path, lambda row: {"coherence": "4", "remark": "Fine.", "safe": "no"}) for path in made.files
    ]
    import_and_report(run.path, files)
    page = (run.path / "report.html").read_text("utf-8").split('id="people"')[1]
    assert "free text" in page
    assert "How strict each rater is" in page
    assert "all said the same" in page  # no agreement beyond chance can be had, though items are in common
    assert "no items in common" not in page


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
    gap = float((table[0] - table[1]).mean())
    assert [rater["bias"] for rater in mixed["raters"]] == pytest.approx([gap / 2, -gap / 2])
    assert mixed["raters"][0]["low"] < gap / 2 < mixed["raters"][0]["high"]
    assert (first["checks"], first["repeated"], first["repeats"]) == (2, 1.0, 4)


def test_answers_to_one_sample_are_no_independent_items() -> None:
    """Four candidates with the same labels: as much as is known from one, not four times as much."""
    rng = np.random.default_rng(2)
    asked = [Question(name="safe", ask="Safe?", kind="yes_no")]
    truth = rng.random(40) < 0.5
    said = {who: np.where(rng.random(40) < 0.8, truth, ~truth) for who in ("ann", "ben")}

    def widths(names: str) -> list[float]:
        labels = [
            Label(name, "t", str(i), "safe", who, bool(said[who][i]), item=f"{name}{i}{who}")
            for name in names
            for who in said
            for i in range(40)
        ]
        (row,) = question_rows(labels, asked)
        assert row["shared"] == 40 * len(names)
        return [row[name]["high"] - row[name]["low"] for name in ("alpha", "fleiss", "cohen")]

    assert widths("abcd") == pytest.approx(widths("a"), rel=0.05)


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


def test_half_the_pairs_say_what_all_would(mail_run, export, take, paired) -> None:
    """Ties that nobody was asked about count in proportion to what came back."""
    run = mail_run(n=40, text=lambda name, i: plain(name, i) if i < 20 else "the same")
    path = export(run, "csv", paired).files[0]
    take(run, fill(path, lambda row: {"better": "A" if "good" in row["answer A"] else "B"}))
    whole = of(run, "human:better", "r16")
    assert (whole["value"], whole["n"]) == (0.75, 40)
    labels = run.path / "human" / "labels.jsonl"
    labels.write_text("\n".join(labels.read_text().splitlines()[:5]) + "\n")
    apply_labels(run)
    part = of(run, "human:better", "r16")
    assert part["value"] == pytest.approx(0.75, abs=1e-12)
    ranking = run.results()["human"]["rankings"]["better"]["candidates"]
    assert [(row["candidate"], row["wins"], row["ties"]) for row in ranking] == [
        ("r16", 5, 5),
        ("base", 0, 5),
    ]


def test_ties_belong_to_the_questions_of_their_export_and_to_its_tasks(
    mail_run, export, take, paired, tmp_path
) -> None:
    run = mail_run(n=6, text=lambda name, i: plain(name, i) if i < 4 else "the same")
    results = run.results()
    results["tasks"].append({**results["tasks"][0], "name": "other"})
    for name in ("base", "r16"):
        run.write_samples(name, "other", run.samples(name, "mail"))
    run.write_results(results)
    two = QuestionsSpec(questions=[Question(name="kinder", ask="Which is kinder?", kind="pairwise")])
    export(run, "csv", two, seed=3)  # stays out
    both = export(run, "csv", paired).files[0]
    rows = list(csv.reader(io.StringIO(both.read_text("utf-8-sig"), newline="")))

    def first_task_only(row: dict[str, str]) -> dict[str, str]:
        return {"better": "A"} if row["task"] == "mail" else {}

    assert len(rows) == 1 + 8
    take(run, fill(both, first_task_only))
    found = {(row["task"], row["metric"]) for row in run.results()["scores"] if "human:" in row["metric"]}
    assert found == {("mail", "human:better")}


def test_two_exports_of_one_question_give_an_estimate_without_bias() -> None:
    """Simulated: hard samples, preferred by one export, are worse; a random one overlaps with it."""
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.random(60) < 0.2, rng.random(240) < 0.9])
    matters = np.where(np.arange(300) < 60, 4.0, 1.0)
    asked = QuestionsSpec(questions=[Question(name="safe", ask="Safe?", kind="yes_no")])
    weighed, plainly = [], []
    for _ in range(400):
        labels, exports = [], {}
        for name, chosen in [
            ("aaaaaaaa", choose(300, 60, rng, matters=matters)),
            ("bbbbbbbb", choose(300, 45, rng)),
        ]:
            rows = {}
            for one in chosen:
                item = f"{name}-{one.index:03d}-00000000"
                said = bool(truth[one.index])
                rows[item] = KeyRow(item, "ann", "t", str(one.index), (("r16",),), one.weight, "", {})
                label = Label("r16", "t", str(one.index), "safe", "ann", said, weight=one.weight, item=item)
                labels.append(label)
            exports[name] = Export(name, asked, {}, rows)
        for into, own in ((weighed, weigh(labels, exports)[0]), (plainly, labels)):
            (series,) = sample_scores(own, asked.questions)
            into.append(series_mean(series))
    error = np.std(weighed) / len(weighed) ** 0.5
    assert abs(np.mean(weighed) - truth.mean()) < 3.5 * error
    assert abs(np.mean(plainly) - truth.mean()) > 3.5 * error  # the check can fail


def series_mean(series: Any) -> float:
    scores, weights = (np.array(list(one.values())) for one in (series.scores, series.weights))
    return float((scores * weights).sum() / weights.sum())


def test_two_random_exports_count_alike() -> None:
    asked = QuestionsSpec(questions=[Question(name="safe", ask="Safe?", kind="yes_no")])
    rows = {
        item: KeyRow(item, "ann", "t", str(i), (("r16",),), weight, "", {})
        for name, many, weight in (("aaaaaaaa", 4, 2.0), ("bbbbbbbb", 8, 1.0))
        for i in range(many)
        for item in [f"{name}-{i:03d}-00000000"]
    }
    exports = {
        name: Export(name, asked, {}, {item: row for item, row in rows.items() if item[:8] == name})
        for name in ("aaaaaaaa", "bbbbbbbb")
    }
    labels = [
        Label("r16", "t", row.id, "safe", "ann", True, weight=row.weight, item=item)
        for item, row in rows.items()
    ]
    assert {label.weight for label in weigh(labels, exports)[0]} == {1.0}
    alone = [label for label in labels if label.item[:8] == "aaaaaaaa"]
    assert {label.weight for label in weigh(alone, exports)[0]} == {2.0}


def test_answers_of_several_candidates_give_one_preference_and_ratings_serve_without_pairs(
    mail_run, export, take, single, paired
) -> None:
    run = mail_run(names=("base", "r8", "r16"), n=2, text=lambda name, i: plain(name.replace("r8", "r16"), i))
    export(run, "csv", paired)  # nobody fills it in
    path = export(run, "csv", single).files[0]
    take(run, fill(path, lambda row: {"coherence": "5" if "good" in row["answer"] else "2"}))
    rows = to_preferences(run.path)
    assert [(row["id"], row["chosen"], row["rejected"]) for row in rows] == [
        (f"mail/m{i}", f"good {i}", f"weak {i}") for i in range(2)
    ]


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
