"""A new adapter: seeded, fp32, on the right layers, in peft's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.errors import CandidateError, OutputFolderError
from evalkit.models.devices import Placement
from evalkit.models.loading import Base
from evalkit.models.registry import ResolvedModel
from evalkit.specs.study import Quantization
from evalkit.specs.trainer import QloraSettings
from evalkit.training.adapters import new_adapter
from evalkit.training.targets import target_modules

Bases = Callable[..., Base]


def states(base: Base, seed: int, **settings: Any) -> dict[str, torch.Tensor]:
    with new_adapter(base, QloraSettings(**settings), seed) as adapter:
        return adapter.state()


def test_start_is_seeded_and_b_is_zero(base_of: Bases) -> None:
    base = base_of()
    first, again, other = (states(base, seed, rank=4) for seed in (1, 1, 2))
    assert len(first) == 2 * 7 * 2  # 2 layers of 7 linear ones, A and B; not the head
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key, tensor in first.items():
        assert tensor.dtype == torch.float32
        assert bool(tensor.any()) == ("lora_A" in key)
        assert torch.equal(tensor, other[key]) == ("lora_B" in key)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_adapters_are_fp32_on_any_base(base_of: Bases, quantization: str) -> None:
    with new_adapter(base_of(quantization), QloraSettings(rank=2), 1) as adapter:
        assert {parameter.dtype for parameter in adapter.parameters} == {torch.float32}
        assert [name for name, p in adapter.base.model.named_parameters() if p.requires_grad] == [
            name.removeprefix("model.") for name in adapter.named
        ]


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_orthogonal_start_is_the_base_and_neither_matrix_is_zero(base_of: Bases, quantization: str) -> None:
    found = states(base_of(quantization), 1, rank=4, init="orthogonal")
    pairs = [(found[key], found[key.replace("lora_A", "lora_B")]) for key in found if "lora_A" in key]
    assert len(pairs) == 14
    for a, b in pairs:
        assert (a.dtype, b.dtype) == (torch.float32, torch.float32)
        torch.testing.assert_close(b @ a, torch.zeros(len(b), a.shape[1]), atol=1e-7, rtol=0)
        assert torch.linalg.matrix_rank(a) == torch.linalg.matrix_rank(b) == 2  # half of the rank each
    # entries of a product of (I, 2) normal numbers with 2 orthonormal rows of 4, over 10: variance 2 / 4 / 100
    numbers = torch.cat([tensor.flatten() for pair in pairs for tensor in pair])
    assert float(numbers.std()) == pytest.approx(0.0707, rel=0.05)


@pytest.mark.parametrize(
    "settings", [{}, {"init": "orthogonal"}, {"dora": True}, {"rslora": True, "rank": 8, "init": "gaussian"}]
)
def test_saved_adapter_is_peft_s_own(
    base_of: Bases, tiny_folder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = base_of()
    ids = torch.tensor([[5, 6, 7, 8]])
    with new_adapter(base, QloraSettings(**settings), 1) as adapter:
        with torch.no_grad():
            for parameter in adapter.parameters:
                parameter.add_(0.02)
        ours = base.model(input_ids=ids).logits.detach()
        adapter.save(tmp_path / "adapter")
    outside = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path / "adapter"
    )
    torch.testing.assert_close(outside(input_ids=ids).logits, ours)
    assert not torch.allclose(base.model(input_ids=ids).logits, ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == base.resolved.name
    assert config["inference_mode"] is True
    base.add_adapter("it", tmp_path / "adapter")
    with base.use("it") as model:
        torch.testing.assert_close(model(input_ids=ids).logits, ours)


def test_error_inside_takes_the_adapter_out_again(base_of: Bases) -> None:
    base = base_of()
    before = [(name, type(module)) for name, module in base.model.named_modules()]
    with pytest.raises(ZeroDivisionError), new_adapter(base, QloraSettings(), 1):
        print(1 / 0)
    assert [(name, type(module)) for name, module in base.model.named_modules()] == before
    assert not hasattr(base.model, "peft_config")


def test_targets_of_the_blocks(base_of: Bases) -> None:
    model = base_of().model
    linear = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert target_modules(model, "all-linear") == linear
    assert target_modules(model, "attention") == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert target_modules(model, "mlp") == ["down_proj", "gate_proj", "up_proj"]
    assert target_modules(model, ["q_proj", "layers.1.mlp.up_proj"]) == ["q_proj", "layers.1.mlp.up_proj"]
    with pytest.raises(CandidateError, match="the model has down_proj, gate_proj"):
        target_modules(model, ["query"])


def test_targets_whose_short_names_mean_more_are_full_names() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    # GPT-2 calls a layer of either block c_proj
    assert target_modules(model, "attention") == [
        "transformer.h.0.attn.c_attn",
        "transformer.h.0.attn.c_proj",
    ]


def test_all_linear_leaves_out_what_only_looks_linear() -> None:
    """A router gives back more than a product; of layers in a list the last part of the name is a number alone."""
    from transformers import AutoModelForCausalLM, Gemma3nTextConfig, PhimoeConfig

    sizes = {
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip
    attention = ["k_proj", "o_proj", "q_proj", "v_proj"]
    model = AutoModelForCausalLM.from_config(PhimoeConfig(num_local_experts=2, **sizes))
    assert target_modules(model, "all-linear") == attention
    nano = Gemma3nTextConfig(
        vocab_size_per_layer_input=40, hidden_size_per_layer_input=8, laurel_rank=4, num_kv_shared_layers=0,
        altup_num_inputs=2, layer_types=["full_attention"] * 2, activation_sparsity_pattern=[0.0] * 2, **sizes
    )  # fmt: skip
    named = target_modules(AutoModelForCausalLM.from_config(nano), "all-linear")
    assert {"altup_projections.0", "altup_unembed_projections.0", *attention} < set(named)
    assert not any(name.isdigit() for name in named)


def test_two_adapters_on_stacks_of_experts_one_after_the_other() -> None:
    """peft puts one adapter of such a layer into another; a base left with a loop in it would hang the second."""
    from transformers import AutoModelForCausalLM, DeepseekV3Config

    config = DeepseekV3Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, moe_intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=2, num_experts_per_tok=1, n_group=1,
        topk_group=1, first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=8,
        qk_rope_head_dim=8, v_head_dim=8,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    base = Base(
        model, None, Placement("cpu", "fp32", ""), Quantization(), ResolvedModel("", Path(), "", None)
    )
    ids = torch.arange(3, 12)[None]
    before = model(input_ids=ids).logits
    sizes = []
    for _ in range(2):
        with new_adapter(base, QloraSettings(rank=2), 1) as adapter:
            sizes.append(len(adapter.parameters))
            assert any("experts.base_layer" in name for name in adapter.named)
        assert not any("base_layer" in name for name, _ in model.named_parameters())
        assert not hasattr(model.model.layers[1].mlp.experts, "base_layer")
        assert torch.equal(model(input_ids=ids).logits, before)
    assert sizes[0] == sizes[1]


def test_all_linear_is_more_than_attention(base_of: Bases) -> None:
    attention = states(base_of(), 1, targets="attention", rank=2)
    assert len(attention) == 2 * 4 * 2
    assert all("self_attn" in key for key in attention)


def test_folder_that_cannot_be_written_is_told(base_of: Bases, tmp_path: Path) -> None:
    (tmp_path / "adapter").write_text("in the way", encoding="utf-8")
    with (
        new_adapter(base_of(), QloraSettings(rank=2), 1) as adapter,
        pytest.raises(OutputFolderError, match="cannot write the adapter"),
    ):
        adapter.save(tmp_path / "adapter")
