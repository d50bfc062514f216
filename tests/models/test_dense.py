"""Weights that are de-quantised once for many passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from bitsandbytes.nn import Linear4bit

from evalkit.models.dense import dense_on_cpu
from evalkit.models.loading import Base


@pytest.mark.parametrize("length", [1, 37])  # bitsandbytes has a path of its own for one token
@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
def test_the_numbers_stay_the_same_and_the_layers_too(
    base_of: Callable[..., Base], quantization: str, length: int
) -> None:
    model = base_of("llama", quantization).model
    ids = torch.arange(3, 3 + length)[None]
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with dense_on_cpu(model):
            assert layers
            assert all("forward" in vars(layer) for layer in layers)
            for layer in layers:  # what is multiplied by now
                assert layer.forward.args[0].shape == (layer.out_features, layer.in_features)
            dense = model(input_ids=ids).logits
        again = model(input_ids=ids).logits
    assert torch.equal(plain, dense)
    assert torch.equal(plain, again)
    assert not any("forward" in vars(layer) for layer in layers)


def test_without_quantised_layers_nothing_happens(base_of: Callable[..., Base]) -> None:
    model = base_of("llama", "none").model
    with dense_on_cpu(model):
        assert not any("forward" in vars(module) for module in model.modules())


def test_one_ends_within_the_other(base_of: Callable[..., Base]) -> None:
    """Two candidates of a base whose answers are read in turns."""
    model = base_of("llama", "nf4").model
    first, second = dense_on_cpu(model), dense_on_cpu(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert not any("forward" in vars(module) for module in model.modules())
