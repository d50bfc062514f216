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
                assert layer.forward.weight.shape == (layer.out_features, layer.in_features)
            dense = model(input_ids=ids).logits
        again = model(input_ids=ids).logits
    assert torch.equal(plain, dense)
    assert torch.equal(plain, again)
    assert not any("forward" in vars(layer) for layer in layers)


def test_without_quantised_layers_nothing_happens(base_of: Callable[..., Base]) -> None:
    model = base_of("llama", "none").model
    with dense_on_cpu(model):
        assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("ends_first", ["the first", "the second"])
def test_one_within_the_other(base_of: Callable[..., Base], ends_first: str) -> None:
    """Two candidates of a base whose answers are read in turns: whichever ends, the other keeps its speed."""
    model = base_of("llama", "nf4").model
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    blocks = [dense_on_cpu(model), dense_on_cpu(model)]
    blocks[0].__enter__()
    weights = [layer.forward.weight for layer in layers]
    blocks[1].__enter__()
    assert all(layer.forward.weight is weight for layer, weight in zip(layers, weights, strict=True))
    if ends_first == "the second":
        blocks.reverse()
    blocks[0].__exit__(None, None, None)
    assert all(layer.forward.weight is weight for layer, weight in zip(layers, weights, strict=True))
    blocks[1].__exit__(None, None, None)
    assert not any("forward" in vars(module) for module in model.modules())


def test_what_stood_in_its_place_comes_back(base_of: Callable[..., Base]) -> None:
    """accelerate's hooks, on a base spread over devices, are forwards of layers too."""
    model = base_of("llama", "nf4").model
    layer = next(module for module in model.modules() if isinstance(module, Linear4bit))
    layer.forward = hook = layer.forward
    with dense_on_cpu(model):
        assert layer.forward is not hook
    assert layer.forward is hook
