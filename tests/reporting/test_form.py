from __future__ import annotations

from evalkit.reporting.form import form_notes
from evalkit.reporting.tables import board


def notes(run):
    return form_notes(run, board(run.results()))


def outputs(text):
    def change(candidate, task, rows):
        for row in rows:
            if candidate == "base" and task == "tickets":
                row.update(output=text(row["target"]))

    return change


def test_a_multiple_choice_task_on_the_same_rows_shows_what_is_form(make_run):
    """The base of the fixture: 0 by exact match, 0.42 [0.27, 0.58] by choice."""
    (note,) = notes(make_run(change=outputs(lambda target: "I cannot tell.")))
    assert note == (
        "A part of what base lacks on tickets exact_match is form: it reaches 0.42 [0.27, 0.58] on tickets-choice, "
        "where on the same rows it only rates the options."
    )


def test_the_same_task_on_other_rows_shows_nothing(make_run):
    run = make_run(change=outputs(lambda target: "I cannot tell."))
    rows = list(run.samples("base", "tickets-choice"))
    run.write_samples("base", "tickets-choice", rows[:-1])
    assert notes(run) == []


def test_an_overlapping_interval_shows_nothing(make_run):
    run = make_run(change=outputs(lambda target: "I cannot tell."))
    results = run.results()
    for row in results["scores"]:
        if row["task"] == "tickets-choice":
            row["low"] = 0.001
    run.write_results(results)
    assert notes(run) == []


def test_answers_that_hold_the_accepted_text_are_counted(make_run, fake_task):
    task = fake_task("tickets", "exact_match", {"base": 0.0, "r8": 0.9}, ())
    said = notes(
        make_run(tasks=[task], n=20, change=outputs(lambda target: f"The label is: {target.upper()}!"))
    )
    assert said == [
        "A part of what base lacks on tickets exact_match is form: "
        "20 of its 20 wrong answers hold the accepted text among other words."
    ]
    run = make_run("other", tasks=[task], n=20, change=outputs(lambda target: f"un{target}s"))
    assert notes(run) == []  # a part of a word is not the answer


def test_a_target_that_is_an_object_or_empty_is_no_text(make_run, fake_task):
    task = fake_task("tickets", "exact_match", {"base": 0.0, "r8": 0.9}, ())

    def change(candidate, task, rows):
        rows[0].update(target={"a": 1})
        rows[1].update(target="")
        rows[2].update(target=None, output=["first", "second"])
        rows[3].update(target=["no", "SECOND"], output=["first", "second"])

    assert notes(make_run(tasks=[task], n=4, change=change)) == []
