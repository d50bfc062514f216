"""Schedules, optimisers, modes, checkpoints and memory."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.errors import CandidateError, OutputFolderError
from evalkit.models.loading import Base
from evalkit.training.checkpoints import Checkpoints, Position
from evalkit.training.modes import compute_type, training_mode
from evalkit.training.optimizer import make_optimizer
from evalkit.training.schedule import make_schedule

Bases = Callable[..., Base]


def rates(name: str, warmup: float, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer, name, warmup, steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_schedules_by_hand() -> None:
    # 10 steps, the first 2 of them warm-up: 0, 1/2, then 8 steps down
    assert rates("constant", 0.2, 10) == pytest.approx([0, 0.5] + [1] * 8)
    assert rates("linear", 0.2, 10) == pytest.approx([0, 0.5] + [1 - k / 8 for k in range(8)])
    assert rates("cosine", 0.2, 10) == pytest.approx(
        [0, 0.5] + [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    )
    assert rates("cosine", 0.0, 4)[0] == 1.0
    assert rates("constant", 0.03, 10)[:2] == [0.0, 1.0]  # a share is rounded up to a whole step


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_some_step_is_taken_at_the_peak(name: str) -> None:
    assert rates(name, 0.03, 1) == [1.0]  # all there is to learn from
    assert rates(name, 0.99, 4) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_optimizer_decays_matrices_only() -> None:
    matrix, vector = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer([matrix, vector], "adamw", 0.1, 0.5, "cpu", print)
    matrix.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert matrix.tolist() == [[pytest.approx(0.95)] * 2] * 2  # 1 − 0.1 · 0.5
    assert vector.tolist() == [1.0, 1.0]


def test_paging_says_where_it_does_not_apply() -> None:
    said: list[str] = []
    made = make_optimizer([torch.nn.Parameter(torch.ones(2, 2))], "paged_adamw", 0.1, 0.0, "cpu", said.append)
    assert type(made) is torch.optim.AdamW
    assert said == ["optimizer paged_adamw: paging needs CUDA; on cpu the same steps are taken by adamw."]


def test_model_dropout_is_set_and_put_back(base_of: Bases) -> None:
    model = base_of().model
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    still = model(input_ids=ids).logits
    said: list[str] = []
    with training_mode(model, 0.5, False, said.append):
        assert model.training
        assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.5}
        assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not model.training
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.0}
    assert torch.equal(model(input_ids=ids).logits, still)
    assert said == []


def test_model_dropout_zero_overrules_the_configuration() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with training_mode(model, 0.0, False, print):
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert model.transformer.drop.p == 0.1  # GPT-2's own


def test_architecture_without_dropout_is_told() -> None:
    class Bare(torch.nn.Module):
        pass

    said: list[str] = []
    with training_mode(Bare(), 0.1, False, said.append):
        pass
    assert said == ["model_dropout 0.1: this architecture has no dropout of its own; nothing is dropped."]


def test_precision() -> None:
    a = torch.ones(2, 2)
    for precision, dtype, expected in [
        ("auto", "fp32", torch.float32),
        ("auto", "bf16", torch.bfloat16),
        ("bf16", "fp32", torch.bfloat16),
        ("fp32", "fp32", torch.float32),
    ]:
        with compute_type(precision, dtype, "cpu"):
            assert (a @ a).dtype == expected
    with pytest.raises(CandidateError, match="write dtype: fp32"):
        compute_type("fp32", "bf16", "cpu")


def parts() -> tuple[torch.nn.Parameter, Any, Any]:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    return parameter, optimizer, make_schedule(optimizer, "cosine", 0.0, 10)


def test_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    parameter, optimizer, schedule = parts()
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    schedule.step()
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    position = Position(1, [{"step": 1, "loss": 0.5}], 0.25, 1, 2, 3.5)
    torch.manual_seed(5)
    checkpoints.save(position, {"a": parameter.detach().clone()}, optimizer, schedule)
    drawn = torch.rand(3)
    _, again, scheduled = parts()
    found = checkpoints.load(again, scheduled)
    assert found is not None
    assert found[0] == position
    assert torch.equal(found[1]["a"], parameter.detach())
    assert torch.equal(torch.rand(3), drawn)
    assert scheduled.get_last_lr() == schedule.get_last_lr()
    assert torch.equal(
        again.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )
    assert Checkpoints(tmp_path / "checkpoint", "other").load(again, scheduled) is None


def test_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    _, optimizer, schedule = parts()
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    checkpoints.save(Position(1), {}, optimizer, schedule)
    (tmp_path / "checkpoint" / ".last.pt.tmp").symlink_to("/dev/full")  # a disk that is full
    with pytest.raises(OutputFolderError, match=r"last\.pt"):
        checkpoints.save(Position(2), {}, optimizer, schedule)
    found = checkpoints.load(optimizer, schedule)
    assert found is not None
    assert found[0].step == 1


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("", encoding="utf-8")
    with pytest.raises(OutputFolderError, match="cannot write the checkpoint"):
        Checkpoints(tmp_path / "checkpoint", "key").save_best({})


def test_best_is_the_lowest_and_patience_counts_since_then() -> None:
    position = Position(step=1)
    assert [position.improved(loss) for loss in (1.0, 0.5, 0.5, 0.7)] == [True, True, False, False]
    assert (position.best_loss, position.worse) == (0.5, 2)


def test_peak_memory_counts_from_the_reset() -> None:
    """In a process of its own: a large one may answer from memory that it has freed and not given back."""
    code = (
        "import torch\n"
        "from evalkit.training.memory import peak_memory, reset_peak_memory\n"
        "held = torch.ones(256 * 2**20 // 4)\n"
        "del held\n"
        "high = peak_memory('cpu')\n"
        "reset_peak_memory('cpu')\n"
        "before = peak_memory('cpu')\n"
        "held = torch.ones(64 * 2**20 // 4)\n"
        "print(high - before, peak_memory('cpu') - before)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, encoding="utf-8", check=True
    )
    forgotten, grown = map(int, done.stdout.split())
    assert forgotten > 192 * 2**20
    assert 48 * 2**20 < grown < 96 * 2**20
