"""Tiny random models of several families, each written to disk and loaded like any other model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models.loading import Base, load_base
from evalkit.models.selftest import write_random_adapter, write_tiny_model

SMALL = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.25,  # logits far enough apart that rounding cannot turn a greedy choice
}
WINDOW = 24
"""Sliding window of the families that have one: shorter than the prompts of these tests."""
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def tiny_config(family: str) -> Any:
    from transformers import (
        BloomConfig,
        Gemma2Config,
        Gemma3TextConfig,
        GPT2Config,
        GPTNeoXConfig,
        GptOssConfig,
        LlamaConfig,
        MistralConfig,
        Olmo2Config,
        Phi3Config,
        Qwen2Config,
        Qwen3Config,
        StableLmConfig,
    )

    if family == "gpt2":
        return GPT2Config(
            bos_token_id=260,
            eos_token_id=256,
            vocab_size=272,
            n_embd=64,
            n_layer=2,
            n_head=4,
            n_positions=256,
            initializer_range=0.25,
        )
    if family == "bloom":
        return BloomConfig(vocab_size=272, hidden_size=64, n_layer=2, n_head=4, initializer_range=0.25)
    makers: dict[str, Callable[..., Any]] = {
        "llama": LlamaConfig,
        "qwen2": Qwen2Config,
        "qwen3": lambda **kw: Qwen3Config(head_dim=16, **kw),
        "mistral": lambda **kw: MistralConfig(sliding_window=WINDOW, **kw),
        "gemma2": lambda **kw: Gemma2Config(
            head_dim=16, sliding_window=WINDOW, query_pre_attn_scalar=16, **kw
        ),
        "gemma3": lambda **kw: Gemma3TextConfig(
            head_dim=16, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"], **kw
        ),
        "gpt_neox": lambda num_key_value_heads, **kw: GPTNeoXConfig(**kw),
        "gpt_oss": lambda **kw: GptOssConfig(
            head_dim=16, num_local_experts=4, sliding_window=WINDOW, rope_parameters=ROPE, **kw
        ),
        "olmo2": Olmo2Config,
        "phi3": lambda **kw: Phi3Config(pad_token_id=None, **kw),
        "stablelm": StableLmConfig,
    }
    return makers[family](**SMALL)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → the folder of a tiny random model, written once."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(family: str) -> Path:
        if not (root / family).is_dir():
            (root / family).mkdir()
            write_tiny_model(root / family, tiny_config(family))
        return root / family

    return folder


@pytest.fixture(scope="session")
def base_of(model_folder: Callable[[str], Path]) -> Callable[..., Base]:
    """(family, quantization) → the loaded model, loaded once; an adapter named ``random`` sits on it."""
    loaded: dict[tuple[str, str], Base] = {}

    def base(family: str = "llama", quantization: str = "none") -> Base:
        key = (family, quantization)
        if key not in loaded:
            loaded[key] = load_base(
                str(model_folder(family)), quantization=quantization, dtype="fp32", device="cpu"
            )
            adapter = model_folder(family).parent / f"{family}-{quantization}-adapter"
            write_random_adapter(loaded[key], adapter)
            loaded[key].add_adapter("random", adapter)
        return loaded[key]

    return base


@pytest.fixture
def fresh_base(model_folder: Callable[[str], Path]) -> Base:
    """A tiny Llama of its own, for tests that change it."""
    return load_base(str(model_folder("llama")), quantization="none", dtype="fp32", device="cpu")
