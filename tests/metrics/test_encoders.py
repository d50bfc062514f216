"""Values pinned to bert-score 0.3.13 and to sentence-transformers' mean pooling, on a small random encoder."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.errors import MetricError, ModelError
from evalkit.metrics import get_metric
from evalkit.records import Output, Sample, Unscored
from evalkit.running.score import build_metrics

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "a",
    "mat",
    ".",
    "##s",
    "ran",
]
PAIRS = [
    ("the cat sat on the mat .", "a cat sat on a mat ."),
    ("the dogs ran", "the cat sat"),
    ("the cat", "the cat"),
    ("on", "the cat sat on the mat . the dog ran . a cat sat on a dog ."),
    ("the cat sat on the mat .", "the dog ran ."),
    ("zzz qqq", "the cat"),
]
MADE = random.Random(1)
PAIRS += [  # with the six above, 200
    tuple(
        " ".join(
            MADE.choices(
                ["the", "a", "cat", "dog", "dogs", "sat", "ran", "on", "mat", ".", "zzz"],
                k=MADE.randint(1, 12),
            )
        )
        for _ in "at"
    )  # type: ignore[misc]
    for _ in range(194)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of three layers."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    path = tmp_path_factory.mktemp("encoder")
    vocabulary = path / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,  # so that tokens differ
    )
    BertModel(config).eval().save_pretrained(path)
    BertTokenizer(vocab=str(vocabulary), model_max_length=64).save_pretrained(path)
    return path


def values(metric: Any, pairs: list[tuple[Any, Any]]) -> list[Any]:
    samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(pairs)]
    outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(pairs)]
    return list(metric.measure(samples, outputs).scores)


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize("layer", [2, 3])
def test_bertscore_equals_bert_score(folder: Path, idf: bool, layer: int) -> None:
    from bert_score import score
    from bert_score.utils import get_idf_dict
    from transformers import AutoTokenizer

    answers, wanted = [a for a, _ in PAIRS], [t for _, t in PAIRS]
    weights = get_idf_dict(wanted, AutoTokenizer.from_pretrained(folder), nthreads=0) if idf else False
    expected = score(answers, wanted, model_type=str(folder), num_layers=layer, idf=weights, device="cpu")
    for measure, column in zip(("precision", "recall", "f1"), expected, strict=True):
        metric = get_metric("bertscore", model=str(folder), layer=layer, idf=idf, measure=measure)
        assert values(metric, PAIRS) == pytest.approx(column.tolist(), abs=1e-4)


def test_bertscore_takes_the_nearest_target(folder: Path) -> None:
    from bert_score import score

    wanted = ["the dog ran .", "the cat sat"]
    expected = score(["the cat"], [wanted], model_type=str(folder), num_layers=3, device="cpu")[2].item()
    metric = get_metric(f"bertscore[{folder}]")
    assert values(metric, [("the cat", wanted)]) == pytest.approx([expected], abs=1e-4)


def test_bertscore_rescaled_by_a_baseline(folder: Path, tmp_path: Path) -> None:
    """bert-score: (score - baseline) / (1 - baseline), from the row of the layer."""
    file = tmp_path / "baseline.csv"
    file.write_text("LAYER,P,R,F\n0,0.1,0.1,0.1\n3,0.3,0.35,0.4\n")
    plain = values(get_metric("bertscore", model=str(folder)), PAIRS)
    scaled = values(get_metric("bertscore", model=str(folder), baseline=file), PAIRS)
    assert scaled == pytest.approx([(value - 0.4) / 0.6 for value in plain], abs=1e-9)
    with pytest.raises(MetricError, match="no row for layer 2"):
        values(get_metric("bertscore", model=str(folder), baseline=file, layer=2), PAIRS)
    with pytest.raises(MetricError, match="'layer' must be 1 to 3; got 4"):
        values(get_metric("bertscore", model=str(folder), layer=4), PAIRS)


def test_cosine_similarity_equals_mean_pooling(folder: Path) -> None:
    """sentence-transformers' Transformer, Pooling(mean) and Normalize, text by text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def embed(text: str) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        return np.asarray(mean / np.linalg.norm(mean))

    expected = [float(embed(answer) @ embed(target)) for answer, target in PAIRS]
    assert values(get_metric("cosine_similarity", model=str(folder)), PAIRS) == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize("name", ["bertscore", "cosine_similarity"])
def test_a_text_is_nearest_itself_and_order_does_not_matter(folder: Path, name: str) -> None:
    metric = get_metric(name, model=str(folder))
    same = [(target, target) for _, target in PAIRS]
    assert values(metric, same) == pytest.approx([1.0] * len(PAIRS), abs=1e-5)
    found = values(metric, PAIRS * 2)
    assert found[::-1] == pytest.approx(values(metric, (PAIRS * 2)[::-1]), abs=1e-6)
    assert all(-1 - 1e-6 <= value <= 1 + 1e-6 for value in found)


def test_unscored_empty_and_several_answers(folder: Path) -> None:
    metric = get_metric("bertscore", model=str(folder))
    found = values(metric, [("a cat", None), ("", "the cat"), (["the cat", "a dog"], "the cat")])
    assert found[:2] == [Unscored("the row has no target"), 0.0]
    one, other = values(metric, [("the cat", "the cat"), ("a dog", "the cat")])
    assert found[2] == pytest.approx((one + other) / 2)
    assert values(metric, []) == []


def test_names_signatures_and_missing_weights(folder: Path) -> None:
    metric = get_metric("cosine_similarity", model=str(folder))
    assert metric.name == f"cosine_similarity[{folder}]"
    assert f"|weights:{metric.weights}" in metric.signature()  # type: ignore[attr-defined]
    assert len(metric.weights) == 12  # type: ignore[attr-defined]
    with pytest.raises(MetricError, match="no encoder at 'nowhere'"):
        values(get_metric("bertscore[nowhere]"), PAIRS)
    with pytest.raises(ModelError, match="No model 'minilmm'"):
        build_metrics(["bertscore[minilmm]"])


def test_minilm_knows_paraphrases() -> None:
    """The pulled weights, through the registry."""
    from evalkit.models.registry import installed

    if not installed("minilm"):
        with pytest.raises(ModelError, match="evalkit model pull minilm"):
            build_metrics(["bertscore"])
        return
    cosine, bert = build_metrics(["cosine_similarity[minilm]", "bertscore"])
    assert (cosine.name, bert.name) == ("cosine_similarity[minilm]", "bertscore[minilm]")
    assert "weights:53aa51172d14" in cosine.signature()
    near, far = (
        ("A man is eating food.", "A man eats something."),
        ("A man is eating food.", "The sky is blue."),
    )
    for metric in (cosine, bert):
        close, distant = values(metric, [near, far])
        assert close > distant + 0.2
        assert not math.isnan(distant)
