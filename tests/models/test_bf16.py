"""bf16: answers of packed passes beside those of plain ones, and both beside fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evalkit.models import chat
from evalkit.models.loading import Base, load_base
from evalkit.models.local import LocalModel
from evalkit.models.selftest import write_random_adapter, write_tiny_model
from evalkit.records import Generation, Request
from tests.models.conftest import tiny_config

FAMILIES = [
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "mistral",
    "gpt2",
    "gpt_neox",
    "stablelm",
    "gpt_oss",
]
CHOICES = (" red", " blue and green", " yes, certainly", " 42")
ASKED = [
    Request(str(i), "choice", f"You answer questions about a shop. Question {i} of {word}:", choices=CHOICES)
    for i, word in enumerate(["bread", "rolls", "cake", "tea"])
]


def loaded(folder: Path, dtype: str) -> Base:
    base = load_base(str(folder), quantization="none", dtype=dtype, device="cpu")
    if not (folder / "adapter").is_dir():
        write_random_adapter(base, folder / "adapter")
    base.add_adapter("random", folder / "adapter")
    return base


def written(folder: Path, family: str, scale: float) -> Path:
    config = tiny_config(family)
    config.initializer_range = scale
    write_tiny_model(folder, config)
    return folder


def plain(base: Base, adapter: str | None) -> torch.Tensor:
    """Log-likelihood of every choice, one forward pass each."""
    found = []
    with base.use(adapter) as model, torch.no_grad():
        for request in ASKED:
            before = chat.prompt_ids(base.tokenizer, request.prompt)
            for choice in CHOICES:
                after = base.tokenizer(choice, add_special_tokens=False)["input_ids"]
                logits = model(input_ids=torch.tensor([[*before, *after]]), use_cache=False).logits[0]
                rated = logits.float().log_softmax(-1)[len(before) - 1 : -1]
                found.append(float(rated.gather(1, torch.tensor(after)[:, None]).sum()))
    return torch.tensor(found)


def packed(base: Base, adapter: str | None) -> torch.Tensor:
    outputs = {output.id: output for output in LocalModel(base, adapter).answer(ASKED)}
    return torch.tensor([choice.logprob for request in ASKED for choice in outputs[request.id].choices or ()])


@pytest.mark.parametrize("adapter", [None, "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihoods_are_those_of_plain_passes(tmp_path: Path, family: str, adapter: str | None) -> None:
    base = loaded(written(tmp_path, family, 0.02), "bf16")  # logits of a common size; seen: 0.012 at most
    assert float((packed(base, adapter) - plain(base, adapter)).abs().max()) < 5e-2


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "stablelm"])
def test_packed_passes_are_as_near_to_fp32_as_plain_ones(tmp_path: Path, family: str) -> None:
    # Logits so far apart that rounding to bf16 moves a log-likelihood by 0.1 to 0.2, whichever way it is computed.
    folder = written(tmp_path, family, 0.25)
    base, exact = loaded(folder, "bf16"), plain(loaded(folder, "fp32"), "random")
    ours, theirs = (float((found(base, "random") - exact).pow(2).mean().sqrt()) for found in (packed, plain))
    assert theirs > 0.02
    assert ours < 1.25 * theirs


def test_nf4_under_bf16_answers_the_same_twice_and_keeps_its_weights(
    model_folder: Callable[[str], Path],
) -> None:
    # On a CPU with AVX512-BF16 bitsandbytes would repack the weights in the first of these passes.
    base = load_base(str(model_folder("llama")), quantization="nf4", dtype="bf16", device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    asked = [Request(str(i), "generate", f"Question {i}", Generation(max_new_tokens=8)) for i in range(4)]
    first, second = ([output.text for output in LocalModel(base).answer(asked)] for _ in range(2))
    assert sorted(first) == sorted(second)
    after = base.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
