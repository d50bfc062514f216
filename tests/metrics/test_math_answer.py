from __future__ import annotations

import json
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics import get_metric
from evalkit.metrics.math_answer import final_answer
from evalkit.records import Sample, Unscored

METRIC = get_metric("math_answer")


def score(answer: str, target: object) -> object:
    return METRIC.score_text(Sample("1", "", target), answer)  # type: ignore[attr-defined]


def forms(number: Decimal) -> list[str]:
    """The usual ways to write a number as the end of a solution."""
    return [
        f"#### {number:,}",
        f"${number:,.2f}" if number == round(number, 2) else f"${number:,}",
        f"\\boxed{{{number}}}",
        f"The answer is {number}.",
        f"{number} dollars",
        f"{number:e}",
        f"First 3 + 4 = 7.\nThen it costs ${number:,}.\n\nThe final answer is: **{number:,}**",
        f"A: {number}",
        f"so we get $x = {number}$",
        f"Therefore $\\boxed{{\\${number:,}}}$.",
    ]


def test_every_gold_answer_of_gsm8k_scores_in_every_form_and_a_wrong_number_never(shared_data: Path) -> None:
    rng = random.Random(1)
    lines = {
        name: (shared_data / "gsm8k" / f"{name}.jsonl").read_text().splitlines() for name in ("test", "train")
    }
    assert (len(lines["test"]), len(lines["train"])) == (1319, 7473)
    for row in map(json.loads, lines["test"] + lines["train"][::20]):  # all of them take a minute, and pass
        gold = row["answer"]
        number = Decimal(gold.rsplit("####", 1)[1].strip().replace(",", ""))
        wrong = number + rng.choice([-10, -1, 1, Decimal("0.5"), 100])
        assert score(gold, gold) == 1
        for form, other in zip(forms(number), forms(wrong), strict=True):
            assert score(form, gold) == 1, form
            assert score(form, str(number)) == 1, form
            assert score(other, gold) == 0, other


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 1,234", 1234),
        ("It is 5.\n#### -3", -3),
        ("\\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("\\boxed{-\\dfrac{1}{2}}", Fraction(-1, 2)),
        ("\\boxed{1{,}234\\text{ dollars}}", 1234),
        ("\\boxed{12} and then \\boxed{13}", 13),  # the last one binds
        ("The answer is 18. That leaves 3 apples.", 18),
        ("The answer is 18 because 9 * 2 = 18 and not 20.", 18),
        ("The answer is 6 * 3 = 18 apples", 18),
        ("The answer is not 5 but 6", 6),
        ("#### 18\nThe answer to this is based on 3 facts.", 18),
        ("1.234 \\times 10^{3}", 1234),
        ("1.5e-3", Fraction(15, 10000)),
        ("2 1/2 hours", Fraction(5, 2)),
        ("−5 °C", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("I'd say 25%", 25),
        ("USD 70,000.", 70000),
        ("she has 3 apples, and then 4", 4),
        ("\\boxed{2x + 1}", "2x+1"),
        ("\\boxed{\\left(3, 4\\right)}", "(3,4)"),
        ("no idea", None),
        ("", None),
        ("3/0", None),
        ("9" * 5000, None),  # no answer has as many digits
    ],
)
def test_reading(text: str, answer: object) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("The answer is 18.", "A: 18", 1),
        ("18", "She makes 9 * 2 = $18 every day.\n#### 18", 1),
        ("\\boxed{18}", "so $\\boxed{18}$", 1),
        ("#### 18", 18, 1),
        ("#### 18", ["17", "18"], 1),
        ("#### 18.0", "18", 1),
        ("#### 0.33", "1/3", 0),  # nothing is rounded
        ("0.5", "\\frac{1}{2}", 1),
        ("\\boxed{2x+1}", "2x + 1", 1),
        ("\\boxed{\\dfrac{x}{2}}", "$\\frac{x}{2}$", 1),
        ("\\boxed{x^{3}}", "x^{2}", 0),
        ("it is x^{3}, not 2", "x^{2}", 0),
        ("no idea", "18", 0),
        ("", "18", 0),
        ("The answer is 81", "18", 0),
    ],
)
def test_agreement(answer: str, target: object, expected: float) -> None:
    assert score(answer, target) == expected


def test_unscored() -> None:
    assert score("18", None) == score("18", []) == Unscored("the row has no target")


def test_long_texts_are_quick() -> None:
    import time

    start = time.perf_counter()
    for text in (
        "the answer is " * 5000,
        "1," * 20_000,
        "\\boxed{" * 5000,
        "(" * 20_000 + "5",
        "1 " * 20_000,
    ):
        final_answer(text)
    assert time.perf_counter() - start < 5


@given(
    st.fractions(-(10**6), 10**6, max_denominator=1000), st.fractions(-(10**6), 10**6, max_denominator=1000)
)
def test_properties(first: Fraction, second: Fraction) -> None:
    text, target = f"\\boxed{{{first}}}", str(second)
    assert score(text, str(first)) == 1
    assert score(text, target) == float(first == second)


@given(st.text(max_size=60))
def test_any_text_is_read_without_error(text: str) -> None:
    assert score(text, "18") in (0, 1)
