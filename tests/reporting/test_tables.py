from __future__ import annotations

import pytest

from evalkit.reporting.settings import settings_rows, trainer_settings
from evalkit.reporting.tables import board, cost_rows, mark_of, undone
from evalkit.running.run import _spec_origins
from evalkit.specs.study import Study


def comparison(**values):
    return {
        "difference": 0.2,
        "low": 0.1,
        "high": 0.3,
        "low_adjusted": 0.05,
        "high_adjusted": 0.35,
        "p_adjusted": 0.01,
        **values,
    }


@pytest.mark.parametrize(
    ("values", "higher", "mark"),
    [
        ({}, True, "better"),
        ({}, False, "worse"),
        (
            {"difference": -0.2, "low": -0.3, "high": -0.1, "low_adjusted": -0.35, "high_adjusted": -0.05},
            True,
            "worse",
        ),
        ({"p_adjusted": 0.06}, True, "unclear"),
        (
            {"low_adjusted": -0.01},
            True,
            "unclear",
        ),  # the corrected p and the corrected interval have to agree
        ({"p_adjusted": None, "low_adjusted": None}, True, "better"),
        ({"p_adjusted": None, "low_adjusted": None, "low": 0.0}, True, "unclear"),
        ({"p_adjusted": None, "low_adjusted": None, "low": None}, True, "unclear"),
        (
            {
                "difference": 0.0,
                "low": 0.0,
                "high": 0.0,
                "low_adjusted": 0.0,
                "high_adjusted": 0.0,
                "p_adjusted": 1.0,
            },
            True,
            "unclear",
        ),
        ({"difference": None}, True, None),
    ],
)
def test_a_mark_needs_what_the_corrected_test_shows(values, higher, mark):
    assert mark_of(comparison(**values), higher) == mark


def test_no_comparison_has_no_mark():
    assert mark_of(None, True) is None


def test_the_level_of_the_interval_is_the_level_of_the_mark():
    assert mark_of(comparison(p_adjusted=0.03), True, confidence=0.99) == "unclear"


def test_the_board_keeps_the_order_of_the_study_with_the_control_first(make_run):
    results = make_run().results()
    results["candidates"].reverse()
    table = board(results)
    assert table.candidates == ("base", "r32", "r8", "few-shot")
    assert table.tasks == ("tickets", "tickets-choice", "general-knowledge", "harmless-requests")
    assert [column.metric for column in table.of("tickets")] == [
        "exact_match",
        "token_f1",
        "output_tokens",
        "latency",
    ]


def test_the_primary_metric_is_the_one_the_task_names(make_run):
    results = make_run().results()
    results["tasks"][0]["primary"] = "token_f1"
    table = board(results)
    assert table.primary("tickets").metric == "token_f1"
    assert table.of("tickets")[0].metric == "token_f1"


def test_a_cost_never_speaks_for_a_task_that_has_another_metric():
    rows = [
        {"candidate": "base", "task": "t", "metric": name, "value": 1.0, "n": 1} for name in ("latency", "f1")
    ]
    assert board({"scores": rows}).primary("t").metric == "f1"
    assert board({"scores": rows[:1]}).primary("t").metric == "latency"


def test_every_score_of_the_results_is_a_cell(make_run):
    results = make_run().results()
    table = board(results)
    assert len(results["scores"]) == len(table.cells)
    for row in results["scores"]:
        assert table.cells[row["candidate"], row["task"], row["metric"]].score == row


def test_costs_add_up_over_tasks(make_run):
    rows = {row["candidate"]: row for row in cost_rows(make_run().results())}
    assert rows["base"]["answer_seconds"] == pytest.approx(4 * 3.2)
    assert rows["r8"]["training"]["steps"] == 48
    assert rows["base"]["training"] == {}
    assert cost_rows({"candidates": [{"name": "x"}]})[0]["answer_seconds"] is None


def test_what_could_not_be_done_is_named_once_with_its_reason():
    results = {
        "candidates": [
            {"name": "a", "error": "loss is NaN at step 3", "training": {"stopped": "loss is NaN at step 3"}},
            {"name": "b", "training": {"stopped": "early"}},
            {"name": "c", "training": {"stopped": "the disk was full"}},
            {"name": "d", "training": {"stopped": "dropped at rung 1 of 3"}},  # as was asked
        ],
        "scores": [
            {"candidate": "b", "task": "t", "metric": "f1"},
            {"candidate": "c", "task": "t", "metric": "f1"},
        ],
    }
    table = board(results)
    assert undone(results, table) == [
        ("a", "loss is NaN at step 3"),
        ("a", "no scores on t"),
        ("c", "training stopped: the disk was full"),
    ]


def test_settings_stand_with_their_origin():
    study = {
        "seed": 17,
        "data": {"train": "a.jsonl", "sizes": None},
        "candidates": [{"name": "r8", "settings": {"rank": 8}}],
        "off": False,
    }
    assert settings_rows(
        study, {"seed": "default", "data": "file", "candidates.r8.settings.rank": "grid"}
    ) == [
        ("seed", "17", "default"),
        ("data.train", "a.jsonl", "file"),
        ("data.sizes", "none", "file"),
        ("candidates.r8.name", "r8", ""),
        ("candidates.r8.settings.rank", "8", "grid"),
        ("off", "no", ""),
    ]


def test_trainer_settings_part_what_differs_from_what_is_shared(make_run):
    settings = trainer_settings(make_run().results())
    assert settings.candidates == ("r8", "r32")
    assert settings.differing == (("rank", (("8", "study"), ("32", "study"))),)
    assert ("learning_rate", "0.001", "study") in settings.shared
    assert ("alpha", "32", "") in settings.shared


def test_every_setting_of_a_study_has_the_origin_that_the_run_wrote():
    """The run names settings as the report does: were the two to drift apart, origins would be lost."""
    study = Study.model_validate(
        {
            "study": "x",
            "tasks": ["a", {"task": "b", "limit": 3}],
            "data": {"train": "rows.jsonl"},
            "candidates": [{"name": "r8", "kind": "train", "settings": {"rank": 8}}],
        }
    )
    rows = settings_rows(study.model_dump(mode="json"), dict(_spec_origins(study, "")))
    origins = {key: origin for key, _, origin in rows}
    assert set(origins.values()) == {"file", "default"}
    assert (
        origins["candidates.r8.settings.rank"] == origins["tasks.b.limit"] == origins["data.train"] == "file"
    )
    assert origins["tasks.a.limit"] == origins["data.validation"] == origins["seed"] == "default"
