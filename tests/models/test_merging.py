"""An adapter as it is shipped: merged, and quantised again; against weights worked out by hand, and on a base that
is shared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.errors import CandidateError
from evalkit.models.loading import Base, load_base
from evalkit.models.local import LocalModel
from evalkit.models.selftest import write_random_adapter
from evalkit.records import Generation, Request

IDS = torch.tensor([[72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100]])
LAYER = "model.layers.1.mlp.down_proj"


def base_in(folder: Path, quantization: str, dtype: str = "fp32") -> Base:
    return load_base(str(folder), quantization=quantization, dtype=dtype, device="cpu")


def logits(base: Base, adapter: str | None) -> torch.Tensor:
    with base.use(adapter) as model, torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[0].float().clone()  # type: ignore[no-any-return]


def written(base: Base, folder: Path, **settings: Any) -> Path:
    """A random adapter of rank 4 on all linear layers, or of other settings."""
    if not settings:
        write_random_adapter(base, folder)
        return folder
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    wrapped = get_peft_model(
        base.model, LoraConfig(r=4, task_type="CAUSAL_LM", init_lora_weights=False, **settings)
    )
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    wrapped.unload()
    return folder


def delta(folder: Path, layer: str) -> torch.Tensor:
    """(alpha / r) · B A, read from the adapter's file."""
    tensors, config = (
        load_file(folder / "adapter_model.safetensors"),
        json.loads((folder / "adapter_config.json").read_text()),
    )
    a, b = (tensors[f"base_model.model.{layer}.lora_{part}.weight"].double() for part in "AB")
    return b @ a * config["lora_alpha"] / config["r"]


def bits(base: Base) -> dict[str, torch.Tensor]:
    """Everything that a base's weights are, 4-bit states among it."""
    return {name: tensor.clone() for name, tensor in base.model.state_dict().items()}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_merged_weights_are_the_base_s_in_full_and_the_adapter_s(
    model_folder: Callable[[str], Path], tmp_path: Path, quantization: str, dtype: str
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    base = base_in(model_folder("llama"), quantization, dtype)
    adapter = written(base, tmp_path / "adapter")
    weight = base.model.get_submodule(LAYER).weight
    full = weight.data if quantization == "none" else dequantize_4bit(weight.data, weight.quant_state)
    by_hand = (full.double() + delta(adapter, LAYER)).float()
    base.add_adapter("merged", adapter, "merged")
    with base.use("merged") as model:
        layer = model.get_submodule(LAYER)
        assert type(layer) is torch.nn.Linear
        assert layer.weight.dtype is base.placement.torch_dtype
        rounding = 2.0**-8 if dtype == "bf16" else 1e-6
        assert torch.allclose(layer.weight.float(), by_hand, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "qwen2"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_in_fp32_merged_logits_are_those_of_the_adapter(
    model_folder: Callable[[str], Path], tmp_path: Path, family: str, quantization: str
) -> None:
    base = base_in(model_folder(family), quantization)
    adapter = written(base, tmp_path / "adapter")
    base.add_adapter("beside", adapter)
    base.add_adapter("merged", adapter, "merged")
    beside, merged = logits(base, "beside"), logits(base, "merged")
    assert torch.allclose(beside, merged, rtol=1e-4, atol=1e-4 * float(beside.abs().max()))
    assert not torch.equal(merged, logits(base, None))


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"target_modules": ["q_proj"]}, {"use_rslora": True}]
)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_kinds_of_lora(
    model_folder: Callable[[str], Path], tmp_path: Path, settings: dict[str, Any], quantization: str
) -> None:
    base = base_in(model_folder("llama"), quantization)
    adapter = written(base, tmp_path / "adapter", **{"target_modules": "all-linear", **settings})
    base.add_adapter("beside", adapter)
    base.add_adapter("merged", adapter, "merged")
    beside = logits(base, "beside")
    assert torch.allclose(beside, logits(base, "merged"), rtol=1e-4, atol=1e-4 * float(beside.abs().max()))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_requantised_is_what_bitsandbytes_makes_of_the_merged_model(
    model_folder: Callable[[str], Path], tmp_path: Path, dtype: str
) -> None:
    # The outside way: peft merges on the de-quantised base, the result is saved, and loaded in NF4.
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = base_in(model_folder("llama"), "nf4", dtype)
    adapter = written(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    whole = AutoModelForCausalLM.from_pretrained(
        model_folder("llama"), dtype=base.placement.torch_dtype, local_files_only=True
    )
    from bitsandbytes.functional import dequantize_4bit

    for name, layer in base.model.named_modules():
        if hasattr(getattr(layer, "weight", None), "quant_state"):
            full = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            whole.get_submodule(name).weight.data = full.clone()
    merged = PeftModel.from_pretrained(whole, adapter).merge_and_unload()
    shutil.copytree(model_folder("llama"), tmp_path / "shipped")
    merged.save_pretrained(tmp_path / "shipped")
    shipped = base_in(tmp_path / "shipped", "nf4", dtype)
    base.add_adapter("requantized", adapter, "requantized")
    with base.use("requantized") as model:
        for name in (LAYER, "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"):
            ours, theirs = model.get_submodule(name).weight, shipped.model.get_submodule(name).weight
            assert torch.equal(ours.data, theirs.data), name
            assert torch.equal(ours.quant_state.absmax, theirs.quant_state.absmax), name
    assert torch.equal(logits(base, "requantized"), logits(shipped, None))
    base.add_adapter("beside", adapter)
    assert not torch.allclose(logits(base, "requantized"), logits(base, "beside"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_base_and_other_adapters_are_as_before_to_the_last_bit(
    model_folder: Callable[[str], Path], tmp_path: Path, quantization: str
) -> None:
    base = base_in(model_folder("llama"), quantization)
    before, alone = bits(base), logits(base, None)
    adapter = written(base, tmp_path / "adapter")
    write_random_adapter(base, tmp_path / "other", seed=1)
    base.add_adapter("other", tmp_path / "other")
    other = logits(base, "other")
    forms = ["merged"] if quantization == "none" else ["merged", "requantized"]
    for form in forms:
        base.add_adapter(form, adapter, form)  # type: ignore[arg-type]
        base.switch(form)
        base.add_adapter("late", tmp_path / "other")  # while merged weights are in place
        assert base.active == form
        assert torch.equal(logits(base, None), alone)
        assert torch.equal(logits(base, "other"), other)
        assert torch.equal(logits(base, "late"), other)
        base.remove_adapter("late")
        base.remove_adapter(form)
    base.remove_adapter("other")
    after = bits(base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(base, None), alone)


def test_answers_do_not_mix_with_those_of_other_candidates(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = base_in(model_folder("llama"), "nf4")
    adapter = written(base, tmp_path / "adapter")
    base.add_adapter("beside", adapter)
    base.add_adapter("requantized", adapter, "requantized")
    asked = [Request(str(i), "generate", f"Question {i}", Generation(max_new_tokens=4 + i)) for i in range(6)]
    names = (None, "beside", "requantized")
    alone = {name: {o.id: o.text for o in LocalModel(base, name).answer(asked)} for name in names}
    found: dict[Any, dict[str, Any]] = {name: {} for name in names}
    running = {name: LocalModel(base, name).answer(asked) for name in names}
    for _ in asked:
        for name, outputs in running.items():
            output = next(outputs)
            found[name][output.id] = output.text
    assert found == alone
    assert alone["requantized"] != alone["beside"]
    assert LocalModel(base, "requantized").fingerprint() != LocalModel(base, "beside").fingerprint()


def test_what_cannot_be_merged_is_said_and_leaves_the_base_as_it_was(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = base_in(model_folder("llama"), "none")
    before = logits(base, None)
    adapter = written(base, tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(
        CandidateError, match=r"embed_tokens: an adapter on Embedding .* expected LoRA on linear"
    ):
        base.add_adapter("merged", adapter, "merged")
    assert not base.adapters
    assert torch.equal(logits(base, None), before)


def test_a_layer_that_was_trained_as_a_whole_is_taken_as_it_is(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = base_in(model_folder("llama"), "nf4")
    adapter = written(base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["norm"])
    tensors = load_file(adapter / "adapter_model.safetensors")
    key = next(name for name in tensors if name.endswith("model.norm.weight"))
    save_file({**tensors, key: tensors[key] * 3}, adapter / "adapter_model.safetensors")
    base.add_adapter("beside", adapter)
    base.add_adapter("merged", adapter, "merged")
    beside = logits(base, "beside")
    assert torch.allclose(beside, logits(base, "merged"), rtol=1e-4, atol=1e-4 * float(beside.abs().max()))
