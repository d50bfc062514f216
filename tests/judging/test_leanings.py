"""What sways a judge, measured in whole runs and printed beside its numbers; recorded verdicts that do not count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.errors import DataError, SpecError
from evalkit.judging.cases import Case
from evalkit.judging.records import read_judgements
from evalkit.judging.repeats import drawn_again
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.running.judge_costs import describe_judges

SCORE = '{{"reason": "", "score": {}}}'


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Path]:
    """Two replayed candidates on 60 questions take turns: one answers shortly, the other at twice the length."""
    task = tmp_path / "tasks" / "say"
    task.mkdir(parents=True)
    (task / "task.yaml").write_text(
        "task: say\ndata: {test: rows.jsonl}\nprompt: prompt.j2\ntarget: a\nmetrics: [exact_match]\n"
    )
    (task / "prompt.j2").write_text("Say {{ a }}.")
    (task / "rows.jsonl").write_text("".join(json.dumps({"a": f"word {i}"}) + "\n" for i in range(60)))
    texts = "It is word {}, as asked.", "**It** is word {}, as asked, and no other word."
    for place, name in enumerate(("one", "two")):
        rows = [
            {"task": "say", "id": str(i + 1), "output": texts[(place + i) % 2].format(i)} for i in range(60)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(rest: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(
            "study: sways\ncandidates:\n  - {name: one, kind: replay, path: one.jsonl}\n"
            "  - {name: two, kind: replay, path: two.jsonl}\ntasks: [say]\n" + rest
        )
        return path

    return write


def the_answer(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"]).split("<<<ANSWER ")[1].split(">>>\n")[1].split("\n")[0]


def bias_of(run: Any, name: str) -> dict[str, Any]:
    return next(dict(entry["bias"]) for entry in run.results["judges"] if entry["name"] == name)


def test_a_judge_that_changes_its_mind_is_found_out(
    study: Callable[[str], Path], evalkit_command: Any
) -> None:
    seen: Counter[str] = Counter()

    def moody(body: dict[str, Any]) -> str:
        """A point more for the longer answer; every third answer gets another score the second time."""
        answer = the_answer(body)
        seen[answer] += 1
        number = int(answer.split("word ")[1].split(",")[0])
        return SCORE.format(2 + ("other" in answer) + (seen[answer] == 2 and number % 3 == 0))

    with FakeServer(moody) as server:
        model = f"{{model: j, base_url: {server.base_url}, concurrency: 1}}"  # one after the other
        path = study(f"judges: [{{judge: helpfulness, repeat: 0.5, model: {model}}}]\n")
        assert describe_judges(evalkit.plan(path))[0]["calls"] == 120 + 60
        run = evalkit.run(path)
        assert len(server.calls) == 120 + 60
        assert evalkit.run(path).results == run.results
        assert len(server.calls) == 120 + 60  # settled questions are not asked again, repetitions neither
    rows = read_judgements(run.path / "judgements" / "helpfulness.jsonl")
    again = [row for row in rows if row.repeats]
    assert len(again) == 60
    same = sum(row.repeats[0][0] == row.repeats[0][1] for row in again)
    assert same == sum((int(row.id) - 1) % 3 != 0 for row in again)
    assert {row.calls for row in again} == {2}
    # the number is of the first asking alone
    assert {row["candidate"]: row["value"] for row in run.results["scores"] if "judge" in row["metric"]} == {
        "one": 2.5,
        "two": 2.5,
    }
    bias = bias_of(run, "helpfulness")
    assert bias["repeats"]["value"] == pytest.approx(same / 60)
    # a point for 0.97 to 1 doublings of the length
    assert 0.95 < bias["length_slope"]["value"] < 1.05
    assert bias["kinship"].startswith("not measured: its family is not known")
    told = f"length {bias['length_slope']['value']:+.2f}, "
    ending = f"repeats {same / 60:.2f})"
    page = run.report.read_text("utf-8")
    assert page.count(f'<a class="leaning" href="#judges">{told}') >= 1
    assert f"{same / 60:.2f}" in page
    done = evalkit_command("compare", run.path, check=True)
    lines = [line for line in done.stderr.splitlines() if "judge:helpfulness" in line]
    assert len(lines) == 3  # both candidates, and the remark on the judge
    for line in lines[:2]:
        assert f"| uncalibrated judge ({told}" in line
        assert line.endswith(ending)
    assert "of its verdicts were the same when it was asked again" in lines[2]
    assert "UNCALIBRATED" in lines[2]


def test_votes_are_repetitions_already(study: Callable[[str], Path], tmp_path: Path) -> None:
    own = tmp_path / "judges" / "votes"
    own.mkdir(parents=True)
    (own / "judge.yaml").write_text("judge: votes\nkind: pointwise\nvotes: 3\ntemperature: 1\n")
    (own / "prompt.j2").write_text("{{ output }}")
    path = study(f"judges: [{{judge: votes, model: {{echo: '{SCORE.format(4)}'}}}}]\n")
    run = evalkit.run(path, limit=5)
    rows = read_judgements(run.path / "judgements" / "votes.jsonl")
    assert {row.repeats for row in rows} == {((4, 4, 4),)}
    assert {row.calls for row in rows} == {3}
    assert bias_of(run, "votes")["repeats"]["value"] == 1.0
    path = study(f"judges: [{{judge: helpfulness, repeat: 0, model: {{echo: '{SCORE.format(4)}'}}}}]\n")
    assert "repeats" not in bias_of(evalkit.run(path, limit=5), "helpfulness")


def test_the_draw_is_of_the_answers() -> None:
    cases = [Case("r", "t", str(i), "", "") for i in range(400)]
    drawn = drawn_again(cases, 0.05, seed=1)
    assert len(drawn) == 20
    assert {cases[place].id for place in drawn} == {
        cases[::-1][place].id for place in drawn_again(cases[::-1], 0.05, seed=1)
    }
    assert drawn != drawn_again(cases, 0.05, seed=2)
    assert len(drawn_again(cases[:4], 0.05, seed=1)) == 4


def test_a_jury_shows_who_favours_its_own(study: Callable[[str], Path], tmp_path: Path) -> None:
    """A llama judge gives its own family a point more; a qwen judge tells the truth."""
    study("")

    def answers(body: dict[str, Any]) -> str:
        number = int(body["messages"][-1]["content"].split()[-1].rstrip("."))
        return f"{body['model']} says {number}"

    def judges(body: dict[str, Any]) -> str:
        answer = the_answer(body)
        fair = 2 + int(answer.split()[-1]) % 3
        return SCORE.format(fair + ("llama" in body["model"] and "llama" in answer))

    with FakeServer(answers) as candidates, FakeServer(judges) as server:
        path = tmp_path / "kin.yaml"
        each = [
            f"{{name: {name}, kind: api, model: {name}-8b, base_url: {candidates.base_url}}}"
            for name in ("llama", "qwen")
        ]
        jury = [f"{{model: {name}-70b, base_url: {server.base_url}}}" for name in ("llama", "qwen")]
        path.write_text(
            f"study: kin\ncandidates: [{', '.join(each)}]\ncontrol: qwen\ntasks: [say]\njudges:\n"
            f"  - {{judge: helpfulness, models: [{', '.join(jury)}]}}\n"
            f"  - {{judge: helpfulness, name: alone, model: {jury[0]}}}\n"
            f"  - {{judge: coherence, model: {jury[0]}}}\n"
        )
        run = evalkit.run(path)
    members = bias_of(run, "helpfulness")["members"]
    assert members["helpfulness@llama-70b"]["own_family"]["value"] == pytest.approx(1.0)
    assert members["helpfulness@llama-70b"]["kinship"] == "measured against helpfulness@qwen-70b"
    assert members["helpfulness@llama-70b"]["repeats"]["value"] == 1.0
    # the same numbers seen from the other side: it is the llama judge that is not fair, and a third would tell
    assert members["helpfulness@qwen-70b"]["own_family"]["value"] == pytest.approx(1.0)
    assert bias_of(run, "alone")["own_family"]["value"] == pytest.approx(1.0)
    # nobody else judged coherence
    assert "neither people nor a judge of another family" in bias_of(run, "coherence")["kinship"]
    page = run.report.read_text("utf-8")
    assert "llama-70b: own family +1.00" in page


def test_pairs_show_it_too(study: Callable[[str], Path], tmp_path: Path) -> None:
    from evalkit.judging.kinship import self_preference
    from evalkit.judging.records import Judgement

    rows = [
        Judgement(name, "t", str(i), winner="tie", value=value, opponent=other)
        for i in range(40)
        for name, other, value in (("kin", "base", 0.75), ("third", "kin", 0.25), ("third", "base", 0.9))
    ]
    people = {(row.candidate, row.task, row.id): 0.5 for row in rows}
    found = self_preference(rows, {"kin"}, people)
    assert found is not None
    assert found.value == pytest.approx(
        0.25
    )  # pairs without kin do not count; 'third' loses what 'kin' gains
    assert self_preference(rows, {"kin", "base", "third"}, people) is None


def test_several_runs_keep_their_judges_apart(study: Callable[[str], Path]) -> None:
    four = f"{{echo: '{SCORE.format(4)}'}}"
    one = evalkit.run(study(f"judges: [{{judge: helpfulness, model: {four}}}]\n"), limit=20)
    two = evalkit.run(study(f"seed: 5\njudges: [{{judge: helpfulness, model: {four}}}]\n"), limit=20)
    labels = one.path / "labels.csv"
    lines = [f"{who},say,{i},{3 + i % 3}" for who in ("one", "two") for i in range(1, 21)]
    labels.write_text("\n".join(["candidate,task,id,label", *lines]))
    evalkit.calibrate(one.path, "helpfulness", labels)
    alone = evalkit.results_table(evalkit.compare(one.path))
    assert "| calibrated judge (" in alone
    assert "uncalibrated" not in alone.lower()
    both = evalkit.results_table(evalkit.compare(one.path, two.path))
    assert "| uncalibrated judge (" in both  # not in all of them


def test_recorded_verdicts_count_for_what_they_were_given_on(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    own = tmp_path / "judges" / "mine"
    own.mkdir(parents=True)
    (own / "judge.yaml").write_text("judge: mine\nkind: pointwise\n")
    (own / "prompt.j2").write_text("{{ output }}")
    with FakeServer(lambda body: SCORE.format(4)) as server:
        model = f"{{model: llama-j, base_url: {server.base_url}}}"
        run = evalkit.run(
            study(
                f"prices: {{llama-j: {{input: 9, output: 9}}}}\njudges: [{{judge: mine, model: {model}}}]\n"
            )
        )
    file = tmp_path / "verdicts.jsonl"
    file.write_text((run.path / "judgements" / "mine.jsonl").read_text())
    asked = study("judges: [{judge: mine, model: {replay: verdicts.jsonl}}]\n")
    assert describe_judges(evalkit.plan(asked))[0]["calls"] == 0
    again = evalkit.run(asked)
    (entry,) = again.results["judges"]
    # who judged is known, with its family and its repetitions; nothing was spent here
    assert (entry["models"], entry["recorded"], entry["unscored"]) == (["llama-j"], True, 0)
    assert (entry["calls"], entry["money"]) == (0, None)
    assert entry["bias"]["family"] == "llama"
    assert entry["bias"]["repeats"]["value"] == 1.0
    signatures = {
        row["signature"] for r in (run, again) for row in r.results["scores"] if row["metric"] == "judge:mine"
    }
    assert len(signatures) == 1

    answers = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text().splitlines()]
    answers[0]["output"] += "!"
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    changed = evalkit.run(asked)
    (row,) = [row for row in read_judgements(changed.path / "judgements" / "mine.jsonl") if row.unscored]
    assert (row.candidate, row.id) == ("two", "1")
    assert row.unscored == "verdicts.jsonl has verdicts on other answers to this sample, none on this one"
    assert (
        "gave 119 verdicts, 1 are unscored (nobody recorded one on that very answer)"
        in changed.report.read_text("utf-8")
    )

    (own / "prompt.j2").write_text("Rate this: {{ output }}")
    other = evalkit.run(asked)
    reasons = {row.unscored for row in read_judgements(other.path / "judgements" / "mine.jsonl")}
    assert len(reasons) == 2
    assert any(reason and "holds a verdict of mine@1-" in reason for reason in reasons)


def test_a_file_of_another_kind_of_judge_is_refused(study: Callable[[str], Path], tmp_path: Path) -> None:
    tie = '{"reason": "", "winner": "tie"}'
    run = evalkit.run(study(f"judges: [{{judge: pairwise-preference, model: {{echo: '{tie}'}}}}]\n"), limit=3)
    file = run.path / "judgements" / "pairwise-preference.jsonl"
    with pytest.raises((SpecError, DataError), match="which is pointwise; got pairwise ones"):
        evalkit.run(study(f"judges: [{{judge: helpfulness, model: {{replay: {file}}}}}]\n"), limit=3)
    with pytest.raises((SpecError, DataError), match="no such file"):
        evalkit.plan(study("judges: [{judge: helpfulness, model: {replay: nowhere.jsonl}}]\n"))


def test_a_recorded_judge_may_be_the_model_under_test_only_in_so_many_words(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    study("")
    row = {"candidate": "own", "task": "say", "id": "1", "score": 4, "model": "m"}
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(row) + "\n")
    path = tmp_path / "own.yaml"
    for more in ("", ", under_test: true"):
        path.write_text(
            "study: s\ntasks: [say]\n"
            "candidates: [{name: own, kind: api, model: m, base_url: 'http://127.0.0.1:9/v1'}]\n"
            f"judges: [{{judge: helpfulness, model: {{replay: verdicts.jsonl{more}}}}}]\n"
        )
        if more:
            evalkit.plan(path)
        else:
            with pytest.raises(SpecError, match="favours its own words"):
                evalkit.plan(path)


def test_a_death_among_repairs_loses_what_is_open_alone(study: Callable[[str], Path]) -> None:
    """Every first reply is unreadable; the server ends after 61 calls, so 30 questions are settled."""

    def mends(body: dict[str, Any]) -> Reply | str:
        if len(dying.calls) > 61:
            return Reply(status=401)
        return "well" if len(body["messages"]) == 1 else SCORE.format(4)

    with FakeServer(mends) as dying:
        model = f"{{model: j, base_url: {dying.base_url}, concurrency: 1}}"
        path = study(f"judges: [{{judge: helpfulness, repeat: 0, model: {model}}}]\n")
        run = evalkit.run(path)
    rows = read_judgements(run.path / "judgements" / "helpfulness.jsonl")
    settled = [row for row in rows if row.value is not None]
    assert run.exit_code == 4
    assert len(settled) == 30
    with FakeServer(lambda body: SCORE.format(4), port=dying.port) as alive:
        assert evalkit.run(path).exit_code == 0
        assert len(alive.calls) == 120 - 30


def test_pairwise_verdicts_rank_the_candidates(study: Callable[[str], Path], tmp_path: Path) -> None:
    """``one`` and ``two`` beat ``mute``, the control, in 3 of 4 and 1 of 4 samples, whichever is shown first."""
    rows = [{"task": "say", "id": str(i + 1), "output": f"nothing {i}"} for i in range(60)]
    (tmp_path / "mute.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def wins(body: dict[str, Any]) -> str:
        text = str(body["messages"][0]["content"])
        shown = [text.split(f"<<<ANSWER {name} ")[1].split(">>>\n")[1].split("\n")[0] for name in "AB"]
        place, said = next((place, answer) for place, answer in enumerate(shown) if "nothing" not in answer)
        number, other = int(said.split("word ")[1].split(",")[0]), "other" in said
        mine = (
            number % 4 != 0 if other == bool(number % 2) else number % 4 == 0
        )  # ``one`` is long on odd rows
        return json.dumps({"reason": "", "winner": "AB"[place if mine else 1 - place]})

    with FakeServer(wins) as server:
        path = study(
            f"judges: [{{judge: pairwise-preference, model: {{model: j, base_url: {server.base_url}}}}}]\n"
        )
        text = path.read_text().replace(
            "tasks:", "  - {name: mute, kind: replay, path: mute.jsonl}\ncontrol: mute\ntasks:"
        )
        path.write_text(text)
        run = evalkit.run(path)
    (entry,) = run.results["judges"]
    found = {row["candidate"]: row for row in entry["ranking"]["candidates"]}
    assert [row["candidate"] for row in entry["ranking"]["candidates"]] == ["one", "mute", "two"]
    assert found["one"]["wins"] == 2 * 45
    # a star of games: each is ln 3 from the control, the one above it and the other below
    assert found["one"]["strength"] - found["mute"]["strength"] == pytest.approx(1.0986, abs=0.01)
    assert found["one"]["low"] < 1.0986 < found["one"]["high"]
    assert "Ranking by <bdi>pairwise-preference</bdi>" in run.report.read_text("utf-8")


def test_a_jury_weighted_by_calibration(study: Callable[[str], Path], tmp_path: Path) -> None:
    """``good`` says what people say; ``bad`` says the opposite. Without people there is no number."""

    def says(body: dict[str, Any]) -> str:
        fair = 1 + int(the_answer(body).split("word ")[1].split(",")[0]) % 5
        return SCORE.format(fair if body["model"] == "good" else 6 - fair)

    labels = tmp_path / "labels.csv"
    lines = [f"{who},say,{i + 1},{1 + i % 5}" for who in ("one", "two") for i in range(60)]
    labels.write_text("\n".join(["candidate,task,id,label", *lines]))
    with FakeServer(says) as server:
        jury = [f"{{model: {name}, base_url: {server.base_url}}}" for name in ("good", "bad")]
        path = study(
            f"judges: [{{judge: helpfulness, name: jury, models: [{', '.join(jury)}], aggregate: weighted, "
            "weights: calibration}]\n"
        )
        run = evalkit.run(path)
        assert run.exit_code == 4
        assert "evalkit calibrate" in run.failed["judge jury"]
        assert "not known of jury@good, jury@bad" in run.failed["judge jury"]
        assert all(row["value"] is None for row in run.results["scores"] if row["metric"] == "judge:jury")
        for name in ("good", "bad"):
            evalkit.calibrate(run.path, f"jury@{name}", labels)
        calls = len(server.calls)
        run = evalkit.run(path)
        assert len(server.calls) == calls
    assert run.exit_code == 0
    (entry,) = run.results["judges"]
    assert entry["weights"] == {"good": 1.0, "bad": 0.0}
    rows = read_judgements(run.path / "judgements" / "jury.jsonl")
    assert [row.value for row in rows[:6]] == [1, 2, 3, 4, 5, 1]
    assert "|jury:weighted:1+0|" in run.results["scores"][-1]["signature"]


def test_each_criterion_is_calibrated_on_its_own(study: Callable[[str], Path]) -> None:
    run = evalkit.run(study(f"judges: [{{judge: tone, model: {{echo: '{SCORE.format(4)}'}}}}]\n"), limit=20)
    labels = run.path / "labels.csv"
    lines = [f"{who},say,{i},{3 + i % 3}" for who in ("one", "two") for i in range(1, 21)]
    labels.write_text("\n".join(["candidate,task,id,label", *lines]))
    metrics = ("judge:tone", "judge:tone.warmth", "judge:tone.respect")
    for number, wanted in (("tone.warmth", [False, True, False]), ("tone", [True, True, False])):
        evalkit.calibrate(run.path, number, labels)
        told = [evalkit.trust_in(metric, run.results) for metric in metrics]
        assert told == ["calibrated judge" if done else "uncalibrated judge" for done in wanted]


def test_comparisons_by_a_judge_are_corrected_for_their_number(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    """Three candidates against the control are three comparisons, whatever the metrics' own family holds."""

    def says(body: dict[str, Any]) -> str:
        return SCORE.format(2 + ("other" in the_answer(body)))

    with FakeServer(says) as server:
        path = study(f"judges: [{{judge: tone, model: {{model: j, base_url: {server.base_url}}}}}]\n")
        more = "".join(f"  - {{name: {name}, kind: replay, path: two.jsonl}}\n" for name in ("three", "four"))
        path.write_text(path.read_text().replace("tasks:", f"{more}tasks:"))
        run = evalkit.run(path)
    rows = [row for row in run.results["comparisons"] if row["metric"] == "judge:tone"]
    assert [row["candidate"] for row in rows] == ["two", "three", "four"]
    for row in rows:
        assert row["p_adjusted"] == pytest.approx(min(1.0, 3 * row["p_value"]))
        assert row["low_adjusted"] < row["low"]
    criteria = [row for row in run.results["comparisons"] if row["metric"].startswith("judge:tone.")]
    assert {row["p_adjusted"] for row in criteria} == {None}


def test_a_gate_says_whose_number_it_goes_by(study: Callable[[str], Path], tmp_path: Path) -> None:
    run = evalkit.run(
        study(f"judges: [{{judge: helpfulness, model: {{echo: '{SCORE.format(4)}'}}}}]\n"), limit=20
    )
    policy = tmp_path / "gate.yaml"
    rule = "{{task: say, metric: '{}', at_least: 0}}"
    rules = ", ".join(rule.format(metric) for metric in ("judge:helpfulness", "exact_match"))
    policy.write_text(f"gate: g\ncandidate: two\nrules: [{rules}]\n")
    reasons = [found.reason for found in evalkit.gate(run.path, policy).rules]
    assert [reason.endswith("The number is an uncalibrated judge's.") for reason in reasons] == [True, False]
    labels = tmp_path / "labels.csv"
    lines = [f"{who},say,{i},{3 + i % 3}" for who in ("one", "two") for i in range(1, 21)]
    labels.write_text("\n".join(["candidate,task,id,label", *lines]))
    evalkit.calibrate(run.path, "helpfulness", labels)
    assert "uncalibrated" not in evalkit.gate(run.path, policy).rules[0].reason
