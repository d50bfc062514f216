from __future__ import annotations

import math

import pytest

from evalkit.reporting.charts import axis, bar_axis, bars, curves, forest
from evalkit.reporting.tables import board


@pytest.mark.parametrize(
    "values", [[0.0], [], [0.1, 0.9], [-3.0, 12.0], [1e-9, 2e-9], [1e6, 3e6], [float("nan"), 1.0]]
)
def test_an_axis_holds_its_values_and_has_round_ticks(values):
    scale = axis(values)
    finite = [value for value in values if math.isfinite(value)]
    assert scale.low < scale.high
    assert all(scale.low - 1e-12 <= value <= scale.high + 1e-12 for value in finite)
    assert 2 <= len(scale.ticks) <= 8


def test_shares_are_drawn_from_0_to_1_percentages_to_100_and_costs_from_0():
    assert (
        bar_axis([{"value": 0.02, "low": 0.0, "high": 0.05}], True).low,
        bar_axis([{"value": 0.02}], True).high,
    ) == (0, 1)
    assert bar_axis([{"value": 34.0, "low": 30.0, "high": 38.0}], True).high == 100
    assert bar_axis([{"value": 0.034, "low": 0.03, "high": 0.038}], False).high == pytest.approx(0.04)
    assert bar_axis([{"value": None}], True).high == 1


def test_bars_are_where_the_values_are(make_run):
    table = board(make_run().results())
    column = table.primary("tickets-choice")
    _, placed = bars(table, column)
    for name, bar in placed.items():
        row = table.cell(name, column).score
        assert bar.value == pytest.approx(row["value"])  # on a scale from 0 to 1 the place is the value
        assert (bar.low, bar.high) == (pytest.approx(row["low"]), pytest.approx(row["high"]))


def test_a_forest_holds_zero_and_every_interval_in_order(make_run):
    table = board(make_run().results())
    plot = forest(table, table.primary("general-knowledge"))
    assert 0 < plot.zero < 1
    assert [row.cell.candidate for row in plot.rows] == ["few-shot", "r8", "r32"]
    for row in plot.rows:
        assert 0 < row.low_adjusted < row.low < row.estimate < row.high < row.high_adjusted < 1
        back = plot.axis.low + row.estimate * (plot.axis.high - plot.axis.low)
        assert back == pytest.approx(row.cell.comparison["difference"])


def test_no_comparison_no_forest(make_run):
    table = board(make_run(control=None).results())
    assert forest(table, table.primary("tickets")) is None


def test_curves_share_logarithmic_axes_where_the_loss_falls_far():
    logs = {
        "a": [{"step": 1, "loss": 4.0}, {"step": 9, "loss": 0.04, "validation_loss": 0.05}],
        "b": [{"step": 1, "loss": 2.0}],
    }
    first, second = curves(logs)
    assert first.y is second.y
    assert first.y.log
    assert (first.y.low, first.y.high) == (pytest.approx(0.02), pytest.approx(5.0))
    assert first.y.at(math.sqrt(first.y.low * first.y.high)) == pytest.approx(0.5)
    assert first.validation.points == ((9.0, 0.05),)


def test_a_small_fall_is_drawn_on_a_plain_axis():
    (panel,) = curves({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]})
    assert not panel.y.log


def test_a_long_training_is_averaged_not_thinned():
    (panel,) = curves({"a": [{"step": i, "loss": float(i % 2)} for i in range(1, 4001)]})
    assert len(panel.train.points) == 400
    assert panel.train.each == 10
    assert {value for _, value in panel.train.points} == {0.5}
    assert panel.train.points[-1][0] == 4000


def test_steps_without_a_finite_loss_are_counted():
    (panel,) = curves(
        {"a": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}, {"step": 3, "loss": float("nan")}]}
    )
    assert panel.lost == 2
    assert len(panel.train.points) == 1


def test_nothing_trained_no_panels():
    assert curves({"a": []}) == []
    assert curves({"a": [{"step": 1, "loss": None}]}) == []
