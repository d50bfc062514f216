"""Metrics of Hugging Face's *evaluate*, from scripts that the tests write in its format."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics import get_metric
from evalkit.records import Output, Sample, Unscored
from evalkit.running.score_file import score_rows

SCRIPT = """
import datasets
import evaluate


class Made(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{
            "predictions": datasets.Value("{kind}"),
            "references": {references},
        }})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references{more}):
        return {result}
"""


def write(
    folder: Path, name: str, result: str, *, kind: str = "string", several: bool = False, more: str = ""
) -> str:
    value = f'datasets.Value("{kind}")'
    references = f"datasets.Sequence({value})" if several else value
    file = folder / f"{name}.py"
    file.write_text(
        SCRIPT.format(kind=kind, references=references, result=result, more=more), encoding="utf-8"
    )
    return str(file)


@pytest.fixture(autouse=True, scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """*evaluate* copies scripts into its cache of modules: keep it out of the user's."""
    folder = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_MODULES_CACHE", folder)
        patch.setattr("datasets.config.HF_MODULES_CACHE", folder)
        yield


def pairs(n: int) -> list[tuple[str, str]]:
    rng = random.Random(n)
    words = ["a", "bb", "ccc", "dddd"]
    return [(" ".join(rng.choices(words, k=3)), " ".join(rng.choices(words, k=3))) for _ in range(n)]


def measured(metric: Any, rows: list[tuple[Any, Any]]) -> Any:
    samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
    return metric.measure(samples, [Output(str(i), answer) for i, (answer, _) in enumerate(rows)])


def test_a_mean_keeps_its_own_scores(tmp_path: Path) -> None:
    place = write(
        tmp_path,
        "same_length",
        '{"same_length": sum(len(p) == len(r) for p, r in zip(predictions, references)) / len(predictions)}',
    )
    rows = pairs(200)
    found = measured(get_metric(f"evaluate:{place}"), rows)
    assert found.scores == [float(len(a) == len(b)) for a, b in rows]
    expected = evaluate.load(place).compute(predictions=[a for a, _ in rows], references=[b for _, b in rows])
    value = get_metric(f"evaluate:{place}").value(found.statistics.sum(0))
    assert float(value) == pytest.approx(expected["same_length"], abs=1e-12)


def test_a_corpus_value_is_its_own_and_varies_as_it_does(tmp_path: Path) -> None:
    """A ratio of sums: its jackknife spread against a bootstrap that computes it anew."""
    place = write(tmp_path, "ratio", '{"ratio": sum(map(len, predictions)) / sum(map(len, references))}')
    rows = pairs(200)
    metric = get_metric("evaluate:ratio", script=place)
    found = measured(metric, rows)
    a, b = (np.array([len(text) for text in side]) for side in zip(*rows, strict=True))
    assert float(metric.value(found.statistics.sum(0))) == pytest.approx(a.sum() / b.sum(), abs=1e-12)
    assert found.scores == pytest.approx((a / b).tolist())
    draws = np.random.default_rng(1).integers(0, 200, (4000, 200))
    anew = a[draws].sum(1) / b[draws].sum(1)
    ours = found.statistics[draws].sum(1)
    assert (ours[:, 0] / ours[:, 1]).std() == pytest.approx(anew.std(), rel=0.15)
    assert found.statistics[::-1].sum(0) == pytest.approx(found.statistics.sum(0))


def test_it_goes_through_score_with_an_interval(tmp_path: Path) -> None:
    place = write(tmp_path, "ratio2", '{"ratio2": sum(map(len, predictions)) / sum(map(len, references))}')
    rows = [{"output": a, "target": b} for a, b in pairs(40)]
    (result,) = score_rows(rows, [f"evaluate:{place}"]).results
    assert result.low is not None
    assert result.high is not None
    assert result.low < result.value < result.high  # type: ignore[operator]
    assert f"|evaluate:{evaluate.__version__}|script:" in result.signature


def test_results_a_prediction_labels_numbers_and_several_references(tmp_path: Path) -> None:
    listed = write(tmp_path, "lengths", '{"lengths": [float(len(p)) for p in predictions], "hash": "x"}')
    assert measured(get_metric(f"evaluate:{listed}"), [("ab", "x"), (["a", "abc"], "x")]).scores == [2, 2]
    labels = write(
        tmp_path,
        "hits",
        '{"hits": sum(p == r for p, r in zip(predictions, references)) / len(references)}',
        kind="int32",
    )
    metric = get_metric(f"evaluate:{labels}")
    assert measured(
        metric, [("refund", "refund"), ("login", "refund"), ("0", "0"), ("1", "login")]
    ).scores == [1, 0, 1, 0]
    numbers = write(
        tmp_path,
        "gap",
        '{"gap": sum(abs(p - r) for p, r in zip(predictions, references)) / len(references)}',
        kind="float32",
    )
    assert measured(
        get_metric(f"evaluate:{numbers}", higher_is_better=False), [("3.5", 3), ("no", 3), ("3", None)]
    ).scores == [
        0.5,
        Unscored("the metric compares numbers, and the answer or the target is none"),
        Unscored("the row has no target"),
    ]
    several = write(
        tmp_path,
        "found",
        '{"found": sum(p in r for p, r in zip(predictions, references)) / len(references)}',
        several=True,
    )
    assert measured(get_metric(f"evaluate:{several}"), [("a", ["b", "a"]), ("a", "b")]).scores == [1, 0]


def test_options_and_fields(tmp_path: Path) -> None:
    place = write(tmp_path, "two", '{"first": 1.0, "second": float(power)}', more=", power=1")
    with pytest.raises(MetricError, match="set `field:` to one of its results: first, second; got None"):
        measured(get_metric(f"evaluate:{place}"), [("a", "b")])
    metric = get_metric(f"evaluate:{place}", field="second", options={"power": 3})
    assert measured(metric, [("a", "b")]).scores == [3]
    assert "|field:second|power:3|" in metric.signature()


def test_what_cannot_be_had_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MetricError) as error:
        get_metric("evaluate:no_such_metric")
    assert error.value.messages[0].startswith(
        "evaluate:no_such_metric: no metric 'no_such_metric' on this machine"
    )
    assert "evaluate.load('no_such_metric')" in error.value.messages[1]
    absent = tmp_path / "needs.py"
    absent.write_text("import a_package_that_is_not_there\n", encoding="utf-8")
    with pytest.raises(MetricError, match="a_package_that_is_not_there"):
        get_metric(f"evaluate:{absent}")
    broken = write(tmp_path, "broken", "1 / 0")
    with pytest.raises(MetricError, match="raised ZeroDivisionError"):
        measured(get_metric(f"evaluate:{broken}"), [("a", "b")])
