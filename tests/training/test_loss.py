"""Loss and gradients with the head at supervised positions against full logits over single rows."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from evalkit.training.attention import stream_attention
from evalkit.training.batches import collate, micro_batches
from evalkit.training.loss import Tables, backpropagate, supervised_logits, token_losses, validation_loss
from evalkit.training.packing import Unit, pack
from evalkit.training.phases import Clock
from evalkit.training.rows import TokenRow


def random_rows(count: int = 6, vocabulary: int = 120) -> list[TokenRow]:
    generator = torch.Generator().manual_seed(3)
    rows = []
    for number in range(count):
        length = int(torch.randint(4, 20, (1,), generator=generator))
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        on = (torch.rand(length, generator=generator) < 0.4).tolist()
        rows.append(TokenRow(tuple(ids), (False, *on[1:-1], True), number + 1))
    return rows


def model_of(family: str) -> Any:
    from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig

    size = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    config = {
        "llama": lambda: LlamaConfig(**size, **heads),
        # soft-caps so low that leaving them out would be seen; its attention needs eager for them
        "gemma2": lambda: Gemma2Config(
            **size,
            **heads,
            head_dim=16,
            final_logit_softcapping=2.0,
            attn_logit_softcapping=1.0,
            sliding_window=8,
        ),
        "gpt2": lambda: GPT2Config(vocab_size=120, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3),
    }[family]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    return model.train(False)


def full_loss(model: Any, rows: list[TokenRow]) -> torch.Tensor:
    """One row at a time, every logit, torch's own cross entropy: no padding and no cutting."""
    total = torch.zeros(())
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor([i if on else -100 for i, on in zip(row.ids, row.supervised, strict=True)][1:])
        total = total + F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
    return total


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_equals_full_logits(family: str) -> None:
    model, rows = model_of(family), random_rows()
    expected = full_loss(model, rows)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    batch = collate(rows, "cpu")
    F.cross_entropy(supervised_logits(model, batch), batch.targets, reduction="sum").backward()
    losses = token_losses(model, batch, Tables())
    assert losses.shape == (sum(row.targets for row in rows),)
    torch.testing.assert_close(losses.sum(), expected.detach(), rtol=1e-6, atol=0.0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("chunk", [128, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_what_is_sent_back_is_the_gradient_of_the_weighted_losses(
    family: str, dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against autograd through one cross entropy, with the tables of a larger batch of other numbers."""
    monkeypatch.setattr("evalkit.training.loss.CHUNK", chunk)
    model, tables = model_of(family), Tables()

    def compute() -> Any:
        return torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)

    def gradients() -> torch.Tensor:
        found = torch.cat([p.grad.flatten() for p in model.model.layers.parameters()])
        model.zero_grad()
        return found

    for rows in (random_rows(9), random_rows(4)):
        rows = [replace(row, weight=0.5 + row.row) for row in rows]
        batch = collate(rows, "cpu")
        with compute():
            scores = supervised_logits(model, batch)
        expected = F.cross_entropy(scores.float(), batch.targets, reduction="none")
        (expected * batch.weights).sum().mul(0.3).backward()
        wanted = gradients()
        losses = backpropagate(model, batch, [0.3], compute, nullcontext, Clock(), tables)
        exact = dtype == torch.float32
        torch.testing.assert_close(losses, expected.detach(), rtol=1e-5 if exact else 2e-2, atol=0.0)
        found = gradients()
        assert float((found - wanted).norm() / wanted.norm()) < (1e-6 if exact else 2e-2)


def test_a_part_that_is_not_finite_sends_nothing_back_and_touches_no_other() -> None:
    model = model_of("llama")
    one, other = (stretch for stretch in (random_rows(3), random_rows(5)[3:]))
    batch = pack([Unit("one", one, "packed"), Unit("other", other, "packed")], "cpu")
    found = []
    for spoiled in (False, True):
        hook = None
        if spoiled:  # the layers' result at the other's places
            start = batch.parts[1].tokens[0]

            def spoil(_: Any, __: Any, output: Any, start: int = start) -> None:
                if output.last_hidden_state.shape[1] == batch.computed_tokens:
                    output.last_hidden_state.data[:, start:] = torch.nan

            hook = model.model.register_forward_hook(spoil)
        factors = [1.0, 0.0 if not spoiled else 1.0]
        with stream_attention(model):
            losses = backpropagate(model, batch, factors, nullcontext, nullcontext, Clock(), Tables())
        if hook is not None:
            hook.remove()
        span = slice(*batch.parts[0].targets)
        found.append((losses[span], model.model.layers[0].mlp.up_proj.weight.grad.clone()))
        assert bool(torch.isfinite(losses).all()) != spoiled
        model.zero_grad()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_head_runs_at_supervised_positions_only() -> None:
    model, rows = model_of("llama"), random_rows()
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    supervised_logits(model, collate(rows, "cpu"))
    assert seen == [torch.Size([1, sum(row.targets for row in rows), 120])]


def test_model_whose_head_is_no_module_is_cut_after() -> None:
    class Plain(torch.nn.Module):
        def __init__(self, inside: Any) -> None:
            super().__init__()
            self.inside = inside

        def get_output_embeddings(self) -> None:
            return None

        def forward(self, **arguments: Any) -> Any:
            return self.inside(**arguments)

    model, batch = model_of("llama"), collate(random_rows(), "cpu")
    torch.testing.assert_close(supervised_logits(Plain(model), batch), supervised_logits(model, batch))


def test_validation_is_a_mean_over_tokens_and_changes_nothing() -> None:
    model, rows = model_of("llama"), random_rows()
    model.train()
    state = torch.get_rng_state()
    found = validation_loss(model, [collate(group, "cpu") for group in micro_batches(rows, 2)])[""]
    assert found == pytest.approx(
        float(full_loss(model, rows).detach()) / sum(row.targets for row in rows), rel=1e-6
    )
    assert validation_loss(model, [collate(rows, "cpu")]) == {"": pytest.approx(found, rel=1e-6)}
    assert model.training
    assert torch.equal(state, torch.get_rng_state())


def test_validation_that_breaks_leaves_the_model_in_train_mode() -> None:
    model, rows = model_of("llama"), random_rows()
    model.train()
    model.model.layers[1].register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("full")))
    with pytest.raises(RuntimeError, match="full"):
        validation_loss(model, [collate(rows, "cpu")])
    assert model.training


def test_collated_batch_by_hand() -> None:
    rows = [
        TokenRow((5, 6, 7), (False, False, True), 1, weight=2.0),
        TokenRow((8, 9), (False, True), 2),
    ]
    batch = collate(rows, "cpu")
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 8]]  # the last 8 is padding
    assert batch.positions.tolist() == [1, 3]  # the hidden state at 6 predicts 7, that at 8 predicts 9
    assert batch.targets.tolist() == [7, 9]
    assert batch.weights.tolist() == [2.0, 1.0]
    assert (batch.tokens, batch.computed_tokens) == (5, 6)
