"""Packed passes: which families they are exact for, and answers that depend on nothing but their sample."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models.layouts import TILE, Slots
from evalkit.models.limits import Limits
from evalkit.models.loading import Base
from evalkit.models.local import LocalModel
from evalkit.models.memory import free_bytes
from evalkit.models.packed import Packed
from evalkit.models.probe import FILE, why_not_packed
from evalkit.models.trie import Run, merge_prompts
from evalkit.records import Generation, Output, Request

BaseOf = Callable[..., Base]
EXACT = [
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "mistral",
    "gpt2",
    "gpt_neox",
    "phi3",
    "olmo2",
    "gpt_oss",
]


@pytest.mark.parametrize("family", [*EXACT, "stablelm"])
def test_the_probe_passes_where_passes_are_exact(base_of: BaseOf, family: str) -> None:
    assert why_not_packed(base_of(family).model) is None


def test_a_family_that_cannot_be_packed_is_named_and_answers_all_the_same(
    base_of: BaseOf, caplog: pytest.LogCaptureFixture
) -> None:
    base = base_of("bloom")  # its attention does not go through transformers' interface
    assert "BloomForCausalLM" in str(why_not_packed(base.model))
    told: list[str] = []
    (output,) = LocalModel(base, tell=told.append).answer([Request("1", "generate", "ab", Generation(3))])
    assert output.output_tokens <= 3
    assert len(told) == 1
    assert "BloomForCausalLM" in told[0]
    with caplog.at_level(logging.WARNING):
        list(LocalModel(base).answer([Request("1", "generate", "ab", Generation(3))]))
    assert "padded batches" in caplog.text


def test_that_passes_are_exact_is_remembered_for_the_stack_it_was_found_with(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    # A process of its own each time: within one it is remembered anyway.
    shutil.copytree(model_folder("qwen2"), tmp_path / "model", ignore=shutil.ignore_patterns(FILE))
    script = (
        "import sys, torch\nfrom pathlib import Path\nfrom transformers import AutoConfig, AutoModelForCausalLM\n"
        "from evalkit.models.probe import why_not_packed\nfolder = Path(sys.argv[1])\n"
        "model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))\n"
        "passes = []\nhook = torch.nn.modules.module.register_module_forward_hook(lambda *_: passes.append(1))\n"
        "print(why_not_packed(model, folder), len(passes) > 0)\n"
    )

    def tried() -> str:
        command = [sys.executable, "-c", script, str(tmp_path / "model")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert tried() == "None True"
    assert tried() == "None False"
    known = tmp_path / "model" / FILE
    other = {f"{key[:-1]}x": value for key, value in json.loads(known.read_text()).items()}
    known.write_text(json.dumps(other))  # as another version of torch would have left it
    assert tried() == "None True"
    known.write_text("{")
    assert tried() == "None True"


def plain(base: Base, text: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return base.model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]  # type: ignore[no-any-return]


def token_ids(n: int, seed: int) -> list[int]:
    return torch.randint(4, 250, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "gemma2", "gpt_oss"]
)  # full, windows, both with a soft cap, sinks
def test_long_runs_many_runs_and_deep_trees_are_exact(base_of: BaseOf, family: str) -> None:
    base = base_of(family)
    engine = Packed(base.model, "cpu")
    root, other = Run(token_ids(30, 1)), Run(token_ids(9, 2))
    deep = Run(token_ids(20, 3), root)
    leaves = [Run(token_ids(3 + i % 5, 10 + i), [root, deep, other][i % 3]) for i in range(60)]  # over a tile
    assert sum(len(run.ids) for run in leaves) > TILE
    long = Run(token_ids(200, 4), deep)
    logits = engine.run([root, other, deep, *leaves, long], [(leaf, [-1]) for leaf in [*leaves, long]])
    for leaf, found in zip([*leaves, long], logits, strict=True):
        text = [token for run in (root, deep, other) if run in above(leaf) for token in run.ids]
        expected = plain(base, [*text, *leaf.ids])
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def above(leaf: Run) -> list[Run]:
    found = []
    run: Run | None = leaf
    while run is not None:
        found.append(run)
        run = run.above
    return found


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_slots_are_exact_whoever_left_before(base_of: BaseOf, family: str) -> None:
    base = base_of(family)
    engine, slots = Packed(base.model, "cpu"), Slots()
    prompts = [[*token_ids(26, 1), *token_ids(n, n)] for n in (2, 9, 4, 7)] + [token_ids(40, 5)]
    leaves = dict(merge_prompts(prompts))
    texts: list[list[int]] = []
    for i in (4, 0, 1, 2):  # the shared run's slots do not lie side by side with the other's removed
        leaf = leaves[i]
        new = [run for run in reversed(above(leaf)) if run.held is None]
        engine.run(new, [], keep=new)
        slots.add(leaf.above, [leaf])
        texts.append(list(prompts[i]))
    for step, (leaving, coming) in enumerate(((None, None), (1, None), (0, 3), (None, None))):
        if leaving is not None:
            slots.remove(leaving)
            texts[leaving] = texts[-1]
            texts.pop()
        if coming is not None:
            engine.run([leaves[coming]], [], keep=[leaves[coming]])
            slots.add(leaves[coming].above, [leaves[coming]])
            texts.append(list(prompts[coming]))
        tokens = token_ids(len(texts), 100 + step)
        texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
        for text, found in zip(texts, engine.step(slots, tokens), strict=True):
            expected = plain(base, text)
            torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def requests() -> list[Request]:
    sampled = Generation(max_new_tokens=8, temperature=0.8, top_p=0.9, top_k=100, samples=3, seed=2)
    greedy = Generation(max_new_tokens=14, stop=("e",))
    return [
        *(
            Request(f"g{i}", "generate", "We begin alike, then we differ: " + "abc" * i, greedy)
            for i in range(7)
        ),
        *(
            Request(f"s{i}", "generate", "We begin alike, then we differ: " + "xyz" * i, sampled)
            for i in range(5)
        ),
    ]


def texts(outputs: Any) -> dict[str, Any]:
    return {output.id: (output.text, output.output_tokens, output.finish) for output in outputs}


@pytest.mark.parametrize(
    "limits", [Limits(slots=1), Limits(slots=3, tokens=20), Limits(tokens=7), Limits(memory=0.0)]
)
def test_an_answer_depends_on_nothing_but_its_sample(base_of: BaseOf, limits: Limits) -> None:
    base = base_of("qwen3")
    expected = texts(LocalModel(base).answer(requests()))
    assert texts(LocalModel(base, limits=limits).answer(requests())) == expected
    assert texts(LocalModel(base, limits=limits).answer(requests()[::-1])) == expected
    some = requests()[3:9:2]
    assert texts(LocalModel(base).answer(some)) == {each.id: expected[each.id] for each in some}


def test_where_rounding_could_decide_a_pass_of_its_own_does(base_of: BaseOf) -> None:
    """Two ids with the same embedding are equally likely: only rounding tells them apart, and it must not."""
    base = base_of("qwen2")
    weights = base.model.get_output_embeddings().weight
    before = weights[:128].clone()
    with torch.no_grad():
        weights[:128] = weights[128:256]
    try:
        asked = [
            Request(str(i), "generate", "Twins: " + "ab" * i, Generation(max_new_tokens=12)) for i in range(9)
        ]
        expected = texts(LocalModel(base).answer(asked))
        assert texts(LocalModel(base, limits=Limits(slots=2)).answer(asked)) == expected
        assert texts(LocalModel(base, limits=Limits(tokens=9)).answer(asked[::-1])) == expected
    finally:
        with torch.no_grad():
            weights[:128] = before


def test_log_probabilities_on_request(base_of: BaseOf) -> None:
    base = base_of("llama")
    generation = Generation(max_new_tokens=6, temperature=0.9, samples=2, logprobs=True)
    request = Request("1", "generate", "How likely?", generation)
    (output,) = LocalModel(base).answer([request])
    assert output.logprobs is not None
    assert sum(map(len, output.logprobs)) == output.output_tokens
    continuations = tuple(output.text)
    rated = dataclasses.replace(request, kind="choice", choices=continuations)
    (checked,) = LocalModel(base).answer([rated])
    for values, choice in zip(output.logprobs, checked.choices or (), strict=True):
        if choice.tokens == len(values):  # ids that decode to other bytes encode to other ids
            assert sum(values) == pytest.approx(choice.logprob, abs=1e-3)
    (without,) = LocalModel(base).answer([dataclasses.replace(request, generation=Generation(6))])
    assert without.logprobs is None


def test_prompts_of_one_answer_share_its_samples(base_of: BaseOf) -> None:
    base = base_of("llama")
    seen: list[int] = []
    handle = base.model.model.embed_tokens.register_forward_hook(
        lambda _, args, __: seen.append(args[0].numel())
    )
    try:
        generation = Generation(max_new_tokens=3, temperature=1.0, samples=5)
        list(LocalModel(base).answer([Request("1", "generate", "x" * 50, generation)]))
    finally:
        handle.remove()
    assert seen[0] == 50  # the prompt once, for five answers
    assert all(n <= 5 for n in seen[1:])


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 1 << 20 < free_bytes("cpu") < 1 << 50


def test_every_output_is_yielded_once_over_many_rounds(base_of: BaseOf) -> None:
    base = base_of("llama")
    found: list[Output] = list(LocalModel(base, limits=Limits(requests=4)).answer(requests()))
    assert texts(found) == texts(LocalModel(base).answer(requests()))
    assert len(found) == len(requests())
