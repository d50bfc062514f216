"""Answers that are expressions: what math-verify 0.9 says about them, and what it is never asked."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
from math_verify import parse, verify

from evalkit.errors import MetricError
from evalkit.metrics import get_metric
from evalkit.metrics.math_expressions import equivalent
from evalkit.records import Sample


def score(answer: str, target: object) -> Any:
    return get_metric("math_answer").score_text(Sample("1", "", target), answer)  # type: ignore[attr-defined]


def _expressions(rng: random.Random) -> list[str]:
    """Two ways to write one expression."""
    a, b, c = (rng.randint(1, 3) for _ in range(3))
    forms = [
        [f"{a}x + {b}", f"{b} + {a}x"],
        [f"\\frac{{x}}{{{a}}}", f"x / {a}"],
        [f"\\sqrt{{{a * a * 2}}}", f"{a}\\sqrt{{2}}"],
        [f"\\{{{a}, {b}, {c}\\}}", f"\\{{{c}, {b}, {a}\\}}"],
        [f"x > {a}", f"{a} < x"],
        [f"({a}, {b})", f"\\left({a},{b}\\right)"],
        [f"x^{{{a}}} - {b}", f"-{b} + x^{a}"],
        [f"\\begin{{pmatrix}} {a} & {b} \\end{{pmatrix}}"] * 2,
        [f"\\frac{{\\sqrt{{{a + 1}}}}}{{{b}}}", f"\\frac{{1}}{{{b}}}\\sqrt{{{a + 1}}}"],
    ]
    return rng.choice(forms)


def test_equals_math_verify() -> None:
    rng = random.Random(3)
    agreed = 0
    for _ in range(220):
        target, answer = _expressions(rng)
        answer = answer if rng.random() < 0.5 else _expressions(rng)[1]
        expected = verify(parse(f"\\boxed{{{target}}}"), parse(f"\\boxed{{{answer}}}"))
        agreed += expected
        assert equivalent(target, answer) == expected, (target, answer)
        assert score(f"So we get $\\boxed{{{answer}}}$.", f"${target}$") == expected, (target, answer)
    assert 60 < agreed < 180  # both outcomes are there


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("Thus the answer is 1+2x", "$2x+1$", 1),
        ("So \\boxed{\\sqrt{16}}", "4", 1),
        ("#### x+1", "1+x", 1),
        ("We get $x \\in [1,2)$.", "$[1,2)$", 1),
        ("\\boxed{\\frac{1}{x-1}}", "-1/(1-x)", 1),
        ("\\boxed{2x - 1}", ["2x + 1", "-1 + 2x"], 1),  # any accepted answer will do
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", 1),
        ("$1.414214$", "$\\sqrt{2}$", 1),  # an irrational target to six decimals, as math-verify
        ("\\boxed{0.333333}", "\\frac{1}{3}", 0),  # a rational one exactly
        ("\\boxed{\\frac{54.0000001}{3}}", "18", 0),
        ("\\boxed{18 \\text{ or } 20}", "18", 0),
        ("\\boxed{(18, 20)}", "18", 0),
        ("so the roots are $2$ and $3$", "\\{2, 3\\}", 0),
        ("London", "Paris", 0),
    ],
)
def test_agreement(answer: str, target: object, expected: float) -> None:
    assert score(answer, target) == expected


@pytest.mark.parametrize(
    "huge", ["9^{9^{9}}", "9^9^9^9", "10^{99999999}", "2^{(3!)!}", "1000!", "9" * 40, "x" * 401]
)
def test_what_is_huge_to_compute_is_not_computed(huge: str) -> None:
    start = time.perf_counter()
    assert score(f"\\boxed{{{huge}}}", "x + 1") == 0
    assert time.perf_counter() - start < 4


def test_in_another_thread_it_says_so_rather_than_guess() -> None:
    said: list[str] = []

    def run() -> None:
        try:
            equivalent("x", "y")
        except MetricError as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in said[0]
    assert score("18", "18") == 1
