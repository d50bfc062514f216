"""Metrics: statistics per sample, their sum, a value. One family a file; ``docs/metrics.md`` lists them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from evalkit.errors import MetricError, nearest
from evalkit.metrics.base import Measured, Metric, PerSampleMetric, TextMetric
from evalkit.metrics.functions import FunctionMetric, ScoreFunction
from evalkit.plugins import load_plugin, plugins

__all__ = ["Measured", "Metric", "PerSampleMetric", "TextMetric", "get_metric", "known_metrics", "metric"]

METRICS: dict[str, str] = {
    "accuracy": "classification:Accuracy",
    "attack_success": "refusal:AttackSuccess",
    "bertscore": "encoders:BertScore",
    "bits_per_byte": "likelihood:BitsPerByte",
    "bleu": "translation:Bleu",
    "calibration_error": "likelihood:CalibrationError",
    "cer": "edits:Cer",
    "choice_accuracy": "choice:ChoiceAccuracy",
    "choice_accuracy_norm": "choice:ChoiceAccuracyNorm",
    "chrf": "translation:Chrf",
    "code_score": "code:CodeScore",
    "cosine_similarity": "encoders:CosineSimilarity",
    "cost": "usage:Cost",
    "edit_similarity": "edits:EditSimilarity",
    "evaluate:NAME": "hf_evaluate:EvaluateMetric",
    "exact_match": "squad:ExactMatch",
    "f1": "classification:F1",
    "format_follow": "format_follow:FormatFollow",
    "json_fields": "json_answers:JsonFields",
    "json_schema": "json_answers:JsonSchema",
    "json_valid": "json_answers:JsonValid",
    "latency": "usage:Latency",
    "math_answer": "math_answer:MathAnswer",
    "lm_eval:NAME": "lm_eval:lm_eval_metric",
    "mcc": "classification:Mcc",
    "output_tokens": "usage:OutputTokens",
    "over_refusal": "refusal:OverRefusal",
    "pass@K": "code:PassAtK",
    "perplexity": "likelihood:Perplexity",
    "precision": "classification:Precision",
    "recall": "classification:Recall",
    "refusal": "refusal:Refusal",
    "rouge1": "rouge:Rouge1",
    "rouge2": "rouge:Rouge2",
    "rougeL": "rouge:RougeL",
    "rougeLsum": "rouge:RougeLsum",
    "ter": "translation:Ter",
    "token_f1": "squad:TokenF1",
    "toxicity": "toxicity:Toxicity",
    "wer": "edits:Wer",
}
"""Name → ``module:Class`` below this package, imported when it is asked for."""

_REGISTERED: dict[str, FunctionMetric] = {}
_Function = TypeVar("_Function", bound=ScoreFunction)


def known_metrics() -> list[str]:
    """The names ``get_metric`` knows, sorted: built in, from plugins, and registered in this process."""
    return sorted({*METRICS, *plugins("metrics"), *_REGISTERED})


def get_metric(name: str, /, **settings: Any) -> Metric:
    """Return the metric of this name with these settings.

    Args:
        name: Such as ``exact_match``; ``bertscore[minilm]`` names the model a metric depends on, ``pass@5``
            its K. **settings: The metric's own, such as ``average="micro"``.

    Raises:
        MetricError: Unknown name or setting (with the nearest known one), or a value the setting cannot have.

    >>> get_metric("f1", average="micro").signature().split("|")[:2]
    ['f1', 'average:micro']
    """
    if name == "evaluate:NAME":
        raise MetricError(
            "Any metric of Hugging Face's evaluate: its name takes the place of NAME (evaluate:meteor)."
        )
    if name == "lm_eval:NAME":
        raise MetricError(
            "A metric of a task of lm-evaluation-harness: name the task (tasks: [lm_eval:NAME])."
        )
    base, implied = _parse(name)
    if base in _REGISTERED:
        return _with_settings(name, lambda: _REGISTERED[base], {**implied, **settings})
    maker = _maker(base)
    if maker is None:
        known = known_metrics()
        raise MetricError(f"No metric named {name!r}; known: {', '.join(known)}.{nearest(base, known)}")
    if isinstance(maker, FunctionMetric):
        return _with_settings(name, lambda: maker, {**implied, **settings})
    return _with_settings(name, maker, {**implied, **settings})


def metric(*, name: str, higher_is_better: bool = True) -> Callable[[_Function], _Function]:
    """Make a function a metric of this process, known by its name; the function itself stays as it is.

    Args:
        name: As in results.
        higher_is_better: Direction.

    Raises:
        MetricError: A built-in metric has this name.

    >>> @metric(name="starts_with_vowel")
    ... def starts_with_vowel(sample, output):
    ...     return output[:1].lower() in "aeiou"
    >>> get_metric("starts_with_vowel").higher_is_better
    True
    """

    def register(function: _Function) -> _Function:
        if _parse(name)[0] in METRICS:
            raise MetricError(f"{name!r} is a built-in metric; give yours another name.")
        _REGISTERED[name] = FunctionMetric(function, name=name, higher_is_better=higher_is_better)
        return function

    return register


def _parse(name: str) -> tuple[str, dict[str, Any]]:
    """``bertscore[minilm]`` → ``bertscore`` with ``model``, ``pass@5`` → ``pass@K`` with ``k``, and so on."""
    if match := re.fullmatch(r"([\w@]+)\[([^\[\]]+)\]", name):
        return match[1], {"model": match[2]}
    if match := re.fullmatch(r"pass@(\d+)", name):
        return "pass@K", {"k": int(match[1])}
    if name.startswith("evaluate:") and name != "evaluate:NAME":
        return "evaluate:NAME", {"name": name.removeprefix("evaluate:")}
    if name.startswith("lm_eval:") and name != "lm_eval:NAME":
        return "lm_eval:NAME", {"name": name.removeprefix("lm_eval:")}
    return name, {}


def _maker(name: str) -> Callable[..., Metric] | FunctionMetric | None:
    if name in METRICS:
        module, _, attribute = METRICS[name].partition(":")
        maker: Callable[..., Metric] = getattr(import_module(f"evalkit.metrics.{module}"), attribute)
        return maker
    plugin = plugins("metrics").get(name)
    if plugin is None:
        return None
    loaded = load_plugin(plugin)
    if name in _REGISTERED:  # its module used the decorator
        return _REGISTERED[name]
    if isinstance(loaded, type) and issubclass(loaded, Metric):
        return loaded
    if callable(loaded):
        return FunctionMetric(loaded, name=name)
    raise MetricError(f"Plugin metric {name!r} ({plugin.value}) must be a Metric class or a function.")


def _with_settings(name: str, make: Callable[..., Metric], settings: dict[str, Any]) -> Metric:
    known = [parameter for parameter in inspect.signature(make).parameters if parameter != "self"]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        has = f"its settings: {', '.join(known)}" if known else "it has none"
        raise MetricError(
            *(
                f"Metric {name!r} has no setting {setting!r}; {has}.{nearest(setting, known)}"
                for setting in unknown
            )
        )
    return make(**settings)
