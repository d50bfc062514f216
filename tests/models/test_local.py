"""Answers of our own decoding loop, held against transformers' ``generate`` and against plain forward passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models import chat
from evalkit.models.limits import Limits
from evalkit.models.loading import Base, load_base
from evalkit.models.local import VERSION, LocalModel, ids_sha256
from evalkit.models.rating import rolling_windows
from evalkit.records import Generation, Output, Request
from evalkit.signature import digest

FAMILIES = [
    *(
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
        "stablelm",
    ),
    "gpt_oss",  # attention sinks, experts
    "bloom",  # no packed passes: the plain path
]
SHARED = "You answer questions about a shop that sells bread. "
TAILS = ["Hi", "When do you open on Sundays?", "7+5", "Ein Brötchen, bitte — oder zwei?", "x"]

RECORDED = "4a2d7ab13a2113bdf5710e8775588ac18765b384f46723ccf388f589551c1480"
"""Of the tiny Llama of conftest.py, whose weights come from seed 0."""

BaseOf = Callable[..., Base]


def prompts() -> list[Request]:
    """Chats and plain texts of different lengths that begin alike."""
    chats = [
        Request(
            f"chat{i}",
            "generate",
            [{"role": "system", "content": SHARED}, {"role": "user", "content": tail}],
            Generation(max_new_tokens=12 + i),
        )
        for i, tail in enumerate(TAILS)
    ]
    return [*chats, Request("short", "generate", "ab", Generation(max_new_tokens=9))]


def by_id(outputs: Any) -> dict[str, Output]:
    found = list(outputs)
    assert len({output.id for output in found}) == len(found)
    return {output.id: output for output in found}


def generated(base: Base, adapter: str | None, request: Request) -> list[int]:
    """The new ids by transformers' own ``generate``, one prompt at a time."""
    ids = torch.tensor([chat.prompt_ids(base.tokenizer, request.prompt)], device=base.device)
    with base.use(adapter) as model:
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.generation.max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(base.eos_ids),
            pad_token_id=base.tokenizer.pad_token_id,
        )
    return [int(token) for token in whole[0, ids.shape[1] :]]


@pytest.mark.parametrize("adapter", [None, "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_generate_token_for_token(
    base_of: BaseOf, family: str, adapter: str | None
) -> None:
    base = base_of(family)
    outputs = by_id(LocalModel(base, adapter).answer(prompts()))
    for request in prompts():
        expected, output = generated(base, adapter, request), outputs[request.id]
        ended = expected[-1] in base.eos_ids
        assert output.output_tokens == len(expected)
        assert output.text == base.tokenizer.decode(expected, skip_special_tokens=True)
        assert output.finish == ("stop" if ended else "length")
        assert output.prompt_tokens == len(chat.prompt_ids(base.tokenizer, request.prompt))


def test_an_adapter_changes_the_answers(base_of: BaseOf) -> None:
    base = base_of("llama")
    with_adapter = by_id(LocalModel(base, "random").answer(prompts()))
    without = by_id(LocalModel(base).answer(prompts()))
    assert any(with_adapter[key].text != without[key].text for key in without)


def test_every_end_id_of_the_generation_config_ends_an_answer(base_of: BaseOf) -> None:
    base = base_of("llama")
    request = Request("1", "generate", SHARED, Generation(max_new_tokens=10))
    third = generated(base, None, request)[2]
    config = base.model.generation_config
    before = config.eos_token_id
    config.eos_token_id = [256, third]
    try:
        (output,) = LocalModel(base).answer([request])
    finally:
        config.eos_token_id = before
    assert (output.finish, output.output_tokens) == ("stop", 3)


def test_quantised_answers_equal_generate(base_of: BaseOf) -> None:
    base = base_of("llama", "nf4")
    outputs = by_id(LocalModel(base, "random").answer(prompts()))
    for request in prompts():
        expected = generated(base, "random", request)
        assert outputs[request.id].text == base.tokenizer.decode(expected, skip_special_tokens=True)


def test_small_batches_give_the_same_answers(base_of: BaseOf) -> None:
    base = base_of("qwen3")
    together = by_id(LocalModel(base).answer(prompts()))
    apart = by_id(LocalModel(base, limits=Limits(tokens=1, slots=1)).answer(prompts()))
    assert {key: output.text for key, output in together.items()} == {
        key: output.text for key, output in apart.items()
    }


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 5), (4, 9)])
def test_text_is_cut_before_the_first_stop_string(base_of: BaseOf, start: int, stop: int) -> None:
    # Every token of this tokenizer is one byte, so each of these stop strings straddles token borders.
    base = base_of("llama")
    free = Request("1", "generate", SHARED, Generation(max_new_tokens=40))
    (whole,) = LocalModel(base).answer([free])
    stopper = whole.first[start:stop]
    bound = dataclasses.replace(free, generation=Generation(max_new_tokens=40, stop=("never there", stopper)))
    (output,) = LocalModel(base).answer([bound])
    assert output.finish == "stop"
    assert output.text == whole.first[: whole.first.find(stopper)]
    assert output.output_tokens <= whole.output_tokens


def test_a_stop_string_that_is_a_special_token_ends_the_answer(base_of: BaseOf) -> None:
    base = base_of("llama")
    request = Request("1", "generate", SHARED, Generation(max_new_tokens=5, stop=("<|user|>",)))
    (output,) = LocalModel(base).answer([request])
    assert output.finish in ("stop", "length")
    assert "<|user|>" not in output.first


def test_limits_of_the_context(base_of: BaseOf) -> None:
    base = base_of("llama")  # context 256, one token a byte
    requests = [
        Request("full", "generate", "a" * 256, Generation(max_new_tokens=5)),
        Request("nearly", "generate", "a" * 253, Generation(max_new_tokens=50)),
        Request("choice", "choice", "a" * 255, choices=("ab", "abc")),
    ]
    outputs = by_id(LocalModel(base).answer(requests))
    assert outputs["full"].finish == "error"
    assert "256 tokens" in str(outputs["full"].error)
    assert "context of 256" in str(outputs["full"].error)
    assert (outputs["nearly"].finish, outputs["nearly"].output_tokens <= 3) in [
        ("length", True),
        ("stop", True),
    ]
    assert outputs["choice"].finish == "error"


def test_a_chat_the_template_refuses_is_an_error_of_its_sample_alone(
    base_of: BaseOf, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = base_of("llama")
    before = base.tokenizer.chat_template
    base.tokenizer.chat_template = "{{ raise_exception('no!') if messages|length > 1 }}" + before
    try:
        requests = [
            Request("bad", "generate", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
            Request("good", "generate", [{"role": "user", "content": "a"}], Generation(max_new_tokens=2)),
        ]
        outputs = by_id(LocalModel(base).answer(requests))
    finally:
        base.tokenizer.chat_template = before
    assert outputs["bad"].finish == "error"
    assert "no!" in str(outputs["bad"].error)
    assert outputs["good"].finish != "error"


def test_sampled_answers_do_not_depend_on_the_batch(base_of: BaseOf) -> None:
    base = base_of("llama")
    generation = Generation(max_new_tokens=10, temperature=0.9, top_p=0.95, samples=3, seed=5)
    requests = [Request(str(i), "generate", SHARED + tail, generation) for i, tail in enumerate(TAILS)]
    together = by_id(LocalModel(base).answer(requests))
    for request in requests:
        (alone,) = LocalModel(base).answer([request])
        assert alone.text == together[request.id].text
        assert isinstance(alone.text, list)
        assert len(set(alone.text)) == 3  # streams of their own
    (other,) = LocalModel(base).answer(
        [
            dataclasses.replace(
                requests[0],
                generation=Generation(max_new_tokens=10, temperature=0.9, top_p=0.95, samples=3, seed=6),
            )
        ]
    )
    assert other.text != together["0"].text


def full_forward(base: Base, adapter: str | None, before: list[int], after: list[int]) -> float:
    """Log-likelihood of ``after`` by one plain forward pass without a cache."""
    ids = torch.tensor([[*before, *after]])
    with torch.no_grad(), base.use(adapter) as model:
        logits = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) + i - 1, token]) for i, token in enumerate(after))


@pytest.mark.parametrize("adapter", [None, "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_choices_equal_one_full_forward_each(base_of: BaseOf, family: str, adapter: str | None) -> None:
    base = base_of(family)
    options = (" yes", " no, never on a Sunday", "!")
    requests = [Request(str(i), "choice", SHARED + tail, choices=options) for i, tail in enumerate(TAILS)]
    requests.append(Request("chat", "choice", [{"role": "user", "content": SHARED}], choices=options[:2]))
    outputs = by_id(LocalModel(base, adapter).answer(requests))
    for request in requests:
        before = chat.prompt_ids(base.tokenizer, request.prompt)
        rated = outputs[request.id].choices
        assert rated is not None
        assert [choice.text for choice in rated] == list(request.choices)
        for choice in rated:
            after = base.tokenizer(choice.text, add_special_tokens=False)["input_ids"]
            assert choice.tokens == len(after)
            assert choice.logprob == pytest.approx(full_forward(base, adapter, before, after), abs=1e-4)
        assert outputs[request.id].text == max(rated, key=lambda choice: choice.logprob).text


def test_a_choice_without_tokens_cannot_be_rated(base_of: BaseOf) -> None:
    (output,) = LocalModel(base_of()).answer([Request("1", "choice", "a", choices=("b", ""))])
    assert output.finish == "error"


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_perplexity_equals_a_full_forward(base_of: BaseOf, family: str) -> None:
    base = base_of(family)
    text = SHARED * 3
    (output,) = LocalModel(base).answer([Request("1", "perplexity", text)])
    ids_ = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert output.choices is not None
    (whole,) = output.choices
    assert whole.tokens == len(ids_)
    assert whole.logprob == pytest.approx(full_forward(base, None, [260], ids_), rel=1e-6)


def test_perplexity_of_a_text_longer_than_the_context(base_of: BaseOf) -> None:
    base = base_of("llama")
    text = SHARED * 12  # 624 tokens, context 256
    (output,) = LocalModel(base).answer([Request("1", "perplexity", text)])
    ids_ = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = sum(
        full_forward(base, None, inputs[: len(inputs) - len(targets) + 1], targets)
        for inputs, targets in rolling_windows(ids_, 260, 256)
    )
    assert output.choices is not None
    assert output.choices[0].tokens == len(ids_) == 624
    assert output.choices[0].logprob == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("length", [1, 3, 10, 11, 12, 29, 30, 31])
def test_windows_are_those_of_lm_evaluation_harness(length: int) -> None:
    from lm_eval.utils import get_rolling_token_windows

    tokens = list(range(100, 100 + length))
    expected = get_rolling_token_windows(tokens, prefix_token=7, max_seq_len=10, context_len=1)
    assert list(rolling_windows(tokens, 7, 10)) == [(list(a), list(b)) for a, b in expected]


def test_an_empty_text_has_no_perplexity(base_of: BaseOf) -> None:
    (output,) = LocalModel(base_of()).answer([Request("1", "perplexity", "")])
    assert (output.finish, output.error) == ("error", "the text is empty")


def test_no_requests_no_outputs(base_of: BaseOf) -> None:
    assert list(LocalModel(base_of()).answer([])) == []


def test_outputs_come_as_they_finish_and_adapters_do_not_mix(base_of: BaseOf) -> None:
    base = base_of("llama")
    requests = [
        Request("a", "generate", SHARED, Generation(max_new_tokens=2)),
        Request("b", "generate", SHARED, Generation(max_new_tokens=30)),
    ]
    alone = [by_id(LocalModel(base, name).answer(requests)) for name in (None, "random")]
    first, second = (LocalModel(base, name).answer(requests) for name in (None, "random"))
    mixed: list[dict[str, Output]] = [{}, {}]
    for _ in requests:  # two models on one base, in turns
        for kept, running in zip(mixed, (first, second), strict=True):
            output = next(running)
            kept[output.id] = output
    assert list(mixed[0]) == ["a", "b"]
    texts = [{key: output.text for key, output in answers.items()} for answers in mixed]
    assert texts == [{key: output.text for key, output in answers.items()} for answers in alone]
    assert list(first) == list(second) == []
    assert base.active is None


def test_dropout_is_off_while_answering_and_training_goes_on_after(fresh_base: Base) -> None:
    model = fresh_base.model
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    quiet = [output.text for output in LocalModel(fresh_base).answer(prompts())]
    model.train()
    assert [output.text for output in LocalModel(fresh_base).answer(prompts())] == quiet
    assert model.training


class Cramped(torch.nn.Module):
    """A model on a device whose memory holds few tokens at once."""

    def __init__(self, inner: Any, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.config = inner.config
        self.generation_config = inner.generation_config
        self.seen: list[int] = []

    def forward(self, input_ids: Any, **arguments: Any) -> Any:
        self.seen.append(input_ids.numel())
        if input_ids.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.inner(input_ids=input_ids, **arguments)


@pytest.mark.parametrize("most", [100, 40, 17, 5])
def test_a_pass_that_does_not_fit_is_halved_and_nothing_is_lost(base_of: BaseOf, most: int) -> None:
    base = base_of("llama")
    sampled = Generation(max_new_tokens=5, temperature=1.0, samples=9)
    requests = [
        *prompts(),
        Request("sampled", "generate", SHARED, sampled),
        Request("choice", "choice", SHARED, choices=(" yes", " no", " never on Sundays")),
        Request("text", "perplexity", SHARED * 2),
    ]
    expected = by_id(LocalModel(base).answer(requests))
    cramped = Cramped(base.model, most)
    outputs = by_id(LocalModel(dataclasses.replace(base, model=cramped)).answer(requests))
    assert max(cramped.seen) > most
    for key, output in expected.items():
        assert (outputs[key].text, outputs[key].output_tokens) == (output.text, output.output_tokens)
        for choice, other in zip(output.choices or (), outputs[key].choices or (), strict=True):
            assert other.logprob == pytest.approx(choice.logprob, abs=1e-4)


@pytest.mark.parametrize("kind", ["generate", "choice"])
def test_what_does_not_fit_at_all_is_an_error_with_its_length(base_of: BaseOf, kind: Any) -> None:
    base = base_of("llama")
    request = Request("1", kind, "abc", Generation(max_new_tokens=4), choices=("de", "fghi"))
    (output,) = LocalModel(dataclasses.replace(base, model=Cramped(base.model, 0))).answer([request])
    assert output.finish == "error"
    assert output.error == "out of memory with 7 tokens"


def test_nan_logits_are_errors_not_answers(fresh_base: Base) -> None:
    with torch.no_grad():
        fresh_base.model.lm_head.weight[3] = math.nan
    requests = [
        *prompts(),
        Request("c", "choice", "a", choices=("b", "c")),
        Request("p", "perplexity", "abc"),
    ]
    for output in LocalModel(fresh_base).answer(requests):
        assert output.finish == "error"
        assert "NaN" in str(output.error)


def test_every_output_says_what_it_took(base_of: BaseOf) -> None:
    base = base_of("llama")
    requests = [
        *prompts(),
        Request("c", "choice", SHARED, choices=("b", "c")),
        Request("p", "perplexity", "abc"),
    ]
    for output in LocalModel(base).answer(requests):
        assert output.seconds > 0
        assert output.prompt_tokens > 0
        assert len(output.prompt_ids_sha256) == 64
    one = next(LocalModel(base).answer([prompts()[0]]))
    assert one.prompt_ids_sha256 == ids_sha256(chat.prompt_ids(base.tokenizer, prompts()[0].prompt))


def test_the_fingerprint_tells_adapters_apart(base_of: BaseOf) -> None:
    base = base_of("llama")
    without, with_adapter = LocalModel(base).fingerprint(), LocalModel(base, "random").fingerprint()
    assert without["adapter_sha256"] is None
    assert with_adapter["adapter_sha256"] == base.adapters["random"].sha256
    assert {**with_adapter, "adapter_sha256": None} == without


def test_an_unknown_adapter_is_refused(base_of: BaseOf) -> None:
    with pytest.raises(ValueError, match="no adapter named 'nope'"):
        LocalModel(base_of(), "nope")


class Recorder(torch.nn.Module):
    """A model that remembers the tokens of every pass."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config
        self.generation_config = inner.generation_config
        self.tokens: list[int] = []

    def forward(self, input_ids: Any, **arguments: Any) -> Any:
        self.tokens.append(input_ids.numel())
        return self.inner(input_ids=input_ids, **arguments)


def test_what_prompts_begin_with_is_run_once_and_nothing_is_padded(base_of: BaseOf) -> None:
    base = base_of("llama")
    recorder = Recorder(base.model)
    requests = [
        Request(str(i), "generate", SHARED + "x" * (i + 1), Generation(max_new_tokens=1)) for i in range(4)
    ]
    list(LocalModel(dataclasses.replace(base, model=recorder)).answer(requests))
    assert recorder.tokens == [len(SHARED) + 1 + 2 + 3 + 4]
    recorder.tokens.clear()
    few = LocalModel(dataclasses.replace(base, model=recorder), limits=Limits(tokens=len(SHARED) + 4))
    list(few.answer(requests))
    assert sum(recorder.tokens) == len(SHARED) + 1 + 2 + 3 + 4  # the second pass takes the first one's prefix
    assert len(recorder.tokens) == 2


def test_choices_are_a_tree_that_is_run_once(base_of: BaseOf) -> None:
    base = base_of("llama")
    recorder = Recorder(base.model)
    request = Request("1", "choice", SHARED, choices=("abc", "abd", "ax", "b"))
    list(LocalModel(dataclasses.replace(base, model=recorder)).answer([request]))
    assert recorder.tokens == [len(SHARED) + len("ab")]  # of "a…" and "ab…"; last tokens are rated, not run


def test_a_free_slot_is_taken_by_the_next_prompt(base_of: BaseOf) -> None:
    base = base_of("llama")
    recorder = Recorder(base.model)
    lengths = [20, 2, 2, 2, 2, 2, 2]
    requests = [
        Request(str(i), "generate", f"{i} is asked", Generation(max_new_tokens=n))
        for i, n in enumerate(lengths)
    ]
    model = LocalModel(dataclasses.replace(base, model=recorder), limits=Limits(slots=2))
    outputs = by_id(model.answer(requests))
    assert [outputs[str(i)].output_tokens for i in range(7)] == lengths
    # Six short answers passed through one slot while the long one was written in the other.
    assert sum(n <= 2 for n in recorder.tokens) <= 19


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral"])
def test_a_shared_prefix_inside_a_sliding_window_is_exact(base_of: BaseOf, family: str) -> None:
    base = base_of(family)
    requests = [
        Request(str(i), "generate", "A shared beginning: " + tail * (i + 1), Generation(max_new_tokens=20))
        for i, tail in enumerate(TAILS)
    ]
    outputs = by_id(LocalModel(base).answer(requests))
    for request in requests:
        expected = generated(base, None, request)
        assert outputs[request.id].text == base.tokenizer.decode(expected, skip_special_tokens=True)


def test_recorded_answers(base_of: BaseOf) -> None:
    """If this fails and the new answers are meant, raise ``VERSION`` in local.py and record them anew.

    Cached answers of the old version are then asked for again instead of being mixed with new ones.
    """
    base = base_of("llama")
    sampled = Generation(max_new_tokens=6, temperature=0.7, top_p=0.9, samples=2, seed=3)
    requests = [
        *prompts(),
        Request("sampled", "generate", SHARED, sampled),
        Request("choice", "choice", SHARED, choices=(" yes", " no")),
        Request("text", "perplexity", SHARED),
    ]
    found = []
    for output in sorted(LocalModel(base).answer(requests), key=lambda output: output.id):
        rated = [round(choice.logprob, 2) for choice in output.choices or ()]
        found.append([output.id, output.text, output.finish, output.output_tokens, rated])
    assert (VERSION, digest(found)) == (3, RECORDED)


@pytest.mark.gpu
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_greedy_answers_on_cuda_equal_generate(
    model_folder: Callable[[str], Path], quantization: str
) -> None:
    base = load_base(str(model_folder("llama")), quantization=quantization, dtype="fp32", device="cuda")
    outputs = by_id(LocalModel(base).answer(prompts()))
    for request in prompts():
        expected = generated(base, None, request)
        assert outputs[request.id].text == base.tokenizer.decode(expected, skip_special_tokens=True)
