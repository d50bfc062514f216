"""The task: dataset, prompt, generation settings, metrics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from evalkit.specs.model import Name, Spec

__all__ = [
    "Attack",
    "GenerationSpec",
    "HubData",
    "LmEvalData",
    "MetricUse",
    "PackageData",
    "TaskData",
    "TaskSpec",
]


class HubData(Spec):
    """Rows from the Hugging Face Hub."""

    hf: str
    split: str = "test"
    name: str | None = None
    revision: str | None = None


class LmEvalData(Spec):
    """Rows and prompts of a task written for lm-evaluation-harness."""

    lm_eval: str


class PackageData(Spec):
    """Rows from a file that a Python package carries."""

    package: str
    file: str


Source = str | HubData | PackageData | LmEvalData


class TaskData(Spec):
    """Where a task's rows are, by split."""

    train: Source | None = None
    validation: Source | None = None
    test: Source
    fewshot: Source | None = None


class GenerationSpec(Spec):
    """How answers are generated."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    samples: Annotated[int, Field(ge=1)] = 1
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    logprobs: bool = False


class MetricUse(Spec):
    """A metric with its settings: ``{metric: json_fields, schema: schema.json}``."""

    metric: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``bleu`` stands for ``{metric: bleu}``; keys beside ``metric`` are the metric's settings."""
        if isinstance(data, str):
            return {"metric": data}
        if isinstance(data, dict) and "settings" not in data:
            return {
                **({"metric": data["metric"]} if "metric" in data else {}),
                "settings": {key: value for key, value in data.items() if key != "metric"},
            }
        return data


Attack = Literal[
    "none",
    "role_play",
    "base64",
    "rot13",
    "leetspeak",
    "prefix_injection",
    "payload_splitting",
    "translation",
    "multi_turn",
]
"""A transform of a prompt (``evalkit.data.attacks``); ``none`` is the prompt as it stands."""


class TaskSpec(Spec):
    """One task card."""

    task: Name
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    data: TaskData
    kind: Literal["generate", "choice", "perplexity", "code", "conversation"] = "generate"
    choices: str | list[str] | None = None
    fewshot: Annotated[int, Field(ge=0)] = 0
    fewshot_order: Literal["random", "first"] = "random"
    delimiter: str = "\n\n"
    target_delimiter: str = " "
    chat: Literal["auto"] | bool = "auto"
    prompt: str | None = None
    messages: str | None = None
    turns: str | None = None
    """Kind conversation: a field with the user's turns, a list of texts; the prompt is rendered for each."""
    target: str | None = None
    generation: GenerationSpec = Field(default_factory=GenerationSpec)
    extract: str | dict[str, str] | None = None
    metrics: list[MetricUse] = Field(min_length=1)
    primary: str | None = None
    judges: list[str] = Field(default_factory=list)
    attacks: list[Attack] = Field(default_factory=list)
    slices: list[str] = Field(default_factory=list)
    cluster: str | None = None
    id: str | None = None
