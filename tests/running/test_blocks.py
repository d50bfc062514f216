"""A large file is scored in blocks, the slow metrics in workers: the numbers are those of one piece."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from evalkit.errors import DataError, EvalkitError
from evalkit.metrics import get_metric
from evalkit.records import Output, Sample
from evalkit.running.blocks import BLOCK, measure_blocks
from evalkit.running.score_file import score_file, score_rows
from evalkit.running.workers import Workers, portable

N = BLOCK + 500


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = random.Random(1)
    words = ["the", "cat", "dog", "sat", "on", "a", "mat", "sorry", "cannot"]
    path = tmp_path / "out.jsonl"
    with path.open("w") as out:
        for number in range(N):
            answer, target = (" ".join(rng.choices(words, k=rng.randint(1, 6))) for _ in "at")
            out.write(json.dumps({"id": str(number), "output": answer, "target": target}) + "\n")
    return path


def test_blocks_and_workers_change_no_number(file: Path) -> None:
    names = ["exact_match", "rougeL", "bleu", "wer", "refusal", "f1"]
    metrics = [get_metric(name) for name in names]
    assert [portable(metric) is not None for metric in metrics] == [False, True, True, False, True, False]
    rows = [json.loads(line) for line in file.read_text().splitlines()[:400]]
    samples = [Sample(row["id"], "", row["target"][:3]) for row in rows]
    outputs = [Output(row["id"], row["output"][:3]) for row in rows]
    whole = measure_blocks([(samples, outputs)], metrics)
    cuts = [slice(0, 150), slice(150, 300), slice(300, 400)]
    parts = measure_blocks([(samples[cut], outputs[cut]) for cut in cuts], metrics, alone=1)
    assert parts.ids == whole.ids
    for name in names:
        assert parts.measured[name].scores == whole.measured[name].scores
        assert (parts.measured[name].statistics == whole.measured[name].statistics).all()
        assert parts.measured[name].labels == whole.measured[name].labels


def test_a_file_of_several_blocks(file: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    whole, parts = (
        score_rows(rows, ["exact_match"]),
        score_file(file, ["exact_match"], samples=tmp_path / "s.jsonl"),
    )
    assert parts.results == whole.results
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == N


def test_a_bad_row_of_a_later_block_is_named(file: Path) -> None:
    with file.open("a") as out:
        out.write('{"id": "x"}\n')
    with pytest.raises(DataError, match=rf'out.jsonl:{N + 1}: has no "output"'):
        score_file(file, ["exact_match"])


def test_a_worker_measures_what_is_measured_here() -> None:
    metric = get_metric("rougeL")
    samples, outputs = [Sample("1", "?", "a")], [Output("1", "a")]
    with Workers([portable(metric) or b""], count=1) as workers:
        assert workers.measure(samples, outputs).result()[0].scores == [1.0]
    found = measure_blocks([(samples, outputs)] * 3, [metric], alone=1)
    assert found.measured["rougeL"].scores == [1.0] * 3
    assert found.ids == ["1"] * 3


def test_a_worker_that_has_died_is_an_error_and_no_hang() -> None:
    samples, outputs = [Sample("1", "?", "a")], [Output("1", "a")]
    with pytest.raises(EvalkitError, match="has died"), Workers([b"no pickle"], count=1) as workers:
        workers.measure(samples, outputs).result()
