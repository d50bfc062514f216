"""Toxicity against Detoxify itself, on tiny classifiers with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import MetricError
from evalkit.metrics import Measured, get_metric
from evalkit.records import Output, Sample, Unscored

CLASSES = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
TEXTS = ["you are a fool", "hello world", "", "Grüße 你好", "word " * 600, "hello world"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder with configuration and tokenizer, a checkpoint in Detoxify's format, and a plain classifier."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    root = tmp_path_factory.mktemp("toxicity")
    config_dir, plain = root / "config", root / "plain"
    config_dir.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "you",
        "are",
        "a",
        "fool",
        "hello",
        "world",
        "word",
    ]
    (config_dir / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizer(str(config_dir / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(config_dir)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=len(CLASSES),
        initializer_range=0.8,
    )
    config.save_pretrained(config_dir)
    model = BertForSequenceClassification(config)
    arguments = {
        "model_type": str(config_dir),  # the id of an encoder, or its folder
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(CLASSES),
    }
    checkpoint = root / "tiny.ckpt"
    torch.save(
        {
            "config": {"arch": {"args": arguments}, "dataset": {"args": {"classes": CLASSES}}},
            "state_dict": model.state_dict(),
        },
        checkpoint,
    )
    model.config.id2label = dict(enumerate(["safe", "toxicity", "c", "d", "e", "f"]))
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    return config_dir, checkpoint, plain


@pytest.mark.parametrize("label", ["toxicity", "insult", "identity_attack"])
def test_equals_detoxify(
    parts: tuple[Path, Path, Path], label: str, measure: Callable[..., Measured]
) -> None:
    from detoxify import Detoxify

    config_dir, checkpoint, _ = parts
    reference = Detoxify(checkpoint=str(checkpoint))
    expected = [reference.predict(text)[label] for text in TEXTS]
    metric = get_metric(
        "toxicity[detoxify-original]", checkpoint=str(checkpoint), config=str(config_dir), label=label
    )
    found = measure(metric, [(text, None) for text in TEXTS]).scores
    assert found == pytest.approx(expected, abs=1e-5)  # batches are padded
    assert max(expected) - min(expected) > 0.01  # or equal numbers would show nothing
    assert f"toxicity[detoxify-original]|label:{label}|weights:" in metric.signature()


def test_a_plain_classifier_is_read_as_transformers_reads_it(
    parts: tuple[Path, Path, Path], measure: Callable[..., Measured]
) -> None:
    from transformers import pipeline

    folder = str(parts[2])
    classify = pipeline("text-classification", model=folder, top_k=None, truncation=True)
    expected = [
        next(item["score"] for item in classify(text)[0] if item["label"] == "toxicity") for text in TEXTS[:2]
    ]
    metric = get_metric("toxicity", model=folder)
    assert measure(metric, [(text, None) for text in TEXTS[:2]]).scores == pytest.approx(expected, abs=1e-6)
    assert metric.higher_is_better is False
    with pytest.raises(
        MetricError, match=r"no label 'toxic'; its labels: safe, toxicity.*Did you mean 'toxicity'"
    ):
        measure(get_metric("toxicity", model=folder, label="toxic"), [("a", None)])


def test_several_answers_count_as_their_mean_and_a_missing_one_is_unscored(
    parts: tuple[Path, Path, Path],
) -> None:
    metric = get_metric("toxicity", model=str(parts[2]))
    samples = [Sample(str(i), "") for i in range(4)]
    outputs = [
        Output("0", "hello world"),
        Output("1", "you are a fool"),
        Output("2", ["hello world", "you are a fool"]),
        Output("3", "", finish="error", error="timeout"),
    ]
    first, second, both, missing = metric.measure(samples, outputs).scores
    assert both == pytest.approx((first + second) / 2)  # type: ignore[operator]
    assert isinstance(missing, Unscored)


def test_what_cannot_be_had_is_an_error_and_no_number(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    rows = [Sample("1", "")], [Output("1", "a")]
    absent = tmp_path / "none.ckpt"
    with pytest.raises(MetricError) as error:
        get_metric("toxicity[detoxify-unbiased]", checkpoint=str(absent)).measure(*rows)
    assert error.value.messages[0] == f"toxicity[detoxify-unbiased]: no checkpoint at {absent}."
    assert (
        f"curl -L --create-dirs -o '{absent}' https://github.com/unitaryai/detoxify"
        in error.value.messages[1]
    )
    absent.write_bytes(b"junk")
    with pytest.raises(MetricError, match="is no checkpoint of Detoxify"):
        get_metric("toxicity", checkpoint=str(absent)).measure(*rows)
    with pytest.raises(MetricError, match="Did you mean 'original'"):
        get_metric("toxicity[detoxify-orignal]")
    with pytest.raises(MetricError, match="expected detoxify-original"):
        get_metric("toxicity", model="no/such/folder")
    with pytest.raises(MetricError, match="go with Detoxify's models only"):
        get_metric("toxicity", model=str(parts[2]), config="x")


def test_the_light_model_is_alt_profanity_check(measure: Callable[..., Measured]) -> None:
    """Its own ``predict_prob``, on 200 texts of words good and bad."""
    import random

    from profanity_check import predict_prob

    rng = random.Random(4)
    words = ["you", "are", "a", "damn", "stupid", "idiot", "kind", "person", "crap", "thanks", "Grüße", "!"]
    texts = ["", " ", *(" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(200))]
    metric = get_metric("toxicity[alt-profanity-check]")
    found = measure(metric, [(text, None) for text in texts]).scores
    assert found == pytest.approx(predict_prob(texts).tolist(), abs=1e-9)
    assert max(found) > 0.9
    assert min(found) < 0.1
    assert metric.signature().startswith("toxicity[alt-profanity-check]|label:toxicity|version:")
    with pytest.raises(MetricError, match="no label 'insult'; its labels: toxicity"):
        measure(get_metric("toxicity[alt-profanity-check]", label="insult"), [("a", None)])


def test_a_hub_id_that_is_not_here_says_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MetricError) as error:
        get_metric("toxicity[nobody/no-such-classifier]").measure([Sample("1", "")], [Output("1", "a")])
    assert "Type: hf download nobody/no-such-classifier" in error.value.messages
