from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from evalkit.errors import DataError, MetricError, OutputFolderError
from evalkit.metrics import metric
from evalkit.records import Output, Result, Sample, Unscored
from evalkit.running.comparisons import compare_scored, correct
from evalkit.running.score import Scored, build_metrics, score_task
from evalkit.running.score_file import score_file, score_rows
from evalkit.specs.task import MetricUse
from evalkit.stats import paired_proportions_interval

NAMES = {"candidate": "r16", "control": "base", "task": "tickets"}


def scored(answers: list[str], metrics: list[Any], *, ids: list[str] | None = None, **fields: Any) -> Scored:
    names = ids or [str(i) for i in range(len(answers))]
    samples = [Sample(name, "?", "yes", cluster=fields.get("cluster", {}).get(name)) for name in names]
    outputs = [
        Output(
            name, text, finish="error" if text == "ERROR" else "stop", error="down", output_tokens=len(text)
        )
        for name, text in zip(names, answers, strict=True)
    ]
    return score_task(samples, outputs, metrics, seed=17, exact=bool(fields.get("exact")))


def test_a_result_carries_value_interval_counts_and_signature() -> None:
    found = scored(["yes"] * 8 + ["no"] * 2 + ["ERROR"], ["exact_match"])
    assert found.results == [
        Result(
            metric="exact_match",
            value=0.8,
            low=pytest.approx(0.4902, abs=5e-5),  # Wilson of 8 in 10, as scipy's proportion_ci
            high=pytest.approx(0.9433, abs=5e-5),
            confidence=0.95,
            n=10,
            unscored=1,
            higher_is_better=True,
            signature="exact_match|normalize:squad|definition:1|bs:10000|rs:17",
        )
    ]
    assert found.measured["exact_match"].scores[10] == Unscored("no answer: down")


def test_all_unscored_has_no_value() -> None:
    result = scored(["ERROR", "ERROR"], ["f1"]).results[0]
    assert (result.value, result.low, result.high, result.n, result.unscored) == (None, None, None, 0, 2)


def test_a_function_of_right_and_wrong_has_wilsons_interval() -> None:
    result = scored(["yes"] * 8 + ["no"] * 2, [lambda sample, output: output == sample.target]).results[0]
    assert (result.low, result.high) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_metrics_in_every_form() -> None:
    @metric(name="test_shout")
    def shout(sample: Sample, output: str) -> bool:
        return output.isupper()

    wanted = ["exact_match", {"metric": "f1", "average": "micro"}, MetricUse(metric="token_f1"), "test_shout"]
    assert [made.name for made in build_metrics([*wanted, shout_again])] == [
        "exact_match", "f1", "token_f1", "test_shout", "shout_again",
    ]  # fmt: skip
    with pytest.raises(MetricError, match="Metric 'f1' is asked for twice"):
        build_metrics(["f1", {"metric": "f1", "average": "micro"}])
    with pytest.raises(MetricError, match="metric: NAME"):
        build_metrics([{"average": "micro"}])
    with pytest.raises(MetricError, match="got 3"):
        build_metrics([3])  # type: ignore[list-item]


def shout_again(sample: Sample, output: str) -> bool:
    return output.isupper()


def test_comparison_counts_flips_by_sample() -> None:
    candidate = scored(["yes"] * 7 + ["no"] * 3, ["exact_match"])
    control = scored(["no"] * 6 + ["yes"] * 2 + ["no"] * 2, ["exact_match"])
    found = compare_scored(candidate, control, **NAMES)[0]
    assert (found.candidate, found.control, found.task, found.metric) == (
        "r16",
        "base",
        "tickets",
        "exact_match",
    )
    assert found.difference == pytest.approx(0.5)
    assert (found.gained, found.lost, found.n) == (["0", "1", "2", "3", "4", "5"], ["7"], 10)
    assert found.p_value == pytest.approx(
        0.0703125
    )  # mid-p of 6 gained and 1 lost, by hand: (2·(1 + 7) − 7) / 2^7
    assert (found.p_adjusted, found.low_adjusted, found.high_adjusted) == (None, None, None)
    assert found.low is not None
    assert found.low < 0 < 0.5 < found.high  # type: ignore[operator]


def test_flips_are_oriented_where_less_is_better() -> None:
    candidate = scored(["aa", "aaaa", "aaa"], ["output_tokens"])
    control = scored(["aaa", "aaa", "aaa"], ["output_tokens"])
    found = compare_scored(candidate, control, **NAMES)[0]
    assert (found.gained, found.lost, found.difference) == (["0"], ["1"], 0.0)


def test_pairs_go_by_id_and_leave_out_what_either_side_could_not_score() -> None:
    candidate = scored(["yes", "no", "yes", "ERROR", "yes"], ["exact_match"], ids=["a", "b", "c", "d", "e"])
    control = scored(["no", "yes", "no", "ERROR"], ["exact_match"], ids=["c", "d", "b", "a"])
    found = compare_scored(candidate, control, **NAMES)[0]
    assert (found.n, found.gained, found.lost, found.difference) == (2, ["c"], [], 0.5)
    stranger = scored(["yes"], ["exact_match"], ids=["z"])
    nothing = compare_scored(candidate, stranger, **NAMES)[0]
    assert (nothing.n, nothing.difference, nothing.low, nothing.p_value) == (0, None, None, None)


def test_corpus_metrics_pair_over_the_union_of_their_classes() -> None:
    candidate = scored(["yes", "maybe", "yes", "yes"], ["f1"])
    control = scored(["no", "no", "yes", "never"], ["f1"])
    found = compare_scored(candidate, control, **NAMES)[0]
    # macro F1: candidate (6/7 + 0)/2 of yes, maybe; control (2/5 + 0 + 0)/3 of yes, no, never
    assert found.difference == pytest.approx(3 / 7 - 2 / 15)
    # exact: the 3 changed samples give 2^3 patterns; found by the code of the test below
    assert found.p_value == pytest.approx(exchange_p(candidate, control), abs=1e-12)
    assert found.gained == ["0", "3"]


def exchange_p(first: Scored, second: Scored) -> float:
    """Exact approximate randomisation of macro F1 by scikit-learn, over all exchanges of the 4 answers."""
    from itertools import product

    from sklearn.metrics import f1_score

    a = [["yes", "maybe", "yes", "yes"], ["no", "no", "yes", "never"]]
    gaps = []
    for swap in product((0, 1), repeat=4):
        sides = [[a[(side + s) % 2][i] for i, s in enumerate(swap)] for side in (0, 1)]
        values = [f1_score(["yes"] * 4, side, average="macro", zero_division=0) for side in sides]
        gaps.append(abs(values[0] - values[1]))
    return float(np.mean(np.array(gaps) >= gaps[0] - 1e-12))


def test_correction_by_holm_and_bonferroni() -> None:
    control = scored(["no"] * 20 + ["yes"] * 20, ["exact_match", "output_tokens"])
    comparisons = []
    for right in (22, 30, 38):
        candidate = scored(["yes"] * right + ["no"] * (40 - right), ["exact_match"])
        comparisons += compare_scored(candidate, control, **NAMES)
    single = correct(comparisons[:1])[0]
    assert (single.p_adjusted, single.low_adjusted) == (single.p_value, pytest.approx(single.low))
    corrected = correct(comparisons)
    p = sorted(comparison.p_value for comparison in comparisons)  # type: ignore[type-var]
    assert min(c.p_adjusted for c in corrected) == pytest.approx(3 * p[0])  # type: ignore[type-var]
    for before, after in zip(comparisons, corrected, strict=True):
        assert after.low_adjusted < before.low <= before.high < after.high_adjusted  # type: ignore[operator]
        assert replace(after, p_adjusted=None, low_adjusted=None, high_adjusted=None) == before


def test_correction_by_benjamini_and_hochberg() -> None:
    control = scored(["no"] * 20 + ["yes"] * 20, ["exact_match"])
    comparisons = []
    for right in (22, 34, 38):
        candidate = scored(["yes"] * right + ["no"] * (40 - right), ["exact_match"])
        comparisons += compare_scored(candidate, control, **NAMES)
    by_holm, by_share = correct(comparisons), correct(comparisons, method="bh")
    first, second, third = sorted(comparison.p_value for comparison in comparisons)  # type: ignore[type-var]
    assert sorted(c.p_adjusted for c in by_share) == pytest.approx([3 * first, 1.5 * second, third])  # type: ignore[type-var]
    assert 1.5 * second < 0.05 < third
    # Two of three are findings: their intervals are at 1 − 2 · 0.05 / 3 (Benjamini and Yekutieli 2005).
    up, down = len(comparisons[2].gained), len(comparisons[2].lost)
    assert (by_share[2].low_adjusted, by_share[2].high_adjusted) == pytest.approx(
        paired_proportions_interval(up, down, 40, 1 - 2 * 0.05 / 3)
    )
    for holm, share in zip(by_holm, by_share, strict=True):
        assert holm.low_adjusted < share.low_adjusted  # type: ignore[operator]


def test_exact_on_request() -> None:
    right = scored(["yes"] * 9 + ["no"], ["exact_match"], exact=True)
    control = scored(["no"] * 8 + ["yes"] * 2, ["exact_match"], exact=True)
    (result,) = right.results
    interval = binomtest(9, 10).proportion_ci(0.95, "exact")  # scipy: Clopper and Pearson
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert result.signature.endswith("|ci:clopper-pearson")
    (found,) = compare_scored(right, control, **NAMES, exact=True)
    gained, lost = len(found.gained), len(found.lost)
    assert (gained, lost) == (8, 1)
    expected = mcnemar([[0, gained], [lost, 0]], exact=True).pvalue  # statsmodels
    assert found.p_value == pytest.approx(expected, abs=1e-12)
    assert found.test == "mcnemar-exact, tango"
    (adjusted,) = correct([found])
    assert adjusted.low_adjusted == pytest.approx(found.low)


def test_adjusted_ends_where_less_is_better_keep_their_side() -> None:
    refused = "I'm sorry, but I can't help with that."
    candidate, control = (
        score_rows([{"output": text} for text in texts], ["over_refusal"])
        for texts in (["Sure, mix it."] * 20, [refused] * 10 + ["Sure, mix it."] * 10)
    )
    found = correct(compare_scored(candidate, control, **NAMES) * 2)[0]
    assert found.difference == -0.5
    assert len(found.gained) == 10
    assert found.low_adjusted < found.low < -0.5 < found.high < found.high_adjusted < 0  # type: ignore[operator]


def test_rows_in_every_form() -> None:
    rows = [
        {"output": "Paris", "target": "paris"},
        {"id": "x", "output": ["Rome", "Paris"], "target": ["Paris", "Lutetia"], "input": "Capital?"},
        {"id": 7, "output": "Oslo", "target": None, "input": [{"role": "user", "content": "Capital?"}]},
        {"output": None, "target": "Bonn"},
        {"output": "", "target": []},
    ]
    found = score_rows(rows, ["exact_match"])
    assert found.ids == ["1", "x", "7", "4", "5"]
    assert found.measured["exact_match"].scores == [
        1.0,
        0.5,
        Unscored("the row has no target"),
        Unscored("no answer: the row has no output"),
        Unscored("the row has no target"),
    ]
    assert (found.results[0].n, found.results[0].unscored) == (2, 3)


def test_rows_of_a_run_are_read_as_they_are() -> None:
    rows = [
        {"id": "a", "output": "", "target": "no", "output_tokens": 3, "seconds": 0.5, "cluster": 4,
         "choices": [{"text": "no", "logprob": -1.0, "tokens": 1}, {"text": "yes", "logprob": -3.0, "tokens": 1}]},
        {"id": "b", "output": "", "target": "no", "finish": "error", "error": "timeout"},
    ]  # fmt: skip
    found = score_rows(rows, ["choice_accuracy", "output_tokens", "latency"])
    assert [result.value for result in found.results] == [1.0, 3.0, 0.5]
    assert found.measured["latency"].scores[1] == Unscored("no answer: timeout")
    assert found.clusters == ["4", None]


def test_bad_rows_are_all_named() -> None:
    with pytest.raises(DataError) as error:
        score_rows(
            [{"target": "x"}, {"output": 3}, {"output": []}, {"output": "a", "choices": [1]}], ["exact_match"]
        )
    assert error.value.messages == [
        'row 1: has no "output"; expected a text or a list of texts.',
        'row 2: "output" must be a text or a list of texts; got int.',
        'row 3: "output" must be a text or a list of texts; got list.',
        'row 4: "choices" must be a list of {"text", "logprob"} or of texts.',
    ]
    with pytest.raises(DataError, match="no rows"):
        score_rows([], ["exact_match"])


def test_a_file_and_its_samples(tmp_path: Path) -> None:
    file, out = tmp_path / "answers.jsonl", tmp_path / "scores.jsonl"
    rows = [
        {"id": "ä", "output": "Paris", "target": "Paris"},
        {"output": "Rome"},
        {"output": "", "target": "x"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score_file(file, ["exact_match", "token_f1"], samples=out)
    assert [result.value for result in found.results] == [0.5, 0.5]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"id": "ä", "scores": {"exact_match": 1.0, "token_f1": 1.0}},
        {
            "id": "2",
            "scores": {
                "exact_match": {"unscored": "the row has no target"},
                "token_f1": {"unscored": "the row has no target"},
            },
        },
        {"id": "3", "scores": {"exact_match": 0.0, "token_f1": 0.0}},
    ]
    with pytest.raises(OutputFolderError, match=r"Cannot write .*no/scores\.jsonl: No such file"):
        score_file(file, ["exact_match"], samples=tmp_path / "no" / "scores.jsonl")


def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"output": "a"}\n{"output": \n{"target": "b"}\n')
    with pytest.raises(DataError, match=r"answers\.jsonl:2: not JSON"):
        score_file(file, ["json_valid"])
    file.write_text('{"output": "a"}\n\n{"target": "b"}\n')
    with pytest.raises(DataError, match=r'answers\.jsonl:3: has no "output"'):
        score_file(file, ["json_valid"])
    file.write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        score_file(file, ["json_valid"])


@pytest.fixture
def sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a task that extracts the last number, and a file of answers to it."""
    folder = tmp_path / "tasks" / "sums"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(
        "task: sums\ndata: {test: test.jsonl}\nprompt: '{{ question }}'\ntarget: answer\nid: name\n"
        "extract: last_number\nmetrics: [{metric: exact_match, normalize: none}]\n"
    )
    rows = [
        {"name": "a", "question": "2+2?", "answer": "4"},
        {"name": "b", "question": "3+3?", "answer": "6"},
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "answers.jsonl"


def test_a_file_is_scored_as_a_task_does(sums: Path) -> None:
    rows = [
        {"id": "b", "output": "3 + 3 makes 6."},
        {"id": "a", "output": "2 + 2 makes 5."},
        {"id": "a", "output": "It is 5", "target": "5"},  # a row's own target comes first
        {"id": "z", "output": "7"},
    ]
    sums.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score_file(sums, task="sums")
    assert found.measured["exact_match"].scores == [1.0, 0.0, 1.0, Unscored("the row has no target")]
    assert found.results[0].signature == "exact_match|normalize:none|definition:1|bs:10000|rs:0"
