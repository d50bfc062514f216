"""BERTScore and cosine similarity: how near are answer and target in an encoder's space?

Zhang et al. 2020 (BERTScore: greedy matching of contextual token embeddings); Reimers and Gurevych 2019 (Sentence-
BERT: cosine of mean-pooled embeddings). Any encoder of transformers serves; ``minilm`` is the default. Equal texts
are encoded once, texts of like length together.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import MetricError
from evalkit.metrics.base import (
    NO_TARGET,
    Measured,
    PerSampleMetric,
    answers,
    failed,
    mean_of,
    one_of,
    targets,
)
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import file_sha256, signature

__all__ = ["BertScore", "CosineSimilarity", "EncoderMetric"]

Floats = NDArray[np.float32]
BLOCK = 512  # pairs whose embeddings are held at once
BATCH = 64  # texts a forward pass


class EncoderMetric(PerSampleMetric):
    """A metric that needs the weights of an encoder.

    Args:
        model: Name as in results: a name of the model registry, a Hub id, or a folder.

    ``place`` says where the weights are; a folder needs no placing.
    """

    bounds = (-1.0, 1.0)

    def __init__(self, model: str) -> None:
        self.model = model
        self.folder: Path | None = Path(model) if Path(model).is_dir() else None
        self._sha256: str | None = None
        self._encoder: _Encoder | None = None

    def place(self, folder: Path, sha256: str) -> None:
        """Say where the weights are and what their hash is."""
        self.folder, self._sha256 = folder, sha256

    @abstractmethod
    def similarities(self, pairs: Sequence[tuple[str, str]], encoder: _Encoder) -> list[float]:
        """Similarity of each (answer, target)."""

    def prepare(self, references: Sequence[str], encoder: _Encoder) -> None:
        """Look at all targets before the first similarity."""

    def score(self, sample: Sample, output: Output) -> Score:
        """Score one sample alone."""
        return self.measure([sample], [output]).scores[0]

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Of several targets the nearest counts, of several answers the mean."""
        groups = [_group(sample, output) for sample, output in zip(samples, outputs, strict=True)]
        kept = [group for group in groups if not isinstance(group, Unscored)]
        encoder = self.encoder
        self.prepare([target for _, wanted in kept for target in wanted], encoder)
        pairs = [(text, target) for texts, wanted in kept for text in texts for target in wanted]
        found: list[float] = []
        for start in range(0, len(pairs), BLOCK):
            found += self.similarities(pairs[start : start + BLOCK], encoder)
        values = iter(found)
        return mean_of(
            [group if isinstance(group, Unscored) else _mean_of_best(group, values) for group in groups]
        )

    @property
    def encoder(self) -> _Encoder:
        """The encoder, loaded when it is first used."""
        if self.folder is None:
            raise MetricError(
                f"{self.name}: no encoder at {self.model!r}: expected a folder with config.json and weights."
            )
        if self._encoder is None:
            self._encoder = _Encoder(self.folder)
        return self._encoder

    @property
    def weights(self) -> str:
        """First characters of the weights' hash."""
        if self._sha256 is None and self.folder is not None:
            files = sorted(self.folder.glob("*.safetensors")) + sorted(self.folder.glob("pytorch_model*.bin"))
            self._sha256 = "-".join(file_sha256(file)[:12] for file in files)
        return (self._sha256 or "unknown")[:12]


class BertScore(EncoderMetric):
    """BERTScore, mean over samples: −1 to 1, near 1 for paraphrases, higher is better. The values of ``bert-score``.

    Args:
        model: See ``EncoderMetric``.
        measure: ``f1`` (default), ``precision`` or ``recall``.
        layer: Hidden layer whose embeddings are matched, from 1; the last unless said.
        idf: Weigh tokens by how rare they are among the targets.
        baseline: File with a baseline to rescale by: CSV with the columns LAYER, P, R and F.

    Raises:
        MetricError: The baseline file cannot be read or lacks the layer.
    """

    def __init__(
        self,
        *,
        model: str = "minilm",
        measure: str = "f1",
        layer: int | None = None,
        idf: bool = False,
        baseline: str | Path | None = None,
    ) -> None:
        super().__init__(model)
        self.name = f"bertscore[{model}]"
        self.place_of_measure = ("precision", "recall", "f1").index(
            one_of("bertscore", "measure", measure, ("precision", "recall", "f1"))
        )
        self.layer, self.idf = layer, idf
        self.streams = not idf  # the weight of a token depends on all targets
        self.baseline = None if baseline is None else Path(baseline)
        self._weights_of: Mapping[int, float] = {}
        self._unseen = 1.0

    def prepare(self, references: Sequence[str], encoder: _Encoder) -> None:
        """Count in how many targets each token occurs."""
        special = {encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id}
        self._weights_of, self._unseen = dict.fromkeys(special, 0.0), 1.0
        if self.idf:
            counts = Counter(token for ids in encoder.ids(references) for token in set(ids))
            self._unseen = math.log(len(references) + 1)
            self._weights_of = {t: math.log((len(references) + 1) / (c + 1)) for t, c in counts.items()}

    def similarities(self, pairs: Sequence[tuple[str, str]], encoder: _Encoder) -> list[float]:
        """Precision, recall or F of the greedy matching of each pair, rescaled if asked."""
        layer = encoder.layers if self.layer is None else self.layer
        if not 1 <= layer <= encoder.layers:
            raise MetricError(f"{self.name}: setting 'layer' must be 1 to {encoder.layers}; got {layer}.")
        embedded = encoder.tokens(list(dict.fromkeys(text for pair in pairs for text in pair)), layer)
        base = self._baseline(layer)
        found = [self._match(embedded[answer], embedded[target]) for answer, target in pairs]
        return [(value - base) / (1 - base) for value in found]

    def signature(self) -> str:
        """Name, measure, layer, weighting, baseline and weights."""
        return signature(
            self.name,
            measure=("precision", "recall", "f1")[self.place_of_measure],
            layer=self.layer or "last",
            idf=self.idf,
            baseline=None if self.baseline is None else file_sha256(self.baseline)[:12],
            weights=self.weights,
        )

    def _match(self, answer: tuple[list[int], Floats], target: tuple[list[int], Floats]) -> float:
        similarity = answer[1] @ target[1].T  # (answer tokens, target tokens)
        precision = self._weighted(answer[0], similarity.max(1))
        recall = self._weighted(target[0], similarity.max(0))
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        if min(len(answer[0]), len(target[0])) <= 2:  # nothing between the special tokens, as in bert-score
            return 0.0
        return (precision, recall, f1)[self.place_of_measure]

    def _weighted(self, ids: list[int], best: Floats) -> float:
        weights = np.array([self._weights_of.get(token, self._unseen) for token in ids])
        return float(weights @ best / weights.sum()) if weights.sum() > 0 else 0.0

    def _baseline(self, layer: int) -> float:
        if self.baseline is None:
            return 0.0
        try:
            rows = [line.split(",") for line in self.baseline.read_text(encoding="utf-8").splitlines()[1:]]
            return {int(row[0]): float(row[1 + self.place_of_measure]) for row in rows}[layer]
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise MetricError(
                f"{self.name}: baseline {self.baseline} has no row for layer {layer}: {error}"
            ) from error


class CosineSimilarity(EncoderMetric):
    """Cosine of the mean-pooled embeddings, mean over samples: −1 to 1, higher is better. As sentence-transformers.

    Args:
        model: See ``EncoderMetric``.
    """

    def __init__(self, *, model: str = "minilm") -> None:
        super().__init__(model)
        self.name = f"cosine_similarity[{model}]"

    def similarities(self, pairs: Sequence[tuple[str, str]], encoder: _Encoder) -> list[float]:
        """Cosine of each pair."""
        embedded = encoder.sentences(list(dict.fromkeys(text for pair in pairs for text in pair)))
        return [float(embedded[answer] @ embedded[target]) for answer, target in pairs]

    def signature(self) -> str:
        """Name, pooling and weights."""
        return signature(self.name, pooling="mean", weights=self.weights)


class _Encoder:
    """An encoder of transformers with its tokenizer, in fp32."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self.model: Any = AutoModel.from_pretrained(str(folder), dtype=torch.float32).to(self.device).eval()
        self.layers = int(self.model.config.num_hidden_layers)
        longest = int(getattr(self.model.config, "max_position_embeddings", 512))
        self.longest = min(longest, int(self.tokenizer.model_max_length))
        card = folder / "sentence_bert_config.json"
        self.longest_sentence = (
            json.loads(card.read_text())["max_seq_length"] if card.is_file() else self.longest
        )

    def ids(self, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at the encoder's length."""
        if not texts:
            return []
        stripped = [text.strip() for text in texts]
        length = longest or self.longest
        found: list[list[int]] = self.tokenizer(stripped, truncation=True, max_length=length, padding=False)[
            "input_ids"
        ]
        return found

    def tokens(self, texts: Sequence[str], layer: int) -> dict[str, tuple[list[int], Floats]]:
        """Ids and unit-length embeddings (tokens, width) of each text at a layer."""
        found = {}
        for text, ids, states in self._states(texts, layer, self.longest):
            found[text] = (ids, states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12))
        return found

    def sentences(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Unit-length mean of each text's last-layer embeddings, (width,)."""
        found = {}
        for text, _, states in self._states(texts, self.layers, self.longest_sentence):
            mean = states.mean(0)
            found[text] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return found

    def _states(
        self, texts: Sequence[str], layer: int, longest: int
    ) -> Iterator[tuple[str, list[int], Floats]]:
        import torch

        ids = self.ids(texts, longest)
        order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            width = max(len(ids[index]) for index in chosen)
            padded = torch.full((len(chosen), width), self.tokenizer.pad_token_id or 0)
            mask = torch.zeros((len(chosen), width), dtype=torch.long)
            for row, index in enumerate(chosen):
                padded[row, : len(ids[index])] = torch.tensor(ids[index])
                mask[row, : len(ids[index])] = 1
            with torch.no_grad():
                states = self.model(
                    padded.to(self.device), attention_mask=mask.to(self.device), output_hidden_states=True
                ).hidden_states[layer]
            for row, index in enumerate(chosen):
                yield texts[index], ids[index], states[row, : len(ids[index])].float().cpu().numpy()


def _group(sample: Sample, output: Output) -> tuple[list[str], list[str]] | Unscored:
    """Answers and targets of a sample, or why it cannot be scored."""
    if reason := failed(output):
        return reason
    texts, wanted = answers(output), targets(sample)
    if not wanted:
        return NO_TARGET
    return (texts, wanted) if texts else Unscored("the output holds no answer")


def _mean_of_best(group: tuple[list[str], list[str]], values: Iterator[float]) -> float:
    texts, wanted = group
    return sum(max(next(values) for _ in wanted) for _ in texts) / len(texts)
