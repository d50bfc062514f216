"""Orders, criteria, items and votes; juries; layers; rows and their reader."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.errors import DataError, SpecError
from evalkit.judging.ask import Asked, ask, ask_by_words
from evalkit.judging.card import Judge, open_judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.judging.juries import aggregate, disputed, jury_row
from evalkit.judging.layers import selected
from evalkit.judging.measure import judge_metrics
from evalkit.judging.records import Judgement, Order, read_judgements, write_judgements
from evalkit.models.echo import EchoModel
from evalkit.records import Choice, Output, Request, Sample, Unscored
from evalkit.specs.study import JudgeWhen

MakeJudge = Callable[..., Judge]


class Rule:
    """Replies by a function of the messages."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule, self.asked = rule, 0

    def fingerprint(self) -> dict[str, Any]:
        return {"kind": "rule"}

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        for request in requests:
            self.asked += 1
            yield Output(request.id, self.rule("\n".join(turn["content"] for turn in request.prompt)))


def judged(judge: Judge, case: Case, rule: Callable[[str], str]) -> Judgement:
    questions = questions_of(judge, case, "0")
    asked = {one.id: one for one in ask(Rule(rule), questions)}
    return judgement_of(judge, case, questions, asked)


PAIR = Case("r16", "t", "1", "2+2?", "four", opponent="base", opponent_output="five")


@pytest.mark.parametrize(
    ("rule", "winner", "value", "orders"),
    [
        # prefers what says "four", wherever it stands
        (lambda text: "A" if text.index("four") < text.index("five") else "B", "A", 1.0, "AA"),
        (lambda text: "B" if text.index("four") < text.index("five") else "A", "B", 0.0, "BB"),
        (lambda text: "A", "tie", 0.5, "AB"),  # whatever is first: a flip
        (lambda text: "tie", "tie", 0.5, ["tie", "tie"]),
        # right when it is first, undecided else: no win in both orders (Zheng et al. 2023), three quarters of a win
        (lambda text: "A" if text.index("four") < text.index("five") else "tie", "tie", 0.75, ["A", "tie"]),
    ],
)
def test_pairwise_is_asked_in_both_orders(
    rule: Callable[[str], str], winner: str, value: float, orders: Sequence[str]
) -> None:
    judge = open_judge("pairwise-preference")
    row = judged(judge, PAIR, lambda text: json.dumps({"reason": "r", "winner": rule(text)}))
    assert (row.winner, row.value) == (winner, value)
    assert row.orders == tuple(Order(first, said) for first, said in zip("AB", orders, strict=True))
    assert (row.calls, row.opponent, row.characters, row.opponent_characters) == (2, "base", 4, 4)


def test_equal_answers_tie_without_a_call() -> None:
    judge = open_judge("pairwise-preference")
    case = replace(PAIR, opponent_output="four")
    assert questions_of(judge, case, "0") == []
    assert judgement_of(judge, case, [], {}).value == 0.5


def test_half_a_pair_is_unscored() -> None:
    replies = iter(['{"reason": "", "winner": "A"}', "?", "?", "?"])
    row = judged(open_judge("pairwise-preference"), PAIR, lambda text: next(replies))
    assert row.unscored is not None
    assert row.value is None


def test_criteria_have_scores_of_their_own() -> None:
    judge = open_judge("tone")
    case = Case("r", "t", "1", "Hi", "Hello")

    def rule(text: str) -> str:
        score = 5 if "tone of an answer: respect" in text else 2
        return json.dumps({"reason": "r", "score": score})

    row = judged(judge, case, rule)
    assert row.criteria == {"respect": 5.0, "warmth": 2.0, "professionalism": 2.0}
    assert row.score == 3.0
    broken = judged(judge, case, lambda text: "?" if "warmth" in text else rule(text))
    assert broken.score is None
    assert broken.criteria is not None
    assert broken.criteria["respect"] == 5.0
    metrics = {metric.name: metric for metric in judge_metrics(judge, "tone", {}, [broken])}
    samples, outputs = [Sample("1", "")], [Output("1", "")]
    assert metrics["judge:tone.respect"].measure(samples, outputs).scores == [5.0]
    assert isinstance(metrics["judge:tone"].measure(samples, outputs).scores[0], Unscored)


def test_a_checklist_is_the_weighted_share_of_yes() -> None:
    row = judged(
        open_judge("instruction-following"),
        Case("r", "t", "1", "Hi", "Hello"),
        lambda text: '{"reason": "", "answers": [true, false, true, false]}',
    )
    # weights 2, 1, 1, 1: (2 + 1) / 5
    assert (row.answers, row.value) == ((True, False, True, False), 0.6)


def test_votes_are_repeated_and_their_median_counts(make_judge: MakeJudge) -> None:
    judge = make_judge("kind: pointwise\nvotes: 3\ntemperature: 1.0")
    replies = iter([f'{{"reason": "{n}", "score": {n}}}' for n in (5, 1, 4)])
    row = judged(judge, Case("r", "t", "1", "Hi", "Hello"), lambda text: next(replies))
    assert (row.score, row.reason, row.calls) == (4.0, "4", 3)


def test_no_answer_is_not_judged() -> None:
    case = Case("r", "t", "1", "Hi", None, error="out of memory")
    judge = open_judge("helpfulness")
    assert questions_of(judge, case, "0") == []
    assert judgement_of(judge, case, [], {}).unscored == "no answer: out of memory"


def test_expected_scores_from_log_probabilities() -> None:
    """By hand: shares of e⁰, e⁰ and 2·e⁰ among 1, 2 and 5 are ¼, ¼, ½: ¼ + 2·¼ + 5·½ = 3.25."""

    class Rates:
        def fingerprint(self) -> dict[str, Any]:
            return {"kind": "local"}

        def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
            for request in requests:
                values = {"1": 0.0, "2": 0.0, "5": float(np.log(2))}
                rated = tuple(Choice(word, values.get(word, -1e9), 1) for word in request.choices)
                yield Output(request.id, "5", choices=rated)

    judge = open_judge("helpfulness")
    case = Case("r", "t", "1", "Hi", "Hello")
    questions = questions_of(judge, case, "0", words=True)
    asked = {one.id: one for one in ask_by_words(Rates(), questions)}
    row = judgement_of(judge, case, questions, asked)
    assert row.score == pytest.approx(3.25)
    assert row.probabilities[0]["5"] == pytest.approx(0.5)


def test_the_template_never_sees_a_bare_text(make_judge: MakeJudge) -> None:
    judge = make_judge(
        "kind: pointwise\nreference: true", "{{ input }}|{{ output }}|{{ reference }}|{{ fields.context }}"
    )
    case = Case("r", "t", "1", "IN", "OUT", "REF", {"context": "CTX"})
    seen: list[str] = []
    judged(judge, case, lambda text: seen.append(text) or '{"reason": "", "score": 1}')
    for name, text in (("TASK", "IN"), ("ANSWER", "OUT"), ("REFERENCE", "REF"), ("FIELD", "CTX")):
        assert f">>>\n{text}\n<<<END {name} " in seen[0]
    with pytest.raises(SpecError, match="context"):
        judged(judge, replace(case, fields={}), lambda text: "")


def test_juries() -> None:
    votes = {"a": 5.0, "b": 5.0, "c": 2.0, "d": None}
    assert aggregate(votes, "mean") == 4.0
    assert aggregate(votes, "majority") == 5.0
    assert aggregate(votes, "quorum", quorum=2) == 5.0
    assert aggregate(votes, "quorum", quorum=3) == "no value has the 3 votes of the quorum"
    assert aggregate(votes, "weighted", weights={"a": 1.0, "b": 1.0, "c": 2.0}) == 3.5
    assert aggregate({"a": None}, "mean") == "no member of the jury gave a verdict"
    rows = {
        name: Judgement("r", "t", "1", score=value, value=value, calls=1, tokens=10, cost=0.5)
        for name, value in (("a", 5.0), ("b", 3.0))
    }
    row = jury_row(rows, "mean", (1.0, 5.0))
    assert (row.score, row.disagreement, row.calls, row.tokens, row.cost) == (4.0, 0.5, 2, 20, 1.0)
    split = jury_row(rows, "majority", (1.0, 5.0))
    assert split.unscored == "no majority among 2 votes"
    same = jury_row({"a": rows["a"], "b": rows["a"]}, "mean", (1.0, 5.0))
    assert disputed([same, row, split]) == [split, row]


def test_a_layer_judges_what_is_open_and_a_weighted_share_of_the_rest() -> None:
    ids = [str(i) for i in range(100)]
    scores = {id_: (0.5 if int(id_) < 10 else 1.0) for id_ in ids}
    scores["10"] = Unscored("no target")
    when = JudgeWhen(near=[0.5, 0.1], rate=0.2)
    chosen = selected(ids, [scores], when, seed=1)
    assert {id_ for id_, weight in chosen.items() if weight == 1.0} == set(ids[:11])
    assert len(chosen) == 11 + 18  # a fifth of 89 others
    assert sum(chosen.values()) == pytest.approx(100)
    assert selected(ids, [scores], when, seed=1) == chosen
    # open for one candidate is open for all
    both = selected(ids, [scores, {**scores, "50": 0.5}], when, seed=1)
    assert both["50"] == 1.0


def test_the_weighted_estimate_is_unbiased() -> None:
    """The mean over many draws is the mean of judging everything, within four standard errors."""
    rng = np.random.default_rng(3)
    ids = [str(i) for i in range(60)]
    truth = {id_: float(rng.integers(1, 6)) for id_ in ids}
    scores = {id_: (0.0 if truth[id_] <= 2 else 1.0) for id_ in ids}  # bad answers are the open ones
    judge = open_judge("helpfulness")
    found, plain = [], []
    for seed in range(400):
        chosen = selected(ids, [scores], JudgeWhen(below=0.5, rate=0.2), seed=seed)
        rows = [
            Judgement("r", "t", id_, score=truth[id_], value=truth[id_], weight=weight)
            for id_, weight in chosen.items()
        ]
        (metric,) = judge_metrics(judge, "helpfulness", {}, rows)
        measured = metric.measure([Sample(id_, "") for id_ in ids], [Output(id_, "") for id_ in ids])
        found.append(float(metric.value(measured.statistics.sum(0))))
        plain.append(np.mean([row.score for row in rows]))
    expected = np.mean(list(truth.values()))
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / 20
    assert abs(np.mean(plain) - expected) > 0.3  # what leaving the weights out would say


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = [
        Judgement(
            "a", "t", "1", score=4.0, value=4.0, reason="ein Grund ✓", replies=("raw\n",), calls=1, tokens=9
        ),
        Judgement(
            "a",
            "t",
            "2",
            winner="A",
            value=0.75,
            orders=(Order("A", "A"), Order("B", "tie")),
            opponent="base",
        ),
        Judgement("a", "t", "3", answers=(True, False), value=0.5, weight=4.0),
        Judgement("a", "t", "4", unscored="no verdict in 3 replies", replies=("x", "y", "z"), calls=3),
        Judgement(
            "a",
            "t",
            "5",
            score=3.0,
            value=3.0,
            votes={"m": 3.0, "n": None},
            criteria={"c": {"unscored": "?"}},
        ),
    ]
    path = tmp_path / "j.jsonl"
    path.write_text(write_judgements(rows), "utf-8")
    assert read_judgements(path) == rows
    first = json.loads(path.read_text("utf-8").splitlines()[0])
    assert {"candidate", "task", "id", "score", "reason", "replies", "calls", "tokens", "seconds"} <= set(
        first
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no row of judgements"),
        ("[]", "expected an object"),
        ('{"candidate": "a", "task": "t"}', "no id"),
        ('{"candidate": "a", "task": "t", "id": "1"}', "got none"),
        ('{"candidate": "a", "task": "t", "id": "1", "score": 1, "winner": "A"}', "got score and winner"),
        ('{"candidate": "a", "task": "t", "id": "1", "winner": "C"}', "'winner' must be"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(f"\n{line}\n", "utf-8")
    with pytest.raises(DataError, match=f"j.jsonl:2: .*{why}"):
        read_judgements(path)
    with pytest.raises(DataError, match="judge the run first"):
        read_judgements(tmp_path / "absent.jsonl")


def test_outcomes_survive_the_cache() -> None:
    (asked,) = ask(
        Rule(lambda text: '{"reason": "r", "answers": [true, true, true]}'),
        questions_of(open_judge("safety"), Case("r", "t", "1", "Hi", "Hello"), "0"),
    )
    assert Asked.from_json(asked.id, json.loads(json.dumps(asked.to_json()))) == asked


def test_memory_does_not_grow_with_the_questions() -> None:
    """A prompt is written when it is asked for and forgotten with its verdict: what is open counts, not the number."""
    judge = open_judge("helpfulness")
    model = EchoModel('{"reason": "as asked", "score": 4}')

    def peak(count: int) -> int:
        cases = (Case("r", "t", str(i), "What is asked?", f"answer {i} " + "x" * 700) for i in range(count))
        questions = (question for case in cases for question in questions_of(judge, case, case.id))
        tracemalloc.start()
        try:
            assert all(one.verdict is not None for one in ask(model, questions))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(50)
    assert peak(800) < peak(200) + 20_000  # 4 kB a verdict would be 2.4 MB
