"""The study: one YAML that says what is compared with what, on which samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import Spec

__all__ = [
    "AdapterCandidate",
    "ApiCandidate",
    "Candidate",
    "DataSpec",
    "JudgeUse",
    "PromptCandidate",
    "Quantization",
    "RagCandidate",
    "ReplayCandidate",
    "Search",
    "Study",
    "TaskUse",
    "TrainCandidate",
]

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^/\\\x00-\x1f#\[\]]+$")]
QuantizationType = Literal["nf4", "fp4", "int8", "none"]
Dtype = Literal["auto", "bf16", "fp32"]


class Quantization(Spec):
    """How the base's weights are held."""

    type: QuantizationType = "nf4"
    double: bool = True
    """Quantise the quantisation constants too (QLoRA, Dettmers et al. 2023); nf4 and fp4 only."""
    block: Literal[32, 64, 128, 256, 512, 1024, 2048, 4096] = 64
    """Weights per quantisation constant; nf4 and fp4 only."""


class TaskRows(Spec):
    """Training rows taken from a task's train split."""

    task: str


class DataSpec(Spec):
    """Training data of the study or of one candidate."""

    train: Path | TaskRows | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] | Path | None = 0.1
    """A share of the rows (near-duplicates stay on one side), or a file."""
    overlong: Literal["drop", "truncate", "split"] = "drop"
    sizes: list[Annotated[int, Field(gt=0)]] | None = None


class Search(Spec):
    """Successive halving over the members of a grid."""

    rungs: Annotated[int, Field(ge=2)] = 3
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5


class _CandidateBase(Spec):
    name: Name
    model: str | None = None
    quantization: Quantization | QuantizationType | None = None
    dtype: Dtype | None = None


class PromptCandidate(_CandidateBase):
    """The base with another system prompt or with examples before the question."""

    kind: Literal["prompt"]
    system: str | None = None
    fewshot: Annotated[int, Field(ge=0)] | None = None


class TrainCandidate(_CandidateBase):
    """An adapter trained here; ``grid`` and ``seeds`` make several."""

    kind: Literal["train"]
    trainer: str = "qlora"
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    search: Search | None = None
    start: str | None = None
    data: DataSpec | None = None


class AdapterCandidate(_CandidateBase):
    """An adapter made elsewhere, in peft's format."""

    kind: Literal["adapter"]
    path: Path


class RagCandidate(_CandidateBase):
    """The base with passages of a corpus put before the question."""

    kind: Literal["rag"]
    corpus: str
    top_k: Annotated[int, Field(ge=1)] = 3


class ApiCandidate(_CandidateBase):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["api"]
    base_url: str | None = None
    api_key_env: str | None = None


class ReplayCandidate(_CandidateBase):
    """Answers made elsewhere, read from a file."""

    kind: Literal["replay"]
    path: Path


Candidate = Annotated[
    PromptCandidate | TrainCandidate | AdapterCandidate | RagCandidate | ApiCandidate | ReplayCandidate,
    Field(discriminator="kind"),
]


class TaskUse(Spec):
    """A task as a study uses it."""

    task: str
    limit: Annotated[int, Field(ge=1)] | None = None


class JudgeModel(Spec):
    """Which model judges: a local one, or one behind a server."""

    name: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    local: str | None = None


class JudgeUse(Spec):
    """A judge as a study uses it."""

    judge: str
    model: JudgeModel | None = None


class Study(Spec):
    """One YAML: base model, data, candidates, tasks, judges, gate."""

    study: Name
    model: str | None = None
    quantization: Quantization | QuantizationType = "nf4"
    dtype: Dtype = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    trust_remote_code: bool = False
    """Run Python that comes with the model. Never on unless written here."""
    seed: Annotated[int, Field(ge=0)] = 17
    data: DataSpec = Field(default_factory=DataSpec)
    candidates: list[Candidate] = Field(default_factory=list)
    control: str = "base"
    tasks: list[TaskUse] = Field(default_factory=list)
    judges: list[JudgeUse] = Field(default_factory=list)
    gate: Path | None = None
    report: str = "default"

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("tasks"), list):
            tasks = [{"task": item} if isinstance(item, str) else item for item in data["tasks"]]
            return {**data, "tasks": tasks}
        return data
