"""A slice of a task answered again: what is counted, what is pooled, what joins the intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.data.prompts import build_request
from evalkit.data.tasks import Task, load_task
from evalkit.metrics import get_metric
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_tiny_model
from evalkit.records import Output, Request, Result
from evalkit.running.answer import answer
from evalkit.running.bases import LazyBase, LazyModel
from evalkit.running.cache import Cache
from evalkit.running.noise import (
    Change,
    Noise,
    answered_again,
    difference_sds,
    noise_sds,
    with_noise,
)
from evalkit.running.plan import BaseChoice
from evalkit.running.progress import Silent
from evalkit.running.score import Scored, score_task
from evalkit.running.twice import measure_noise
from evalkit.specs.study import Quantization

CARD = """\
task: quiz
data: {test: test.jsonl}
prompt: "{{ question }}"
target: answer
generation: {max_new_tokens: 4}
metrics: [exact_match, {metric: f1, average: macro}, latency]
primary: exact_match
id: id
"""


class Wavering:
    """Answers yes; in other batches no to the samples that it was told."""

    def __init__(self, wavers: frozenset[str] = frozenset()) -> None:
        self.wavers, self.asked = wavers, list[str]()

    def fingerprint(self) -> Mapping[str, Any]:
        return {"wavers": sorted(self.wavers)}

    def in_other_batches(self, requests: int) -> Wavering:
        self.other = Wavering(frozenset({f"s{i}" for i in range(3)}))
        return self.other

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        for request in requests:
            self.asked.append(request.id)
            yield Output(request.id, "no" if request.id in self.wavers else "yes", seconds=0.1)


@pytest.fixture
def quiz(tmp_path: Path) -> Task:
    folder = tmp_path / "tasks" / "quiz"
    folder.mkdir(parents=True)
    rows = [
        f'{{"id": "s{i}", "question": "{i}?", "answer": "{"yes" if i % 2 else "no"}"}}' for i in range(40)
    ]
    (folder / "test.jsonl").write_text("\n".join(rows), "utf-8")
    (folder / "task.yaml").write_text(CARD, "utf-8")
    return load_task("quiz", (tmp_path,), seed=1)


def answered(model: Any, task: Task, cache: Cache) -> tuple[list[Request], list[Output], Scored]:
    requests = [build_request(task, sample, chat=False, seed=1) for sample in task.samples]
    outputs = answer(model, requests, cache, Silent(), "m")
    metrics = ["exact_match", {"metric": "f1", "average": "macro"}, "latency"]
    return requests, outputs, score_task(task.samples, outputs, metrics)


def test_flips_and_changes_are_counted(quiz: Task, tmp_path: Path) -> None:
    """s0, s1 and s2 change from yes to no, which is right for s0 and s2: 3 flips of 40, one more right."""
    model = Wavering()
    with Cache(tmp_path / "cache") as cache:
        requests, outputs, scored = answered(model, quiz, cache)
        found = measure_noise(model, quiz, requests, outputs, scored, cache, Silent(), "m", seed=1, count=40)  # type: ignore[arg-type]
    assert (found.n, found.answers) == (40, 3)
    assert set(found.changes) == {"exact_match", "f1"}  # latency says what a batch took
    exact = found.changes["exact_match"]
    assert exact.flips == 3
    assert exact.change == pytest.approx(1 / 40)
    # changes +1, −1, +1 and 37 zeros: Σ(d − d̄)²/39/40 with d̄ = 1/40
    assert exact.variance == pytest.approx((3 - 1 / 40) / 39 / 40)
    assert found.changes["f1"].change != 0
    assert model.other.asked != sorted(model.other.asked)  # another order


def test_the_slice_is_the_same_for_every_candidate_and_small(quiz: Task, tmp_path: Path) -> None:
    seen = []
    for name in ("a", "b"):
        model = Wavering()
        with Cache(tmp_path / name) as cache:
            requests, outputs, scored = answered(model, quiz, cache)
            found = measure_noise(
                model, quiz, requests, outputs, scored, cache, Silent(), name, seed=1, count=16
            )  # type: ignore[arg-type]
        assert found.n == answered_again(40, "bf16", "nf4") == 16
        seen.append(model.other.asked)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 16


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_real_model_in_other_batches(quiz: Task, tmp_path: Path, dtype: str) -> None:
    """In fp32 rounding never decides, so that the floor is measured as 0; in bf16 the flips are what they are."""
    write_tiny_model(tmp_path / "tiny")
    choice = BaseChoice(str(tmp_path / "tiny"), Quantization(type="none"), dtype, "cpu")
    with Cache(tmp_path / "cache") as cache:
        base = LazyBase(choice, cache, Silent())
        model = LazyModel(base, None)
        requests, outputs, scored = answered(model, quiz, cache)
        again = model.in_other_batches(16)
        assert again.fingerprint() != model.fingerprint()
        found = measure_noise(model, quiz, requests, outputs, scored, cache, Silent(), "m", seed=1, count=16)
        assert found.n == 16
        if dtype == "fp32":
            assert found.answers == 0
            assert found.changes["exact_match"] == Change(0, 0.0, 0.0)
        assert found.changes["exact_match"].flips <= found.answers
        # Everything is kept: asking again loads no base.
        fresh = LazyModel(LazyBase(choice, cache, Silent()), None)
        told = measure_noise(fresh, quiz, requests, outputs, scored, cache, Silent(), "m", seed=1, count=16)
        assert told == found


def test_slices_of_one_base_are_pooled() -> None:
    noise = {
        ("base", "quiz"): Noise(16, 2, {"em": Change(2, 0.2, 0.01)}),
        ("r8", "quiz"): Noise(16, 1, {"em": Change(1, 0.0, 0.01)}),
        ("other", "quiz"): Noise(16, 0, {"em": Change(0, 0.0, 0.0)}),
        ("recorded", "quiz"): Noise(note="recorded answers"),
    }
    sds = noise_sds(noise, {"base": 1, "r8": 1, "other": 2, "recorded": None})
    pooled = math.sqrt((0.2**2 - 0.01 + 0.0 - 0.01) / 4)
    assert sds == {
        ("base", "quiz", "em"): pytest.approx(pooled),
        ("r8", "quiz", "em"): pytest.approx(pooled),
        ("other", "quiz", "em"): 0.0,
    }
    assert difference_sds("r8", "base", "quiz", sds) == {"em": pytest.approx(pooled * math.sqrt(2))}
    assert difference_sds("r8", "recorded", "quiz", sds) == {"em": pytest.approx(pooled)}
    assert difference_sds("recorded", "recorded", "quiz", sds) == {}


def test_a_value_holds_the_noise_in_its_own_unit() -> None:
    metric = get_metric("exact_match")
    plain = Result("exact_match", 0.5, 0.4, 0.6, 0.95, 100, 0, True, "em")
    wide = with_noise(plain, 0.05, metric)
    assert wide.low == pytest.approx(0.5 - math.hypot(0.1, 1.959964 * 0.05), abs=1e-6)
    assert wide.noise_sd == 0.05
    assert with_noise(plain, 0.0, metric).low == 0.4
    assert with_noise(plain, 0.0, metric).to_json()["noise_sd"] == 0.0  # measured, and none
    assert "noise_sd" not in with_noise(plain, None, metric).to_json()


def test_int8_answers_depend_on_their_batch_in_fp32_too(tmp_path: Path) -> None:
    """Why an int8 base is measured: a row's result changes beside a row that holds an outlier."""
    write_tiny_model(tmp_path)
    moved = {}
    for quantization in ("int8", "none"):
        base = load_base(str(tmp_path), quantization=quantization, dtype="fp32", device="cpu")
        layer = base.model.model.layers[0].self_attn.q_proj
        torch.manual_seed(0)
        row, outlier = torch.randn(1, 64), torch.randn(1, 64)
        outlier[0, 3] = 9.0
        with torch.no_grad():
            moved[quantization] = float((layer(row) - layer(torch.cat([row, outlier]))[:1]).abs().max())
    assert moved["int8"] > 1e-5 > 10 * moved["none"]
    assert answered_again(100, "fp32", "int8") == 16
    assert answered_again(100, "fp32", "none") == 0
