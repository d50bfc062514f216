"""Several adapters and their base in common passes: each answers as it would alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models.limits import Limits
from evalkit.models.loading import Base, load_base
from evalkit.models.local import LocalModel, answer_together, why_not_together
from evalkit.models.quiet import quiet
from evalkit.models.selftest import write_random_adapter
from evalkit.records import Generation, Output, Request

BaseOf = Callable[..., Base]
TARGETS = {
    "llama": ["q_proj", "down_proj"],
    "qwen3": ["v_proj"],
    "gemma2": ["o_proj", "up_proj"],
    "mistral": ["k_proj", "v_proj"],
    "phi3": ["qkv_proj"],
    "gpt2": ["c_attn"],
}
"""Of the second adapter; the first acts on all linear layers."""
OPENING = "You answer questions about a shop that sells bread. "


def requests() -> list[Request]:
    """Of every kind; shared and unshared beginnings, several samples, stop strings, log-probabilities."""
    sampled = Generation(max_new_tokens=9, temperature=0.9, top_k=40, samples=3, seed=5, logprobs=True)
    greedy = Generation(max_new_tokens=14, logprobs=True)
    return [
        *(Request(f"greedy{i}", "generate", OPENING + "x" * i, greedy) for i in range(1, 4)),
        Request("short", "generate", "ab", replace(greedy, max_new_tokens=5)),
        Request("stops", "generate", OPENING, replace(greedy, stop=("a", "e", "\u0120", "3"))),
        Request("sampled", "generate", OPENING + "Well", sampled),
        Request("penalty", "generate", "Oh", replace(greedy, repetition_penalty=1.3)),
        Request("choice", "choice", OPENING + "It is", choices=(" blue", " green", " bleak")),
        Request("rolling", "perplexity", "A text that is rated as a whole. " * 12),
        Request("empty", "perplexity", ""),
    ]


def write_adapter(base: Base, folder: Path, targets: list[str], **settings: Any) -> Path:
    """A random adapter on some layers."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=targets, init_lora_weights=False, **settings)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that gpt2 stores its weights the other way round
        torch.manual_seed(9)
        wrapped = get_peft_model(base.model, config)
    wrapped.save_pretrained(folder)
    wrapped.unload()
    return folder


@contextmanager
def with_two(folder: Path, targets: list[str], quantization: str = "none", **settings: Any) -> Iterator[Base]:
    base = load_base(str(folder), quantization=quantization, dtype="fp32", device="cpu")
    first = folder.parent / f"{folder.name}-{quantization}-first"
    second = folder.parent / f"{folder.name}-{quantization}-second"
    write_random_adapter(base, first, seed=3)
    write_adapter(base, second, targets, **settings)
    base.add_adapter("first", first)
    base.add_adapter("second", second)
    yield base


def alone(base: Base) -> dict[tuple[str | None, str], Output]:
    return {
        (name, output.id): output
        for name in (None, "first", "second")
        for output in LocalModel(base, name).answer(requests())
    }


def together(base: Base, limits: Limits | None = None) -> dict[tuple[str | None, str], Output]:
    asked = [(name, request) for request in requests() for name in ("second", None, "first")]
    found = dict(answer_together(base, asked, limits))
    assert [found[place].id for place in range(len(asked))] == [request.id for _, request in asked]
    return {(name, request.id): found[place] for place, (name, request) in enumerate(asked)}


def assert_same(found: Mapping[Any, Output], expected: Mapping[Any, Output]) -> None:
    """The same answers, token by token, and log-probabilities to 1e-4."""
    assert found.keys() == expected.keys()
    for key, output in found.items():
        other = expected[key]
        kept = {"seconds": 0.0, "logprobs": None, "choices": None}
        assert replace(output, **kept) == replace(other, **kept), key
        for mine, theirs in zip(output.logprobs or (), other.logprobs or (), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)
        for choice, same in zip(output.choices or (), other.choices or (), strict=True):
            assert replace(choice, logprob=0.0) == replace(same, logprob=0.0)
            assert choice.logprob == pytest.approx(same.logprob, abs=1e-4 * max(1, choice.tokens))


@pytest.mark.parametrize("family", TARGETS)
def test_each_adapter_answers_as_it_would_alone(model_folder: Callable[[str], Path], family: str) -> None:
    with with_two(model_folder(family), TARGETS[family], r=8, lora_alpha=24) as base:
        assert why_not_together(base, ["first", "second"]) is None
        expected = alone(base)
        assert_same(together(base), expected)
        texts = {name: [o.text for (n, _), o in expected.items() if n == name] for name, _ in expected}
        assert len(set(map(str, texts.values()))) == 3  # the adapters do something
        assert base.active is None
        assert_same(alone(base), expected)  # and nothing is left of the common passes


def test_over_a_4_bit_base(model_folder: Callable[[str], Path]) -> None:
    with with_two(model_folder("llama"), ["q_proj"], "nf4", r=3, use_rslora=True) as base:
        assert why_not_together(base, ["first", "second"]) is None
        assert_same(together(base), alone(base))


@pytest.mark.parametrize("limits", [Limits(tokens=7, slots=2, logits=272 * 3), Limits(slots=5, requests=4)])
def test_in_small_batches(model_folder: Callable[[str], Path], limits: Limits) -> None:
    with with_two(model_folder("qwen3"), ["v_proj"], r=8) as base:
        assert_same(together(base, limits), alone(base))


@pytest.mark.parametrize("most", [40, 5])
def test_a_pass_that_does_not_fit_is_halved(model_folder: Callable[[str], Path], most: int) -> None:
    with with_two(model_folder("mistral"), ["k_proj"], r=8) as base:
        expected = alone(base)

        def small(_: Any, __: tuple[Any, ...], given: dict[str, Any]) -> None:
            if given["input_ids"].numel() > most:
                raise torch.OutOfMemoryError("CUDA out of memory")

        hook = base.model.register_forward_pre_hook(small, with_kwargs=True)
        try:
            found = together(base)
        finally:
            hook.remove()
        assert_same(found, expected)


def test_what_cannot_act_side_by_side_is_told(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    def told(**settings: Any) -> str | None:
        base = load_base(str(model_folder("llama")), quantization="none", dtype="fp32", device="cpu")
        path = write_adapter(base, tmp_path / str(len(list(tmp_path.iterdir()))), ["q_proj"], r=4, **settings)
        base.add_adapter("one", path)
        return why_not_together(base, ["one"])

    assert told() is None
    assert "plain LoRA" in str(told(use_dora=True))
    assert "as a whole" in str(told(modules_to_save=["lm_head"]))


def test_a_merged_adapter_and_a_family_that_cannot_be_packed_are_told(
    base_of: BaseOf, model_folder: Callable[[str], Path]
) -> None:
    assert "BloomForCausalLM" in str(why_not_together(base_of("bloom"), ["random"]))
    with with_two(model_folder("llama"), ["q_proj"], r=4) as base:
        path = model_folder("llama").parent / "llama-none-second"
        base.add_adapter("merged", path, "merged")
        assert "merged" in str(why_not_together(base, ["first", "merged"]))


def test_one_adapter_that_answers_nan_takes_no_other_answer_down(model_folder: Callable[[str], Path]) -> None:
    with with_two(model_folder("llama"), ["q_proj"], r=4) as base:
        asked = [request for request in requests() if request.kind == "generate"]
        expected = {output.id: output for output in LocalModel(base, "second").answer(asked)}
        broken = base.adapters["first"].slot
        layer = base.model.model.layers[-1].mlp.down_proj
        layer.lora_B[broken].weight.data.fill_(float("nan"))
        pairs = [(name, request) for request in asked for name in ("first", "second")]
        found = dict(answer_together(base, pairs))
        assert {found[i].finish for i, (name, _) in enumerate(pairs) if name == "first"} == {"error"}
        kept = {found[i].id: found[i] for i, (name, _) in enumerate(pairs) if name == "second"}
        assert_same(kept, expected)
