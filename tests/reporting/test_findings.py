from __future__ import annotations

from evalkit.reporting.findings import findings
from evalkit.reporting.tables import board


def score(candidate, value, **more):
    row = {
        "candidate": candidate,
        "task": "tickets",
        "metric": "exact_match",
        "value": value,
        "low": value - 0.09,
        "high": value + 0.09,
    }
    return {
        **row,
        "confidence": 0.95,
        "n": 80,
        "unscored": 0,
        "higher_is_better": True,
        "signature": "s",
        **more,
    }


def pair(candidate, difference, low, high, p, **more):
    return {
        "candidate": candidate,
        "control": "base",
        "task": "tickets",
        "metric": "exact_match",
        "difference": difference,
        "low": low,
        "high": high,
        "low_adjusted": low - 0.01,
        "high_adjusted": high + 0.01,
        "p_value": p,
        "p_adjusted": p,
        "test": "t",
        "n": 80,
        "gained": [],
        "lost": [],
        **more,
    }


def lines(scores, comparisons):
    (found,) = findings(board({"scores": scores, "comparisons": comparisons}))
    return [(line.mark, line.text.replace("\u00a0", " ")) for line in found.lines]


def test_a_shown_difference_is_said_with_its_interval_p_and_n():
    assert lines([score("base", 0.0), score("r16", 0.78)], [pair("r16", 0.78, 0.68, 0.87, 0.0001)]) == [
        (
            "better",
            "r16 is better than base on tickets exact_match by +0.780 [0.680, 0.870], corrected p < 0.001, n = 80.",
        )
    ]


def test_what_is_not_shown_is_never_called_equal_or_better():
    assert lines([score("base", 0.5), score("r16", 0.53)], [pair("r16", 0.03, -0.05, 0.11, 0.4)]) == [
        (
            "unclear",
            "For r16 no difference to base could be shown on tickets exact_match (+0.030 [−0.050, 0.110], "
            "corrected p = 0.40, n = 80).",
        )
    ]


def test_the_largest_difference_leads_and_the_others_are_named():
    scores = [score("base", 0.5), *(score(name, 0.7) for name in "abcd")]
    comparisons = [
        pair("a", 0.2, 0.1, 0.3, 0.01),
        pair("b", 0.3, 0.2, 0.4, 0.001),
        pair("c", -0.3, -0.4, -0.2, 0.001),
        pair("d", 0.0, -0.1, 0.1, 1.0),
    ]
    assert lines(scores, comparisons) == [
        (
            "better",
            "b is better than base on tickets exact_match by +0.30 [0.20, 0.40], "
            "corrected p = 0.0010, n = 80; so is a.",
        ),
        (
            "worse",
            "c is worse than base on tickets exact_match by −0.30 [−0.40, −0.20], corrected p = 0.0010, n = 80.",
        ),
        (
            "unclear",
            "For d no difference to base could be shown on tickets exact_match (0.00 [−0.10, 0.10], "
            "corrected p = 1, n = 80).",
        ),
    ]


def test_where_lower_is_better_a_fall_is_better():
    scores = [score("base", 0.5, higher_is_better=False), score("a", 0.2, higher_is_better=False)]
    assert lines(scores, [pair("a", -0.3, -0.4, -0.2, 0.002)])[0][0] == "better"


def test_unscored_answers_are_said():
    said = lines([score("base", 0.5), score("a", 0.5, unscored=3)], [pair("a", 0.0, -0.1, 0.1, 1.0)])
    assert "n = 80, 3 unscored" in said[0][1]


def test_without_a_control_the_values_stand_for_themselves():
    assert lines([score("only", 0.5)], []) == [
        (None, "Nothing is compared on tickets exact_match: only 0.500 [0.410, 0.590], n = 80.")
    ]


def test_nothing_scored_says_why():
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert lines([{**score("base", 0.0), **nothing, "unscored": 80}], []) == [
        (None, "Nothing could be scored on tickets exact_match: 80 answers unscored.")
    ]
    assert lines([{**score("base", 0.0), **nothing}], [])[0][1].endswith("it has no samples.")


def test_a_candidate_without_a_value_is_named():
    said = lines(
        [score("base", 0.5), score("a", 0.8), {**score("b", 0.0), "value": None}],
        [pair("a", 0.3, 0.2, 0.4, 0.001)],
    )
    assert said[-1] == (None, "Without a value: b.")


def test_forty_candidates_fit_in_a_sentence(make_run, fake_task):
    names = ["base", *(f"c{i}" for i in range(40))]
    run = make_run(tasks=[fake_task("t", "exact_match", dict.fromkeys(names, 0.5))], n=10, training={})
    (found,) = findings(board(run.results()))
    assert max(len(line.text) for line in found.lines) < 300
    assert "and 37 more" in found.lines[-1].text
