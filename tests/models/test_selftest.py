"""The self-tests must be able to fail: each is shown something broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evalkit.models.loading import Base, load_base
from evalkit.models.selftest import (
    adapter_off,
    input_gradients,
    prompt_identity,
    self_test,
    write_random_adapter,
)


def test_all_pass_here() -> None:
    checks = self_test()
    assert len(checks) == 3
    assert all(check.passed for check in checks), checks


class Repacking(torch.nn.Module):
    """What a 4-bit layer of bitsandbytes does on an AVX512-BF16 CPU: after one eval pass, no gradient."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.repacked = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.repacked |= not self.training
        return self.inner(x.detach() if self.repacked else x)


def test_a_layer_that_loses_its_gradient_is_found(fresh_base: Base) -> None:
    model = fresh_base.model
    ids = torch.tensor([[5, 6, 7, 8]])
    model.train()
    before, after = input_gradients(model, ids, lambda: model(input_ids=ids))
    assert torch.equal(before, after)
    mlp = model.model.layers[1].mlp
    mlp.up_proj = Repacking(mlp.up_proj)
    before, after = input_gradients(model, ids, lambda: model(input_ids=ids))
    assert not torch.equal(before, after)
    assert model.training


def test_gradients_through_a_quantised_base_are_those_of_its_weights(
    model_folder: Callable[[str], Path],
) -> None:
    """Before and after an evaluation: the gradient of the same model with its weights written out."""
    import bitsandbytes.functional as bnb
    from bitsandbytes.nn import Linear4bit

    quantised = load_base(str(model_folder("llama")), quantization="nf4", dtype="fp32", device="cpu").model
    plain = load_base(str(model_folder("llama")), quantization="none", dtype="fp32", device="cpu").model
    for name, module in quantised.named_modules():
        if isinstance(module, Linear4bit):
            weight = bnb.dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain.get_submodule(name).weight.data.copy_(weight)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    quantised.train()
    found = input_gradients(quantised, ids, lambda: quantised(input_ids=ids))
    expected, _ = input_gradients(plain.train(), ids, lambda: None)
    for gradient in found:
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_template_whose_prompt_does_not_begin_the_chat_is_found(fresh_base: Base) -> None:
    assert prompt_identity(fresh_base).passed
    fresh_base.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}{% if add_generation_prompt %}?{% endif %}"
    )
    assert not prompt_identity(fresh_base).passed


class Leaking(torch.nn.Module):
    """A layer that goes on adding what an adapter added while it was on."""

    def __init__(self, inner: Any, base: Base) -> None:
        super().__init__()
        self.inner, self.base, self.seen = inner, base, False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen |= self.base.active is not None
        return self.inner(*args, **kwargs) + (1.0 if self.seen else 0.0)


def test_an_adapter_that_leaks_into_the_base_is_found(fresh_base: Base, tmp_path: Path) -> None:
    write_random_adapter(fresh_base, tmp_path)
    assert adapter_off(fresh_base, tmp_path).passed
    fresh_base.model.model.norm = Leaking(fresh_base.model.model.norm, fresh_base)
    assert not adapter_off(fresh_base, tmp_path).passed
