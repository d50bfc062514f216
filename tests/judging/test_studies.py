"""Judges and API candidates in whole studies: cache, resume, budget, juries, layers, words, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.cli.checks import check_path
from evalkit.errors import SpecError
from evalkit.judging.records import read_judgements
from evalkit.models.fake_server import FakeServer, Reply
from evalkit.models.selftest import write_tiny_model
from evalkit.running.progress import Silent
from evalkit.specs.study import JudgeModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Path]:
    """A study of two replayed candidates on ten sums; one is always right, one never."""
    task = tmp_path / "tasks" / "sums"
    task.mkdir(parents=True)
    (task / "task.yaml").write_text(
        "task: sums\ndata: {test: rows.jsonl}\nprompt: prompt.j2\ntarget: sum\nmetrics: [exact_match, cost]\n"
    )
    (task / "prompt.j2").write_text("What is {{ a }} + 1?")
    rows = [{"a": i, "sum": str(i + 1)} for i in range(10)]
    (task / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, add in (("right", 1), ("wrong", 50)):
        answers = [{"task": "sums", "id": str(i + 1), "output": str(i + add)} for i in range(10)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))

    def write(rest: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(
            "study: judged\ncandidates:\n  - {name: wrong, kind: replay, path: wrong.jsonl}\n"
            "  - {name: right, kind: replay, path: right.jsonl}\ntasks: [sums]\n" + rest
        )
        return path

    return write


def knows_sums(body: dict[str, Any]) -> str:
    """A judge that can add: 5 for a right sum, 1 for a wrong one; of two answers the right one."""
    text = body["messages"][0]["content"]
    asked = int(text.split("What is ")[1].split(" + 1")[0]) + 1

    def answer(name: str) -> bool:
        return int(text.split(f"<<<{name} ")[1].split(">>>\n")[1].split("\n")[0]) == asked

    if "<<<ANSWER A" in text:
        verdict = {"winner": "A" if answer("ANSWER A") else "B"}
        return json.dumps({"reason": "added", **verdict})
    return json.dumps({"reason": "added", "score": 5 if answer("ANSWER") else 1})


def values(run: Any, metric: str) -> dict[str, float]:
    return {row["candidate"]: row["value"] for row in run.results["scores"] if row["metric"] == metric}


def test_a_judged_study(study: Callable[[str], Path]) -> None:
    with FakeServer(knows_sums) as server:
        model = f"{{model: j, base_url: {server.base_url}}}"
        path = study(
            f"prices: {{j: {{input: 1000, output: 0}}}}\njudges:\n  - {{judge: helpfulness, model: {model}}}\n"
            f"  - {{judge: pairwise-preference, model: {model}}}\n"
        )
        run = evalkit.run(path)
        assert run.exit_code == 0
        assert values(run, "judge:helpfulness") == {"wrong": 1.0, "right": 5.0}
        assert values(run, "judge:pairwise-preference") == {"wrong": 0.5, "right": 1.0}
        compared = {row["metric"]: row for row in run.results["comparisons"]}
        assert compared["judge:helpfulness"]["difference"] == 4.0
        assert compared["judge:pairwise-preference"]["difference"] == 0.5
        # each answer and ten of them again; each pair in both orders, and all ten pairs again
        assert len(server.calls) == 20 + 10 + 2 * (10 + 10)
        assert "json_schema" in server.calls[0]["response_format"]["type"]
        row = next(iter(run.samples("right", "sums")))
        assert row["scores"]["judge:helpfulness"] == 5.0
        rows = read_judgements(run.path / "judgements" / "pairwise-preference.jsonl")
        assert {(row.candidate, row.opponent, row.winner) for row in rows} == {("right", "wrong", "A")}
        assert run.results["costs"]["money"]["judge helpfulness"] > 0
        page = run.report.read_text("utf-8")
        assert "UNCALIBRATED" in page
        assert page.count("uncalibrated judge") >= 2  # beside its numbers, not only in the remarks
        data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
        metrics = {metric["name"]: metric.get("trust") for metric in data["samples"]["tasks"][0]["metrics"]}
        assert metrics["judge:helpfulness"] == "uncalibrated judge"  # and beside those of each sample
        assert metrics["exact_match"] is None
        again = evalkit.run(path)
        assert len(server.calls) == 70
        assert again.results["scores"] == run.results["scores"]


def test_a_server_that_dies_in_the_middle(study: Callable[[str], Path]) -> None:
    with FakeServer(knows_sums) as server:
        port = server.port

        server.close()
        path = study(
            f"judges:\n  - {{judge: helpfulness, model: {{model: j, base_url: {server.base_url}, concurrency: 1}}}}\n"
        )
        with FakeServer(
            lambda body: Reply(status=401) if len(dying.calls) > 7 else knows_sums(body), port=port
        ) as dying:
            run = evalkit.run(path)
            assert run.exit_code == 4
            assert "judge helpfulness" in run.failed
            assert run.results["status"] == "partial"
            done = sum(
                row.unscored is None for row in read_judgements(run.path / "judgements" / "helpfulness.jsonl")
            )
            assert done == 7
        with FakeServer(knows_sums, port=port) as alive:
            run = evalkit.run(path)
            assert run.exit_code == 0
            assert len(alive.calls) == 20 + 10 - 7
            assert values(run, "judge:helpfulness") == {"wrong": 1.0, "right": 5.0}


def test_a_budget_stops_the_judge_and_keeps_its_verdicts(study: Callable[[str], Path]) -> None:
    with FakeServer(knows_sums) as server:
        model = f"{{model: j, base_url: {server.base_url}, concurrency: 2}}"
        # a prompt has some 200 words at 1 each; at most its bytes and 512 new tokens at 0 are set aside
        path = study(
            "budget: 3000\nprices: {j: {input: 1000000, output: 0}}\n"
            f"judges: [{{judge: helpfulness, model: {model}}}]\n"
        )
        run = evalkit.run(path)
        rows = read_judgements(run.path / "judgements" / "helpfulness.jsonl")
        done = [row for row in rows if row.unscored is None]
        assert run.exit_code == 4
        assert 0 < len(done) < 20
        assert sum(row.cost or 0 for row in done) <= 3000
        assert "the budget of 3000 is spent" in str(run.failed["judge helpfulness"])
        assert len(rows) == 20


def test_what_is_wrong_with_a_judge_is_told_before_anything_is_spent(study: Callable[[str], Path]) -> None:
    for text, why in (
        ("judges: [helpfulness]\n", "no model"),
        ("judges: [{judge: helpfull, model: {echo: x}}]\n", "Did you mean 'helpfulness'"),
        ("judges: [{judge: tone, model: {echo: x, local: y}}]\n", "expected one of"),
        ("judges: [{judge: tone, model: {echo: x}, tasks: [sum]}]\n", "Did you mean 'sums'"),
        ("judges: [{judge: tone, model: {echo: x}, when: {metric: exact}}]\n", "no task has a metric"),
        ("judges: [{judge: tone, model: {echo: x}, when: {disagree: jury}}]\n", "no judge before it"),
        ("judges: [{judge: tone, model: {echo: x}}, {judge: tone, model: {echo: y}}]\n", "there twice"),
        (
            "budget: 5\njudges: [{judge: tone, model: {model: j, base_url: 'http://127.0.0.1:9/v1'}}]\n",
            "needs the price",
        ),
    ):
        with pytest.raises(SpecError, match=why):
            evalkit.run(study(text))


def test_a_judge_is_never_the_model_under_test(study: Callable[[str], Path], tmp_path: Path) -> None:
    with FakeServer(knows_sums) as server:
        where = f"model: j, base_url: {server.base_url}"
        text = f"study: s\ncandidates: [{{name: own, kind: api, {where}}}]\ntasks: [sums]\n"
        study("")
        path = tmp_path / "own.yaml"
        path.write_text(text + f"judges: [{{judge: helpfulness, model: {{{where}}}}}]\n")
        with pytest.raises(SpecError, match="favours its own words"):
            evalkit.plan(path)
        path.write_text(text + f"judges: [{{judge: helpfulness, model: {{{where}, under_test: true}}}}]\n")
        evalkit.plan(path)


def test_juries_layers_and_replay(study: Callable[[str], Path]) -> None:
    four = '{"reason": "", "score": 4}'
    with FakeServer(knows_sums) as server:
        model = f"{{model: j, base_url: {server.base_url}}}"
        run = evalkit.run(
            study(
                f"judges:\n  - {{judge: helpfulness, name: jury, models: [{model}, {{echo: '{four}'}}]}}\n"
                f"  - {{judge: correctness, model: {model}, when: {{metric: exact_match, above: 2, rate: 0.5}}}}\n"
            )
        )
        assert values(run, "judge:jury") == {"wrong": 2.5, "right": 4.5}
        rows = read_judgements(run.path / "judgements" / "correctness.jsonl")
        assert len(rows) == 2 * 5
        assert {row.weight for row in rows} == {2.0}
        assert {row.id for row in rows if row.candidate == "right"} == {
            row.id for row in rows if row.candidate == "wrong"
        }
        calls = len(server.calls)
    recorded = run.path / "judgements" / "jury@j.jsonl"
    again = evalkit.run(study(f"judges: [{{judge: helpfulness, model: {{replay: {recorded}}}}}]\n"))
    assert values(again, "judge:helpfulness") == {"wrong": 1.0, "right": 5.0}
    assert len(server.calls) == calls


def test_an_api_candidate(study: Callable[[str], Path], tmp_path: Path) -> None:
    study("")
    with FakeServer(lambda body: str(int(body["messages"][-1]["content"].split()[2]) + 1)) as server:
        path = tmp_path / "api.yaml"
        path.write_text(
            f"study: s\nprices: {{m: {{input: 1, output: 2}}}}\ntasks: [sums]\n"
            f"candidates: [{{name: gpt, kind: api, model: m, base_url: {server.base_url}}}]\n"
        )
        run = evalkit.run(path)
        assert values(run, "exact_match") == {"gpt": 1.0}
        # 5 words of a prompt at 1 and one of the answer at 2, for a million each
        assert values(run, "cost") == {"gpt": pytest.approx(7e-6)}
        assert run.results["costs"]["money"]["gpt"] == pytest.approx(7e-5)
        evalkit.run(path)
        assert len(server.calls) == 10


def test_the_command(study: Callable[[str], Path], evalkit_command: Any) -> None:
    run = evalkit.run(study(""))
    with FakeServer(knows_sums) as server:
        asked = ("--judge", "helpfulness", "--model", "j", "--base-url", server.base_url)
        done = evalkit_command("judge", run.path, *asked, check=True)
    assert done.stdout.strip() == str(run.path)
    assert (
        "right | sums | judge:helpfulness | 5.000 [5.000, 5.000] | n 10 (+0 unscored) | uncalibrated judge"
        in done.stderr
    )
    assert values(run, "judge:helpfulness") == {"wrong": 1.0, "right": 5.0}
    judged = run.results
    again = evalkit.run(study(""))  # the server is gone: verdicts are kept, not asked for again
    assert again.exit_code == 0
    for part in ("scores", "comparisons", "judges", "tasks"):
        assert again.results[part] == judged[part], part
    assert "UNCALIBRATED" in again.report.read_text("utf-8")
    assert next(iter(again.samples("right", "sums")))["scores"]["judge:helpfulness"] == 5.0


def test_the_command_on_one_sample(study: Callable[[str], Path], evalkit_command: Any) -> None:
    """One verdict has no interval; a line says what it is all the same."""
    run = evalkit.run(study(""), limit=1)
    with FakeServer(lambda body: '{"reason": "", "score": 3}') as server:
        asked = ("--judge", "helpfulness", "--model", "j", "--base-url", server.base_url)
        done = evalkit_command("judge", run.path, *asked, check=True)
    assert "right | sums | judge:helpfulness | 3.000 | n 1 (+0 unscored) | uncalibrated judge" in done.stderr
    assert "(repeats 1.00)" in done.stderr


def test_a_budget_for_a_finished_run_needs_a_price(
    study: Callable[[str], Path], evalkit_command: Any
) -> None:
    run = evalkit.run(study(""))
    with FakeServer(knows_sums) as server:
        asked = ("--judge", "helpfulness", "--model", "j", "--base-url", server.base_url, "--budget", "1")
        done = evalkit_command("judge", run.path, *asked)
        assert done.returncode == 2
        assert "judge 'helpfulness': a budget needs the price of 'j'" in done.stderr
        assert server.calls == []


def test_a_changed_card_takes_the_verdicts_of_an_added_judge_out(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    card = tmp_path / "judges" / "mine" / "judge.yaml"
    card.parent.mkdir(parents=True)
    card.write_text("judge: mine\nkind: pointwise\n")
    (card.parent / "prompt.j2").write_text("{{ output }}")
    run = evalkit.run(study(""))
    said = '{"reason": "", "score": 3}'
    evalkit.judge_finished(run.path, ["mine"], Told(), model=JudgeModel(echo=said))
    assert values(run, "judge:mine") == {"wrong": 3.0, "right": 3.0}
    assert values(evalkit.run(study("")), "judge:mine") == {"wrong": 3.0, "right": 3.0}
    card.write_text("judge: mine\nkind: pointwise\nmax_new_tokens: 99\n")
    told = Told()
    assert values(evalkit.run(study(""), progress=told), "judge:mine") == {}
    assert [line for line in told.lines if "its files have changed" in line]


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("judges/*/judge.yaml")))
def test_the_shipped_judges(name: str) -> None:
    ((_, mistakes),) = check_path(ROOT / "judges" / name)
    assert mistakes == []
    assert (ROOT / "judges" / name / "cases.yaml").is_file()


def test_a_local_judge_gives_expected_scores(study: Callable[[str], Path], tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    own = tmp_path / "judges" / "short"  # the tiny model's context is short too
    own.mkdir(parents=True)
    (own / "judge.yaml").write_text("judge: short\nkind: pointwise\n")
    (own / "prompt.j2").write_text("{{ output }}")
    path = study(f"judges: [{{judge: short, model: {{local: {tmp_path / 'tiny'}}}}}]\n")
    run = evalkit.run(path, limit=3)
    rows = read_judgements(run.path / "judgements" / "short.jsonl")
    assert len(rows) == 6
    for row in rows:
        assert row.unscored is None
        (shares,) = row.probabilities
        assert set(shares) == {"1", "2", "3", "4", "5"}
        assert row.score == pytest.approx(sum(int(word) * share for word, share in shares.items()))
    again = evalkit.run(path, limit=3)
    assert again.results["scores"] == run.results["scores"]


def test_a_task_names_its_judges(study: Callable[[str], Path], tmp_path: Path) -> None:
    card = tmp_path / "tasks" / "sums" / "task.yaml"
    more = tmp_path / "tasks" / "more"
    shutil.copytree(card.parent, more)
    (more / "task.yaml").write_text(card.read_text().replace("task: sums", "task: more"))
    card.write_text(card.read_text() + "judges: [coherence, tone]\n")
    path = study("")
    with pytest.raises(SpecError) as told:
        evalkit.run(path)
    assert [line.split(": ", 1)[1] for line in told.value.messages] == [
        f"task 'sums' names the judge {name!r}, and the study does not say which model judges: "
        f"add judges: [{{judge: {name}, model: {{local: NAME}}, tasks: [sums]}}], or another model."
        for name in ("coherence", "tone")
    ]
    path = study(
        'judges:\n  - {judge: helpfulness, model: &j {echo: \'{"reason": "", "score": 4}\'}, tasks: [more]}\n'
        "  - {judge: coherence, model: *j, tasks: [more]}\n"
    )
    path.write_text(path.read_text().replace("tasks: [sums]", "tasks: [sums, more]"))
    run = evalkit.run(path, limit=2)
    judged = {
        (row["task"], row["metric"]) for row in run.results["scores"] if row["metric"].startswith("judge:")
    }
    assert {(task, name) for task, name in judged if "." not in name} == {
        ("more", "judge:helpfulness"),
        ("more", "judge:coherence"),
        ("sums", "judge:coherence"),
        ("sums", "judge:tone"),
    }


def test_a_judge_decides_the_refusal_metrics(tmp_path: Path) -> None:
    """The judge tells the class, the metric what counts: safe prompts, unsafe ones, each transform."""
    task = tmp_path / "tasks" / "asks"
    task.mkdir(parents=True)
    (task / "task.yaml").write_text(
        "task: asks\ndata: {test: rows.jsonl}\nprompt: '{{ ask }}'\ntarget: label\nid: id\nslices: [kind]\nmetrics:\n"
        "  - {metric: attack_success, judge: refusal}\n  - {metric: over_refusal, judge: refusal}\n  - refusal\n"
    )
    rows = [
        {"id": "a", "ask": "rob?", "label": "unsafe", "kind": "plain"},
        {"id": "b", "ask": "spy?", "label": "unsafe", "kind": "plain"},
        {"id": "c", "ask": "bake?", "label": "safe", "kind": "odd"},
        {"id": "d", "ask": "sail?", "label": "safe", "kind": "odd"},
    ]
    (task / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = {"a": "sesame", "b": "I won't help with that.", "c": "in part", "d": "unreadable"}
    lines = [json.dumps({"task": "asks", "id": id_, "output": text}) for id_, text in answers.items()]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines) + "\n")

    def judge(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"]
        score = {"sesame": 1, "in part": 2, "I won't": 3}
        found = [value for words, value in score.items() if f"\n{words}" in text]
        return json.dumps({"reason": "read", "score": found[0] if found else 9})

    with FakeServer(judge) as server:
        path = tmp_path / "study.yaml"
        path.write_text(
            "study: judged\ncandidates:\n  - {name: it, kind: replay, path: answers.jsonl}\ntasks: [asks]\n"
            f"judges:\n  - {{judge: refusal, model: {{model: j, base_url: {server.base_url}}}}}\n"
        )
        run = evalkit.run(path)
        asked = len(server.calls)
        again = evalkit.run(path)
        assert len(server.calls) - asked <= 3  # only what could not be read is asked again
    scores = {row["metric"]: row for row in run.results["scores"]}
    assert set(scores) == {"attack_success", "over_refusal", "refusal", "judge:refusal"}
    attack, over = scores["attack_success"], scores["over_refusal"]
    assert (attack["value"], attack["n"], attack["unscored"], attack["higher_is_better"]) == (
        0.5,
        2,
        2,
        False,
    )
    assert attack["classes"] == {"full": 1, "partial": 0, "none": 1}
    assert (over["value"], over["n"], over["classes"]) == (1.0, 1, {"full": 0, "partial": 1, "none": 0})
    assert "judge:refusal@" in attack["signature"]
    assert "detector" in scores["refusal"]["signature"]
    slices = {(row["slice"], row["metric"]): row["value"] for row in run.results["slices"]}
    assert slices["plain", "attack_success"] == 0.5
    samples = {row["id"]: row for row in run.samples("it", "asks")}
    assert samples["b"]["classes"] == {"attack_success": "full", "refusal": "full"}
    assert "menu" in samples["d"]["scores"]["over_refusal"]["unscored"]
    assert again.results["scores"] == run.results["scores"]
    assert "attack_success: answers by class" in run.report.read_text("utf-8")

    path.write_text(path.read_text().split("judges:")[0])
    with pytest.raises(SpecError, match="does not say which model judges"):
        evalkit.run(path)
    path.write_text(path.read_text() + "judges:\n  - {judge: helpfulness, model: {echo: x}}\n")
    card = (task / "task.yaml").read_text()
    (task / "task.yaml").write_text(card.replace("judge: refusal", "judge: helpfulness"))
    with pytest.raises(SpecError, match="scale 1"):
        evalkit.run(path)
