from __future__ import annotations

import json

from evalkit.reporting.samples import embedded, flips
from evalkit.reporting.tables import board


def test_all_samples_are_there_with_every_candidates_answer(make_run):
    run = make_run(n=12)
    table = board(run.results())
    carried = embedded(run, table, 10**7, 10**5)
    for task in carried["tasks"]:
        assert task["total"] == len(task["samples"]) == 12
        for place, name in enumerate(table.candidates):
            rows = list(run.samples(name, task["task"]))
            for row, sample in zip(rows, task["samples"], strict=True):
                answer = sample["answers"][place]
                assert sample["id"] == row["id"]
                assert [carried["texts"][number] for number in answer["output"]] == [row["output"]]
                assert [[role, carried["texts"][number]] for role, number in answer["input"]] == [
                    [turn["role"], turn["content"]] for turn in row["input"]
                ]


def test_a_text_is_stored_once(make_run):
    run = make_run(n=20)
    carried = embedded(run, board(run.results()), 10**7, 10**5)
    assert len(carried["texts"]) == len(set(carried["texts"]))
    system = next(run.samples("base", "tickets"))["input"][0]["content"]
    assert carried["texts"].count(system) == 1


def test_a_long_text_is_cut_and_the_rest_counted(make_run):
    run = make_run(n=2, change=lambda candidate, task, rows: rows[0].update(output="x" * 1_000_000))
    carried = embedded(run, board(run.results()), 10**7, 20_000)
    cut = [text for text in carried["texts"] if isinstance(text, dict)]
    assert cut == [{"text": "x" * 20_000, "cut": 980_000}]


def test_the_bound_holds_and_what_changed_is_kept_first(make_run):
    run = make_run(n=200)
    table = board(run.results())
    full = embedded(run, table, 10**9, 10**5)
    bound = 60_000
    carried = embedded(run, table, bound, 10**5)
    size = len(json.dumps(carried, ensure_ascii=False, separators=(",", ":")).encode())
    assert size < bound * 1.25
    changed = {
        i
        for row in run.results()["comparisons"]
        if row["task"] == "general-knowledge" and row["metric"] == "exact_match"
        for i in row["gained"] + row["lost"]
    }
    task = next(task for task in carried["tasks"] if task["task"] == "general-knowledge")
    assert 0 < len(task["samples"]) < task["total"] == 200
    assert {sample["id"] for sample in task["samples"]} <= changed
    order = [sample["id"] for sample in full["tasks"][0]["samples"]]
    kept = [sample["id"] for sample in carried["tasks"][0]["samples"]]
    assert kept == [i for i in order if i in kept]  # the order of the task, whatever came first


def test_a_bound_of_nothing_still_shows_one_sample_a_task(make_run):
    run = make_run(n=5)
    assert [len(task["samples"]) for task in embedded(run, board(run.results()), 0, 1000)["tasks"]] == [
        1,
        1,
        1,
        1,
    ]


def test_unscored_several_answers_and_objects_keep_their_form(make_run):
    def change(candidate, task, rows):
        rows[0].update(output=["one", "two"], target={"city": "Kraków"}, input="plain prompt")
        rows[1].update(
            target=["a", "b"], scores={name: {"unscored": "no target"} for name in rows[1]["scores"]}, id=7
        )

    run = make_run(n=3, change=change)
    carried = embedded(run, board(run.results()), 10**6, 10**5)
    texts, (first, second, _) = carried["texts"], carried["tasks"][0]["samples"]
    assert [texts[number] for number in first["answers"][0]["output"]] == ["one", "two"]
    assert json.loads(texts[first["target"][0]]) == {"city": "Kraków"}
    assert first["answers"][0]["input"][0][0] == ""
    assert [texts[number] for number in second["target"]] == ["a", "b"]
    assert texts[second["answers"][0]["scores"]["exact_match"]["unscored"]] == "no target"
    assert second["id"] == "7"


def test_a_candidate_without_samples_has_no_answers(make_run):
    run = make_run(n=3)
    run.samples_file("r8", "tickets").unlink()
    table = board(run.results())
    carried = embedded(run, table, 10**6, 10**5)
    place = table.candidates.index("r8")
    assert [sample["answers"][place] for sample in carried["tasks"][0]["samples"]] == [None] * 3


def test_flips_point_at_the_samples_that_changed(make_run):
    run = make_run(n=20)
    table = board(run.results())
    carried = embedded(run, table, 10**7, 10**5)
    by_key = {(flip["task"], flip["metric"], flip["candidate"]): flip for flip in flips(table, carried)}
    for row in run.results()["comparisons"]:
        flip = by_key[row["task"], row["metric"], row["candidate"]]
        ids = [
            sample["id"]
            for sample in next(t for t in carried["tasks"] if t["task"] == row["task"])["samples"]
        ]
        assert [ids[place] for place in flip["gained"]] == row["gained"]
        assert [ids[place] for place in flip["lost"]] == row["lost"]
