"""The next token: held against transformers' logits processors, and against the distribution it is drawn from."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from evalkit.models.decoding import Answer, cut_at_stop, draw_tokens, random_key, scores_of
from evalkit.records import Generation


def answer(key: int | None = 7, tokens: list[int] | None = None, **settings: Any) -> Answer:
    generation = Generation(temperature=0.0 if key is None else settings.pop("temperature", 1.0), **settings)
    return Answer([1, 2, 3], 1000, generation, frozenset(), key, tokens or [])


def drawn(logits: torch.Tensor, n: int, **settings: Any) -> Counter[int | None]:
    """n draws, each by an answer of its own."""
    keys = [random_key(Generation(temperature=1.0), str(i), 0) for i in range(n)]
    return Counter(
        draw.token for draw in draw_tokens(logits.expand(n, -1), [answer(k, **settings) for k in keys])
    )


def test_tokens_are_drawn_from_the_softmax_of_the_tempered_logits() -> None:
    n = 20_000
    counts = drawn(torch.tensor([1.0, 0.0, 2.0, -1.0]), n, temperature=0.5)
    # softmax(logits / 0.5): exp(2, 0, 4, -2) / sum
    weights = [math.exp(value) for value in (2.0, 0.0, 4.0, -2.0)]
    for token, weight in enumerate(weights):
        p = weight / sum(weights)
        assert counts[token] / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def test_a_nucleus_is_the_fewest_tokens_that_reach_the_mass() -> None:
    # probabilities 0.5, 0.3, 0.15, 0.05: the fewest whose mass reaches 0.6 are the first two
    logits = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))
    counts = drawn(logits, 4000, top_p=0.6)
    assert set(counts) == {1, 3}
    assert counts[1] / 4000 == pytest.approx(0.625, abs=0.03)
    assert set(drawn(logits, 50, top_p=1e-9)) == {1}


def test_top_k_and_min_p() -> None:
    logits = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))
    assert set(drawn(logits, 500, top_k=2)) == {1, 3}
    assert set(drawn(logits, 500, min_p=0.25)) == {1, 2, 3}  # at least 0.125


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 20},
        {"top_p": 0.9},
        {"top_p": 0.4},
        {"min_p": 0.05},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8, "temperature": 0.7, "top_k": 300, "top_p": 0.95, "min_p": 0.01},
    ],
)
def test_what_is_cut_off_and_how_likely_the_rest_is_equals_transformers(settings: dict[str, Any]) -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = torch.randn(2000, generator=torch.Generator().manual_seed(1)) * 4
    one = answer(tokens=[5, 6, 5], **settings)
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(settings.get("repetition_penalty", 1.0)),
            TemperatureLogitsWarper(settings.get("temperature", 1.0)),
            TopKLogitsWarper(settings.get("top_k", 2000)),
            TopPLogitsWarper(settings.get("top_p", 1.0)),
            MinPLogitsWarper(settings.get("min_p", 0.0)),
        ]
    )
    expected = processors(torch.tensor([[1, 2, 3, 5, 6, 5]]), logits[None].clone())[0]
    scores = scores_of(logits, one)
    noise = scores_of(torch.zeros(2000), answer(tokens=[5, 6, 5]))  # the same key and place: the same noise
    assert torch.equal(scores.isinf(), expected.isinf())
    kept = ~expected.isinf()
    torch.testing.assert_close((scores - noise)[kept], expected[kept], atol=1e-4, rtol=0)


def test_a_penalty_counts_without_sampling() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.9]])
    assert draw_tokens(logits, [answer(None)])[0].token == 3
    assert draw_tokens(logits, [answer(None, repetition_penalty=1.2)])[0].token == 4  # 3 is in the prompt


def test_noise_belongs_to_seed_sample_answer_and_place() -> None:
    keys = {
        random_key(Generation(temperature=1.0, seed=seed), sample, index)
        for seed in (0, 1)
        for sample in ("a", "b")
        for index in (0, 1)
    }
    assert len(keys) == 8
    logits = torch.zeros(1000)
    first = scores_of(logits, answer(7))
    assert torch.equal(first, scores_of(logits, answer(7)))
    assert not torch.equal(first, scores_of(logits, answer(8)))
    assert not torch.equal(first, scores_of(logits, answer(7, [4])))


def test_close_leads_are_told() -> None:
    logits = torch.tensor([[5.0, 5.0 - 1e-5, 0.0], [5.0, 4.0, 0.0]])
    assert [draw.close for draw in draw_tokens(logits, [answer(None), answer(None)])] == [True, False]


def test_log_probabilities_are_the_models_own() -> None:
    logits = torch.tensor([[1.0, 3.0, 0.0]])
    (draw,) = draw_tokens(logits, [answer(None, logprobs=True)])
    assert draw.logprob == pytest.approx(3 - math.log(math.e + math.e**3 + 1), abs=1e-6)
    assert draw_tokens(logits, [answer(None)])[0].logprob is None


def test_nan_is_no_token() -> None:
    draws = draw_tokens(torch.tensor([[0.0, math.nan, 1.0], [0.0, 1.0, 2.0]]), [answer(None), answer(3)])
    assert draws[0].token is None
    assert draws[1].token is not None


def test_cut_at_stop() -> None:
    assert cut_at_stop("one two", ("x",)) is None
    assert cut_at_stop("one two", ("two", "ne")) == "o"
    assert cut_at_stop("one", ("one",)) == ""
