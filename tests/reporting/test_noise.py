"""What is said of answers that were given twice."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.reporting.noise import noise_remarks, noise_rows


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": [{"name": "tickets", "primary": "exact_match"}], "noise": list(rows)}


def slice_of(candidate: str, answers: int, flips: int, sd: float, n: int = 50) -> dict[str, Any]:
    metrics = {name: {"flips": flips, "change": 0.02, "sd": sd} for name in ("exact_match", "f1")}
    return {
        "candidate": candidate,
        "task": "tickets",
        "n": n,
        "answers": answers,
        "metrics": metrics,
        "note": None,
    }


NOT_MEASURED = {
    "candidate": "gpt",
    "task": "tickets",
    "n": 0,
    "answers": 0,
    "metrics": {},
    "note": "a server decides what it computes together",
}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        # Three of a hundred: the rule of three says what a hundred answers without a change leave possible.
        (
            [slice_of("base", 0, 0, 0.0), slice_of("r8", 0, 0, 0.0)],
            "none of 100 answers changed (changes in fewer than 0.03",
        ),
        (
            [slice_of("base", 5, 2, 0.0), slice_of("r8", 2, 1, 0.0)],
            "7 of 100 answers and 3 scores changed; no shift",
        ),
        (
            [slice_of("base", 5, 4, 0.025)],
            "5 of 50 answers and 4 scores changed (exact_match); the intervals hold the shift that all samples share "
            "(standard deviation 0.025)",
        ),
    ],
)
def test_what_changed_is_one_sentence(rows: list[dict[str, Any]], told: str) -> None:
    (sentence,) = noise_remarks(results(*rows))
    assert sentence.startswith("Noise floor of tickets: answered again in other batches and order, ")
    assert told in sentence


def test_tasks_without_a_shift_share_a_sentence() -> None:
    tasks = [{"name": name, "primary": "exact_match"} for name in ("a", "b", "c")]
    rows = [
        {**slice_of("base", *counts), "task": name}
        for name, counts in {"a": (1, 0, 0.0), "b": (9, 8, 0.1), "c": (2, 1, 0.0)}.items()
    ]
    shifted, still = noise_remarks({"tasks": tasks, "noise": rows})
    assert shifted.startswith("Noise floor of b: ")
    assert still.startswith(
        "Noise floor of a, c: answered again in other batches and order, 3 of 100 answers and 1 score "
    )


def test_who_was_not_measured_is_named() -> None:
    remarks = noise_remarks(results(slice_of("base", 0, 0, 0.0), NOT_MEASURED))
    assert remarks[1] == "Noise floor not measured: gpt (a server decides what it computes together)."
    assert noise_remarks(results(NOT_MEASURED)) == []  # nobody is computed here: nothing to say
    assert noise_remarks({"tasks": []}) == []  # a run of an earlier version
    assert [(row.metric, row.n) for row in noise_rows(results(NOT_MEASURED))] == [("", 0)]
    assert [row.metric for row in noise_rows(results(slice_of("base", 1, 1, 0.1)))] == ["exact_match", "f1"]
