"""A shared prefix gives the loss and gradients of plain rows, in the families where it is used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from evalkit.models.quiet import quiet
from evalkit.specs.trainer import QloraSettings
from evalkit.training.batches import collate, shared_prefix
from evalkit.training.loss import token_losses
from evalkit.training.rows import TokenRow
from evalkit.training.sharing import is_exact, sharing

SIZE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
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
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
}


def tiny(family: str) -> Any:
    settings = {**SIZE, **FAMILIES[family]}
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


def loss_and_gradients(model: Any, share: bool) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    batch = collate(rows(), "cpu", share)
    losses = token_losses(model, batch)
    (losses * batch.weights).sum().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return losses.detach(), torch.cat(gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_plain_rows(family: str) -> None:
    model = tiny(family)
    assert is_exact(model), "the probe refuses a family that it could take"
    plain, shared = loss_and_gradients(model, False), loss_and_gradients(model, True)
    assert torch.allclose(plain[0], shared[0], rtol=1e-4, atol=1e-5)
    assert float((plain[1] - shared[1]).norm() / plain[1].norm()) < 1e-5


def test_the_probe_finds_a_model_that_forgets_its_prefix() -> None:
    """A Llama whose layers see no keys and values from before: the loss after a prefix is another one."""
    model = tiny("llama")
    model.config.num_hidden_layers = 2
    batch = collate(rows(), "cpu", share=True)
    assert batch.prefix_ids is not None
    whole = token_losses(model, batch)
    without = token_losses(
        model, collate([TokenRow(r.ids[20:], r.supervised[20:], r.row) for r in rows()], "cpu")
    )
    assert not torch.allclose(whole, without, rtol=1e-3), "the prefix must matter, or this file tests nothing"


@pytest.mark.parametrize("family", ["mamba", "bloom"])
def test_families_that_cannot_are_refused(family: str) -> None:
    with quiet():
        config = AutoConfig.for_model(
            family, vocab_size=300, hidden_size=32, num_hidden_layers=2, n_layer=2, n_head=4
        )
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    taken = is_exact(model)
    if taken:  # then it must be right
        plain, shared = loss_and_gradients(model.train(), False), loss_and_gradients(model, True)
        assert float((plain[1] - shared[1]).norm() / plain[1].norm()) < 1e-4


def test_shared_prefix_by_hand() -> None:
    def row(text: str, learned: int) -> TokenRow:
        return TokenRow(tuple(map(ord, text)), tuple(i >= learned for i in range(len(text))), 1)

    assert shared_prefix([row("0123456789ab!", 12), row("0123456789cd!", 12)]) == 10
    # the token before the first learned one predicts it, so it stays with its row: 12 - 1, not 12
    assert shared_prefix([row("0123456789ab!", 12), row("0123456789ab?", 12)]) == 11
    assert shared_prefix([row("0123456789ab!", 12)]) == 0
    assert shared_prefix([row("0123456!", 7), row("0123456?", 7)]) == 0, "too short to pay"


def test_computed_tokens_count_the_prefix_once() -> None:
    plain, shared = collate(rows(), "cpu"), collate(rows(), "cpu", share=True)
    assert plain.tokens == shared.tokens == sum(len(row.ids) for row in rows())
    assert plain.computed_tokens == 4 * 42
    assert shared.computed_tokens == 20 + 4 * 22


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"model_dropout": 0.1}, "dropout"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing"),
    ],
)
def test_where_it_is_not_exact_plain_rows_are_used_and_said(settings: dict[str, Any], word: str) -> None:
    said: list[str] = []
    assert not sharing(tiny("llama"), QloraSettings(**settings), said.append)
    assert word in said[0]
    assert sharing(tiny("llama"), QloraSettings(), said.append)
    assert not sharing(tiny("llama"), QloraSettings(speed="plain"), said.append)
    assert len(said) == 1
