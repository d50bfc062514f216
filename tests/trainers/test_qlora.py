"""The qlora loop: it learns, resumes to the bit, keeps the best, leaves the base alone, and stops on nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evalkit.data.conversation import Conversation
from evalkit.errors import CandidateError
from evalkit.models import chat
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_random_adapter, write_tiny_model
from evalkit.specs.trainer import QloraSettings
from evalkit.training.attention import stream_attention
from evalkit.training.batches import collate
from evalkit.training.loss import validation_loss
from evalkit.training.many import joined
from evalkit.training.memory_fallback import MemoryFallback
from evalkit.training.prepare import prepare

Jobs = Callable[..., Any]


def losses(log: list[dict[str, Any]]) -> list[float]:
    return [entry["loss"] for entry in log]


def snapshot(model: Any) -> dict[str, Any]:
    """Everything about a model that training could leave changed."""
    return {
        "types": [(name, type(module)) for name, module in model.named_modules()],
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "trainable": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        "training": model.training,
        "gradients": [name for name, parameter in model.named_parameters() if parameter.grad is not None],
        "config": hasattr(model, "peft_config"),
        "dropout": [(name, module.p) for name, module in model.named_modules() if hasattr(module, "p")],
        "attention": [getattr(module, "attention_dropout", None) for module in model.modules()],
        "checkpointing": [getattr(module, "gradient_checkpointing", None) for module in model.modules()],
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    weights = a["weights"].keys() == b["weights"].keys() and all(
        torch.equal(tensor, b["weights"][name]) for name, tensor in a["weights"].items()
    )
    return weights and all(a[key] == b[key] for key in a if key != "weights")


def test_four_rows_are_learned_by_heart(qlora: ModuleType, job_of: Jobs, rows: list[Conversation]) -> None:
    job, log = job_of(
        {"max_steps": 60, "epochs": 100, "learning_rate": 1e-2, "rank": 16},
        train=rows[:4],
        quantization="nf4",
    )
    summary = qlora.train(job)
    assert log[0]["loss"] > 3
    assert log[-1]["loss"] < 0.02
    assert (summary.steps, summary.stopped, summary.validation_loss) == (60, "finished", None)
    # and the model says it by itself, with the adapter as it lies on the disk
    job.base.add_adapter("trained", job.folder / "adapter")
    with job.base.use("trained") as model, torch.no_grad():
        ids = torch.tensor([chat.prompt_ids(job.base.tokenizer, rows[2].messages[:1])])
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
    assert job.base.tokenizer.decode(answer[0, ids.shape[1] :]) == rows[2].messages[1]["content"] + "<|end|>"


def test_log_rows_are_what_the_contract_says(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation]
) -> None:
    job, log = job_of({"batch_size": 10, "micro_batch": 4}, validation=rows[:3])
    summary = qlora.train(job)
    keys = ["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "computed_tokens"]
    assert [entry["step"] for entry in log] == [1, 2, 3]  # 24 rows: 10, 10 and 4
    assert [entry["epoch"] for entry in log] == pytest.approx([1 / 3, 2 / 3, 1])
    for entry in log:
        assert set(entry) - {"validation_loss"} == {
            *keys,
            "supervised_tokens",
            "seconds",
            "seconds_by_phase",
            "peak_memory_bytes",
        }
        assert sum(entry["seconds_by_phase"].values()) == pytest.approx(entry["seconds"], abs=1e-4)
        for phase in ("data", "forward", "backward", "optimizer"):
            assert entry["seconds_by_phase"][phase] > 0
        assert (entry["seconds_by_phase"]["validation"] > 0) == ("validation_loss" in entry)
        assert 10**8 < entry["peak_memory_bytes"] <= summary.peak_memory_bytes
        assert entry["supervised_tokens"] < entry["computed_tokens"] <= entry["tokens"]
    assert ["validation_loss" in entry for entry in log] == [False, True, True]
    assert json.loads(json.dumps(log)) == log
    data = prepare(job)
    assert summary.tokens == sum(len(row.ids) for row in data.train)
    assert summary.supervised_tokens == sum(row.targets for row in data.train)
    assert summary.tokens_per_second == pytest.approx(summary.tokens / summary.seconds)
    assert summary.peak_memory_bytes > 10**8
    assert sum(summary.seconds_by_phase.values()) == pytest.approx(summary.seconds, abs=1e-3)
    assert summary.seconds_by_phase["backward"] == pytest.approx(
        sum(entry["seconds_by_phase"]["backward"] for entry in log), abs=1e-5
    )
    total = sum(entry["loss"] * entry["supervised_tokens"] for entry in log)
    assert summary.train_loss == pytest.approx(total / summary.supervised_tokens)
    assert summary.validation_loss == min(
        entry["validation_loss"] for entry in log if "validation_loss" in entry
    )


def test_same_seed_same_losses_and_another_seed_others(
    qlora: ModuleType, job_of: Jobs, tmp_path: Path
) -> None:
    found = []
    for number, seed in enumerate([1, 1, 2]):
        job, log = job_of({"seed": seed, "dropout": 0.1}, folder=tmp_path / str(number))
        qlora.train(job)
        found.append(losses(log))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_base_is_as_before(qlora: ModuleType, job_of: Jobs, quantization: str) -> None:
    job, _ = job_of(
        {"model_dropout": 0.2, "gradient_checkpointing": True, "dropout": 0.1}, quantization=quantization
    )
    before, random = snapshot(job.base.model), torch.get_rng_state()
    qlora.train(job)
    assert same(before, snapshot(job.base.model))
    assert torch.equal(random, torch.get_rng_state())


def test_other_adapters_are_as_before_and_not_trained_with(
    qlora: ModuleType, job_of: Jobs, tmp_path: Path
) -> None:
    alone, log_alone = job_of(folder=tmp_path / "alone")
    qlora.train(alone)
    job, log = job_of(folder=tmp_path / "beside")
    write_random_adapter(job.base, tmp_path / "other")
    job.base.add_adapter("other", tmp_path / "other")
    ids = torch.tensor([[1, 2, 3]])
    with job.base.use("other") as model:
        before, on = snapshot(model), model(input_ids=ids).logits
        qlora.train(job)
        assert same(before, snapshot(model))
        assert torch.equal(on, model(input_ids=ids).logits)
    assert losses(log) == losses(log_alone)


def test_validation_on_a_4_bit_base_does_not_change_what_is_learned(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], tmp_path: Path
) -> None:
    # bitsandbytes repacks 4-bit weights in place in eval mode on some CPUs, after which gradients are wrong
    settings = {"epochs": 3, "learning_rate": 1e-2, "early_stopping": None}
    plain, log_plain = job_of(settings, quantization="nf4", folder=tmp_path / "plain")
    qlora.train(plain)
    checked, log = job_of(settings, quantization="nf4", folder=tmp_path / "checked", validation=rows[:4])
    qlora.train(checked)
    assert any("validation_loss" in entry for entry in log[:-1])
    assert losses(log) == losses(log_plain)
    assert [e["grad_norm"] for e in log] == [e["grad_norm"] for e in log_plain]


@pytest.mark.parametrize("micro", [2, 3, 8])
def test_cut_into_micro_batches_makes_no_difference(
    qlora: ModuleType, job_of: Jobs, tmp_path: Path, micro: int
) -> None:
    one, log_one = job_of({"micro_batch": 1, "warmup": 0.0, "batch_size": 10}, folder=tmp_path / "one")
    qlora.train(one)
    many, log = job_of({"micro_batch": micro, "warmup": 0.0, "batch_size": 10}, folder=tmp_path / "many")
    qlora.train(many)
    assert losses(log) == pytest.approx(losses(log_one), rel=1e-5)
    assert [e["grad_norm"] for e in log] == pytest.approx([e["grad_norm"] for e in log_one], rel=1e-5)


@pytest.mark.parametrize("dropped", [0, 3])  # a full window, and the last, partial one of an epoch
def test_gradients_of_micro_batches_add_up(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], dropped: int
) -> None:
    found = []
    for micro, mode in ((1, "plain"), (4, "plain"), (8, "packed"), (1, "shared"), (8, "shared")):
        job, _ = job_of({"micro_batch": micro, "max_grad_norm": None}, train=rows[: 8 - dropped])
        member = qlora.Member("mine", job, prepare(job), mode)
        with ExitStack() as stack:
            assert qlora.enter(member, stack)
            with torch.no_grad():
                for parameter in member.adapter.parameters:
                    parameter.add_(
                        torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05
                    )
            if mode != "plain":
                stack.enter_context(stream_attention(job.base.model))
                stack.enter_context(joined([member.adapter]))
            qlora.start(member)
            qlora.gradients([member], MemoryFallback(job.base.device))
            found.append(torch.cat([p.grad.flatten() for p in member.adapter.parameters]))
    assert all(float((found[0] - other).norm() / found[0].norm()) < 1e-6 for other in found[1:])


def test_bf16_base_with_fp32_adapters_learns(qlora: ModuleType, job_of: Jobs, tiny_folder: Path) -> None:
    base = load_base(str(tiny_folder), quantization="nf4", dtype="bf16", device="cpu")
    job, log = job_of({"epochs": 4, "learning_rate": 1e-2}, base=base)
    qlora.train(job)
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    saved = load_file(job.folder / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_gradient_checkpointing_makes_no_difference(qlora: ModuleType, job_of: Jobs, tmp_path: Path) -> None:
    found = []
    for on in (False, True):
        job, log = job_of(
            {"gradient_checkpointing": on, "warmup": 0.0}, folder=tmp_path / str(on), quantization="nf4"
        )
        qlora.train(job)
        found.append([(entry["loss"], entry["grad_norm"]) for entry in log])
    assert found[1] == [pytest.approx(pair, rel=1e-6) for pair in found[0]]


def test_training_stops_when_validation_gets_worse_and_keeps_the_best(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], tmp_path: Path
) -> None:
    # what is held out contradicts what is learned
    held_out = [
        Conversation(row=1, messages=[rows[0].messages[0], {"role": "assistant", "content": "~~~~~~ ZZZZ"}])
    ]
    settings = {"epochs": 40, "learning_rate": 2e-2, "early_stopping": 2, "warmup": 0.0}
    job, log = job_of(settings, validation=held_out)
    summary = qlora.train(job)
    found = [entry["validation_loss"] for entry in log if "validation_loss" in entry]
    assert summary.stopped == "early"
    assert summary.steps == len(log) < 120
    best = found.index(min(found))
    assert len(found) == best + 3  # two validations in a row after the best one
    job.base.add_adapter("kept", job.folder / "adapter")
    with job.base.use("kept") as model:
        kept = validation_loss(model, [collate(prepare(job).validation, "cpu")])
    assert kept == {"": pytest.approx(min(found), rel=1e-6)}
    assert summary.validation_loss == min(found)


SCRIPT = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from evalkit.catalog import find, load_module
from evalkit.data.conversation import Conversation
from evalkit.models.loading import load_base
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob
model, work, rows, settings, sleep_after = sys.argv[1:]
rows = [Conversation(row=i, messages=m) for i, m in enumerate(json.loads(rows), 1)]
def log(entry):
    print(json.dumps(entry), flush=True)
    if entry["step"] == int(sleep_after):
        time.sleep(600)
job = TrainingJob(base=load_base(model, quantization="nf4", dtype="fp32", device="cpu"),
    settings=QloraSettings(**json.loads(settings)), train=rows, validation=rows[:4], folder=Path(work), log=log,
    checkpoint_seconds=0)
load_module(find("trainers", "qlora").path / "train.py").train(job)
"""


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_bits(
    qlora: ModuleType, job_of: Jobs, tiny_folder: Path, rows: list[Conversation], tmp_path: Path, root: Path
) -> None:
    settings = {"rank": 4, "batch_size": 8, "epochs": 4, "dropout": 0.1, "learning_rate": 1e-2}
    whole, unbroken = job_of(settings, quantization="nf4", validation=rows[:4], folder=tmp_path / "whole")
    qlora.train(whole)
    messages = json.dumps([row.messages for row in rows])
    killed = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tiny_folder, tmp_path / "killed", messages, json.dumps(settings), "6"],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    told = [json.loads(killed.stdout.readline()) for _ in range(6)]  # it now sleeps, its 5th step on the disk
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    said: list[str] = []
    folder = tmp_path / "killed"
    job, resumed = job_of(settings, quantization="nf4", validation=rows[:4], folder=folder, tell=said.append)
    qlora.train(job)
    assert said[-1] == "resumed after step 5 of 12."
    for entry in [*unbroken, *told, *resumed]:
        for clocked in ("seconds", "seconds_by_phase", "peak_memory_bytes"):
            del entry[clocked]
    assert told == unbroken[:6]
    assert resumed == unbroken
    assert sorted(path.name for path in (folder / "checkpoint").iterdir()) == ["best.pt", "last.pt"]
    a, b = (
        load_file(tmp_path / work / "adapter" / "adapter_model.safetensors") for work in ("whole", "killed")
    )
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_finished_training_is_not_done_again(qlora: ModuleType, job_of: Jobs) -> None:
    job, log = job_of()
    first = qlora.train(job)
    said: list[str] = []
    second, again = job_of(base=job.base, tell=said.append)
    assert qlora.train(second).train_loss == first.train_loss
    assert again == log
    assert said == ["resumed after step 3 of 3."]


def test_checkpoint_of_another_training_is_not_used(qlora: ModuleType, job_of: Jobs) -> None:
    job, log = job_of()
    qlora.train(job)
    other, again = job_of({"learning_rate": 1e-3}, base=job.base)
    qlora.train(other)
    assert losses(again)[0] == losses(log)[0]  # the same start
    assert losses(again)[2] != losses(log)[2]


def test_nan_stops_the_candidate_and_names_the_step(qlora: ModuleType, job_of: Jobs) -> None:
    job, log = job_of(
        {"learning_rate": 1.0, "epochs": 100, "max_grad_norm": None, "warmup": 0.0, "alpha": 1e38}
    )
    before = snapshot(job.base.model)
    with pytest.raises(CandidateError, match=r"is (nan|inf) at step \d+, learning rate .* try a tenth"):
        qlora.train(job)
    assert len(log) < 300
    assert not (job.folder / "adapter").exists()
    assert same(before, snapshot(job.base.model))


def test_nan_in_the_base_is_found_at_the_first_step(qlora: ModuleType, job_of: Jobs) -> None:
    job, _ = job_of()
    with torch.no_grad():
        job.base.model.model.embed_tokens.weight[:200] = float("nan")
    with pytest.raises(CandidateError, match=r"loss is nan at step 1, .* base's weights are damaged"):
        qlora.train(job)


def test_rows_that_do_not_fit_are_told_and_none_left_is_an_error(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation]
) -> None:
    said: list[str] = []
    long = Conversation(row=99, messages=[{"role": "user", "content": "x" * 600}, rows[0].messages[1]])
    job, _ = job_of(train=[*rows, long], tell=said.append)  # the tiny model's context is 512
    qlora.train(job)
    assert said == ["training data: 1 row longer than 512 tokens was dropped: row 99"]
    job, _ = job_of(train=[long])
    with pytest.raises(
        CandidateError, match="no training row is left: 1 were given, 1 are longer than max_length 512"
    ):
        qlora.train(job)
    job, _ = job_of(train=[])
    with pytest.raises(CandidateError, match="no training row is left: 0 were given"):
        qlora.train(job)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"targets": ["q_prj"]}, "Did you mean 'q_proj'"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(
    qlora: ModuleType, job_of: Jobs, settings: dict[str, Any], told: str
) -> None:
    job, _ = job_of(settings)
    with pytest.raises(CandidateError, match=told):
        qlora.train(job)


@pytest.mark.parametrize("speed", ["auto", "dense-cache"])
@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_de_quantised_weights_change_no_number(
    qlora: ModuleType,
    job_of: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantization: str,
    speed: str,
) -> None:
    told: list[str] = []
    plain, log_plain = job_of(
        {"warmup": 0.0}, quantization=quantization, folder=tmp_path / "plain", tell=told.append
    )
    with monkeypatch.context() as patch:
        patch.setattr("evalkit.models.dense.free_bytes", lambda device: 0)  # no memory to spare
        qlora.train(plain)
    said: list[str] = []
    settings = {"warmup": 0.0, "speed": speed}
    cached, log = job_of(settings, quantization=quantization, folder=tmp_path / "cached", tell=said.append)
    before = snapshot(cached.base.model)
    qlora.train(cached)
    assert [(e["loss"], e["grad_norm"]) for e in log] == [
        pytest.approx((e["loss"], e["grad_norm"]), rel=1e-6) for e in log_plain
    ]
    assert same(before, snapshot(cached.base.model))
    about = [sentence for sentence in said if "de-quantised" in sentence or "no 4-bit" in sentence]
    if quantization == "nf4":
        assert about == ["4-bit weights are kept de-quantised: 0.00 GB."]
    else:
        assert bool(about) == (speed == "dense-cache")
    assert told == []


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_other_optimizers_learn_too(qlora: ModuleType, job_of: Jobs, optimizer: str) -> None:
    said: list[str] = []
    settings = {"optimizer": optimizer, "epochs": 6, "learning_rate": 1e-2}
    job, log = job_of(settings, tell=said.append)
    qlora.train(job)
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert bool(said) == optimizer.startswith("paged")
    assert all("paging needs CUDA" in sentence for sentence in said)


def test_training_starts_from_an_adapter(qlora: ModuleType, job_of: Jobs, tmp_path: Path) -> None:
    first, log = job_of({"epochs": 4, "learning_rate": 1e-2}, folder=tmp_path / "first")
    qlora.train(first)
    second, again = job_of({"warmup": 0.0}, folder=tmp_path / "second", start=tmp_path / "first" / "adapter")
    qlora.train(second)
    assert losses(again)[0] < 0.6 * losses(log)[0]
    other, _ = job_of({"rank": 8}, folder=tmp_path / "third", start=tmp_path / "first" / "adapter")
    with pytest.raises(CandidateError, match="does not fit the settings"):
        qlora.train(other)


def test_a_row_of_weight_two_counts_as_two_rows(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], tmp_path: Path
) -> None:
    heavy = Conversation(row=1, messages=rows[0].messages, weight=2.0)
    settings = {"batch_size": 30, "micro_batch": 4, "warmup": 0.0}
    weighted, log = job_of(settings, train=[heavy, *rows[1:5]], folder=tmp_path / "weighted")
    doubled, log_doubled = job_of(settings, train=[rows[0], *rows[:5]], folder=tmp_path / "doubled")
    qlora.train(weighted)
    qlora.train(doubled)
    assert losses(log) == pytest.approx(losses(log_doubled), rel=1e-6)
    assert log[0]["grad_norm"] == pytest.approx(log_doubled[0]["grad_norm"], rel=1e-5)


def test_defaults_are_the_documented_ones(root: Path) -> None:
    text = (root / "trainers" / "qlora" / "README.md").read_text(encoding="utf-8")
    table = {
        cells[1].strip().strip("`"): cells[2].strip().strip("`")
        for cells in (line.split("|") for line in text.splitlines() if line.startswith("| `"))
    }
    assert table == {
        name: json.dumps(value).strip('"') for name, value in QloraSettings().model_dump(mode="json").items()
    }


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_layers_with_biases(
    qlora: ModuleType, job_of: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str
) -> None:
    """bitsandbytes gives views there, which cannot be added to in place; padded rows go through peft's own code."""
    from transformers import Qwen2Config

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 264}
    config = Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)
    write_tiny_model(tmp_path / "qwen2", config)
    monkeypatch.setattr("evalkit.models.dense.free_bytes", lambda device: 0)
    logs = []
    for speed in ("auto", "plain"):
        base = load_base(str(tmp_path / "qwen2"), quantization=quantization, dtype="fp32", device="cpu")
        assert base.model.model.layers[0].self_attn.q_proj.bias is not None
        job, log = job_of({"speed": speed, "warmup": 0.0}, base=base, folder=tmp_path / speed)
        qlora.train(job)
        logs.append([entry["loss"] for entry in log])
    # int8 finds its outliers by batch, so rows in a stream and padded ones differ by that
    assert logs[0] == pytest.approx(logs[1], rel=1e-4 if quantization == "nf4" else 2e-2)


def test_a_cpu_without_memory_is_told_as_such(
    qlora: ModuleType, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(qlora, "backpropagate", full)
    job, _ = job_of({})
    with pytest.raises(CandidateError, match="memory"):
        qlora.train(job)
