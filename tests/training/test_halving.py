"""Who is dropped at which rung, worked by hand."""

from __future__ import annotations

import itertools

import pytest

from evalkit.training.halving import Decision, Halving, places, rung_step

ONE_BAND = {"a": 1e-4, "b": 1e-4, "c": 1e-4, "d": 1e-4}
TWO_BANDS = {"a": 1e-4, "b": 1e-4, "c": 1e-3, "d": 1e-3}


def goes_on(decision: Decision) -> set[str]:
    return {name for name, standing in decision.items() if standing["goes_on"]}


def test_rungs_are_at_equal_shares_of_each_schedule() -> None:
    assert [rung_step(rung, 4, 10) for rung in (1, 2, 3, 4)] == [3, 5, 8, 10]
    for rungs, steps in itertools.product(range(2, 9), range(2, 40)):
        if steps >= rungs:
            at = [rung_step(rung, rungs, steps) for rung in range(1, rungs + 1)]
            assert at == sorted(set(at))  # no two rungs on one step, and none but the last at the end
            assert at[-1] == steps


def test_places_are_rounded_up_and_hold_every_band() -> None:
    assert places(4, 1, 3, 0.5) == (2, 1)
    assert places(5, 1, 3, 0.5) == (3, 2)
    assert places(10, 1, 2, 0.3) == (3,)  # 0.3 · 10 is 3.0000000000000004 in no way
    assert places(6, 4, 4, 0.5) == (4, 4, 4)
    assert places(2, 2, 2, 0.5) == (2,)


def test_the_best_half_goes_on_in_any_order_of_arrival() -> None:
    losses = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 4.0}
    found = []
    for order in itertools.permutations(losses):
        recorded: list[int] = []
        search = Halving(ONE_BAND, 3, 0.5, record=lambda decisions, to=recorded: to.append(len(decisions)))
        for number, name in enumerate(order):
            assert search.next_step(9) == 3
            search.arrive(name, losses[name], 3, 9)
            assert recorded == ([] if number < 3 else [1])
        found.append(search.decisions)
    assert all(decisions == found[0] for decisions in found)
    assert goes_on(found[0][0]) == {"b", "c"}
    standing = found[0][0]["a"]
    assert (standing["place"], standing["among"], standing["why"]) == (3, 4, "place 3 of 4, and 2 go on")


def test_the_last_of_a_learning_rate_is_never_dropped() -> None:
    search = Halving(TWO_BANDS, 3, 0.25)
    for name, loss in (("a", 9.0), ("b", 8.0), ("c", 1.0), ("d", 2.0)):
        search.arrive(name, loss, 3, 9)
    assert goes_on(search.decisions[0]) == {"b", "c"}
    assert search.decisions[0]["b"]["why"] == "the best of learning rate 0.0001"
    assert "one must be of each learning rate (0.001, 0.0001)" in search.decisions[0]["d"]["why"]
    for name, loss in (("b", 7.0), ("c", 0.5)):
        search.arrive(name, loss, 6, 9)
    assert goes_on(search.decisions[1]) == {"b", "c"}
    assert search.next_step(9) is None


def test_equal_losses_go_by_the_order_of_the_study() -> None:
    search = Halving(ONE_BAND, 2, 0.5)
    for name in ("d", "c", "b", "a"):
        search.arrive(name, 1.0, 1, 2)
    assert goes_on(search.decisions[0]) == {"a", "b"}


def test_who_cannot_go_on_takes_no_place() -> None:
    search = Halving(ONE_BAND, 3, 0.5)
    search.arrive("a", 1.0, 3, 9)
    search.leave("b")
    search.arrive("c", 3.0, 3, 9)
    assert search.decisions == []
    search.arrive("d", 2.0, 3, 9)
    assert goes_on(search.decisions[0]) == {"a", "d"}
    assert search.decisions[0]["b"] == {
        **{"rung": 1, "of": 3, "step": 0, "steps": 0, "loss": None, "learning_rate": 1e-4},
        **{"place": None, "among": 4, "goes_on": False, "why": "it could not be trained on"},
    }
    search.leave("a")  # breaks after the rung it came out of first
    search.arrive("d", 5.0, 6, 9)
    assert goes_on(search.decisions[1]) == {"d"}
    assert search.lost("a") == search.decisions[1]["a"]


def test_a_search_that_goes_on_makes_no_decision_twice() -> None:
    whole = Halving(ONE_BAND, 3, 0.5)
    for name, loss in zip(ONE_BAND, (1.0, 2.0, 3.0, 4.0), strict=True):
        whole.arrive(name, loss, 3, 9)
    resumed = Halving(ONE_BAND, 3, 0.5, decisions=list(whole.decisions))
    assert resumed.next_step(9) == 6
    resumed.only(["a", "b"])
    resumed.arrive("c", 0.1, 6, 9)  # dropped long ago
    resumed.arrive("b", 1.0, 6, 9)
    assert len(resumed.decisions) == 1
    resumed.arrive("a", 2.0, 6, 9)
    assert goes_on(resumed.decisions[1]) == {"b"}
    assert resumed.lost("c") == whole.decisions[0]["c"]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_somebody_always_goes_on(keep: float) -> None:
    search = Halving({"a": 1.0}, 4, keep)
    for step in (1, 2, 3):
        search.arrive("a", 1.0, step, 4)
    assert [goes_on(decision) for decision in search.decisions] == [{"a"}] * 3
