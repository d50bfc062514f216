"""A stream gives the loss and gradients of plain rows, in the families where it is used."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from evalkit.errors import CandidateError, EvalkitError
from evalkit.models.devices import Placement
from evalkit.models.loading import Base
from evalkit.models.quiet import quiet
from evalkit.models.registry import ResolvedModel
from evalkit.models.small import small_model
from evalkit.specs.study import Quantization
from evalkit.specs.trainer import QloraSettings
from evalkit.training.adapters import new_adapter
from evalkit.training.attention import stream_attention
from evalkit.training.loss import Tables, backpropagate, supervised_logits, token_losses
from evalkit.training.many import joined
from evalkit.training.packing import Mode, Unit, make_batch
from evalkit.training.phases import Clock
from evalkit.training.rows import TokenRow
from evalkit.training.sharing import choose_mode, is_exact

SIZE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 96,  # the probe's model is narrower
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 8},  # shorter than the prefix
    "phi3": {},
    "smollm3": {},
    "olmo2": {},
    "granite": {},
    "gemma2": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8},
    "cohere2": {"sliding_window": 8},
    "gpt_oss": {"sliding_window": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": 3, "dropout": 0.0},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "mixtral": {"num_local_experts": 4, "sliding_window": 8},
    "granitemoe": {"num_local_experts": 4},
    "gemma3n_text": {
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
        "vocab_size_per_layer_input": 300,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 4,
        "num_kv_shared_layers": 2,
        "altup_num_inputs": 2,
    },
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
}
LATE_EXPERTS: dict[str, Any] = {  # in the fourth of four layers
    "first_k_dense_replace": 3,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 48,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}


def tiny(family: str, **changes: Any) -> Any:
    settings = {**SIZE, **FAMILIES.get(family, {}), **changes}
    if family == "gpt2":
        settings = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0, **FAMILIES[family]}
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(family, **settings), dtype=torch.float32
        )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def rows() -> list[TokenRow]:
    numbers = torch.randint(4, 290, (80,), generator=torch.Generator().manual_seed(3)).tolist()
    made = []
    for row, (start, end) in enumerate(((20, 30), (30, 52), (52, 60), (60, 61 + 6)), start=1):
        ids = (*numbers[:20], *numbers[start:end])
        made.append(TokenRow(ids, tuple(i >= len(ids) - 4 for i in range(len(ids))), row, weight=float(row)))
    return made


def loss_and_gradients(model: Any, mode: Mode) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    with stream_attention(model) if mode != "plain" else nullcontext():
        batch = make_batch([Unit("", rows(), mode)], "cpu")
        scores = supervised_logits(model, batch)
        losses = torch.nn.functional.cross_entropy(scores, batch.targets, reduction="none")
        (losses * batch.weights).sum().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return losses.detach(), torch.cat(gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_plain_rows(family: str) -> None:
    model = tiny(family)
    plain = loss_and_gradients(model, "plain")
    for mode in ("packed", "shared"):
        assert is_exact(model, mode), "the probe refuses a family that it could take"
        found = loss_and_gradients(model, mode)
        assert torch.allclose(plain[0], found[0], rtol=1e-4, atol=1e-5)
        assert float((plain[1] - found[1]).norm() / plain[1].norm()) < 1e-5


def test_gradients_are_those_of_full_logits_one_row_at_a_time() -> None:
    """Nothing of ours on the other side: transformers' forward, torch's cross entropy."""
    model = tiny("gemma2")
    losses = []
    for row in rows():
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor([i if on else -100 for i, on in zip(row.ids, row.supervised, strict=True)][1:])
        losses.append(F.cross_entropy(logits, labels, reduction="sum") * row.weight)
    torch.stack(losses).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    _, found = loss_and_gradients(model, "shared")
    assert float((expected - found).norm() / expected.norm()) < 1e-5


class Detour(torch.nn.Module):
    """A block that changes nothing, but gives the linear layer in it the tokens in another order, or apart."""

    def __init__(self, inner: torch.nn.Module, order: str) -> None:
        super().__init__()
        self.inner, self.order = inner, order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.order == "turned round":
            return self.inner(x.flip(1)).flip(1)
        half = x.shape[1] // 2
        return torch.cat([self.inner(x[:, :half]), self.inner(x[:, half:])], dim=1)


class Roundabout(LlamaForCausalLM):
    """Llama with such blocks."""

    order = "turned round"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp.down_proj = Detour(layer.mlp.down_proj, self.order)


class Halves(Roundabout):
    order = "in halves"


@pytest.mark.parametrize("kind", [Roundabout, Halves])
def test_adapters_that_would_act_on_others_tokens_are_found(kind: type[Any]) -> None:
    """The base's own gradients are exact there: only those of adapters on slices of the stream would be wrong."""
    model = kind(LlamaConfig(**SIZE)).train()
    plain, found = loss_and_gradients(model, "plain"), loss_and_gradients(model, "shared")
    assert float((plain[1] - found[1]).norm() / plain[1].norm()) < 1e-5
    assert not is_exact(model, "packed")
    assert not is_exact(model, "shared")
    elsewhere = QloraSettings(targets="attention")
    assert is_exact(model, "shared", elsewhere)
    assert is_exact(model, "shared", QloraSettings(dora=True))  # through peft's own forward


def test_another_number_of_tokens_is_refused_in_a_pass() -> None:
    model = Halves(LlamaConfig(**SIZE))
    base = Base(
        model, None, Placement("cpu", "fp32", ""), Quantization(), ResolvedModel("", Path(), "", None)
    )
    with (
        new_adapter(base, QloraSettings(rank=2), 1) as adapter,
        stream_attention(model),
        joined([adapter]),
        pytest.raises(
            EvalkitError, match=r"down_proj\.inner is given something else than the tokens of a stream"
        ),
    ):
        token_losses(model, make_batch([Unit(adapter.slot, rows(), "packed")], "cpu"), Tables())


def test_layers_of_every_kind_are_tried_and_adapters_on_stacks_of_experts_refused() -> None:
    """peft puts an adapter of its own kind on the experts that stand fourth."""
    model = tiny("deepseek_v3", **LATE_EXPERTS)
    assert not is_exact(model, "packed")
    assert is_exact(model, "shared", QloraSettings(targets="attention"))
    dense = tiny("deepseek_v3", **{**LATE_EXPERTS, "first_k_dense_replace": 4})
    assert len(small_model(dense, 8, None).model.layers) == 2
    assert len(small_model(model, 8, None).model.layers) == 4


def test_the_small_model_is_small() -> None:
    """Gemma 3n's second table of embeddings has a vocabulary of its own, with all layers' numbers for each id."""
    model = tiny("gemma3n_text", vocab_size=3000, vocab_size_per_layer_input=3000)
    small = small_model(model, 8, None)
    assert max(parameter.shape[0] for parameter in small.parameters()) == 256
    assert small.model.layers[0].mlp.up_proj.out_features == 64


def test_chunks_are_short_enough_to_be_seen() -> None:
    model = tiny("llama4_text", num_local_experts=4, intermediate_size_mlp=96, attention_chunk_size=8192)
    assert not is_exact(model, "packed")


@pytest.mark.parametrize("family", ["mamba", "bloom", "lfm2", "gptj"])
def test_families_that_cannot_are_refused(family: str) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "n_layer": 2, "n_head": 4}
    if family == "lfm2":
        sizes |= {
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention"],
        }
    if family == "gptj":
        sizes = {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}
    with quiet():
        config = AutoConfig.for_model(family, **sizes)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    said: list[str] = []
    assert choose_mode(model, QloraSettings(), said.append) == "plain"
    assert said == [
        f"{type(model).__name__}: rows are run padded, since packing them is not exact in this architecture."
    ]


def test_the_probe_leaves_the_model_as_it_was() -> None:
    model = tiny("gemma3_text")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attention, state = model.config._attn_implementation, torch.get_rng_state()
    assert is_exact(model, "shared")
    assert model.config._attn_implementation == attention
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_checkpointed_layers_are_run_again_with_the_same_layout() -> None:
    model = tiny("llama")
    model.lm_head.requires_grad_(False)
    _, expected = loss_and_gradients(model, "shared")
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.zero_grad(set_to_none=True)
    with stream_attention(model):
        batch = make_batch([Unit("", rows(), "shared")], "cpu")
        backpropagate(model, batch, [1.0], nullcontext, nullcontext, Clock(), Tables())
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert float((expected - found).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize(
    ("settings", "mode"),
    [({"dropout": 0.1}, "packed"), ({"model_dropout": 0.1}, "packed"), ({"speed": "plain"}, "plain")],
)
def test_where_it_is_not_exact_nothing_is_shared_and_said(settings: dict[str, Any], mode: str) -> None:
    said: list[str] = []
    assert choose_mode(tiny("llama"), QloraSettings(**settings), said.append) == mode
    assert [sentence.split(":")[0] for sentence in said] == ["dropout"] * (mode == "packed")
    assert choose_mode(tiny("llama"), QloraSettings(), said.append) == "shared"


def test_without_memory_for_the_trial_the_candidate_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def full(model: Any, settings: QloraSettings, device: str) -> Any:
        tried.append(device)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("evalkit.training.sharing.on_trial", full)
    with pytest.raises(CandidateError, match="speed: plain"):
        choose_mode(tiny("llama"), QloraSettings(), lambda _: None)
    assert tried == ["cpu"]
