"""The study: one YAML that says what is compared with what, on which samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import File, Name, Spec

__all__ = [
    "AdapterCandidate",
    "ApiCandidate",
    "Candidate",
    "DataSpec",
    "JudgeModel",
    "JudgeUse",
    "PromptCandidate",
    "Quantization",
    "RagCandidate",
    "ReplayCandidate",
    "Search",
    "Study",
    "TaskRows",
    "TaskUse",
    "TrainCandidate",
]

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

    train: File | TaskRows | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] | File | None = 0.1
    """A share of the rows (near-duplicates stay on one side), or a file."""
    overlong: Literal["drop", "truncate", "split"] = "drop"
    """Rows longer than the trainer's ``max_length``; counted whichever it is."""
    sizes: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] | None = None
    """A learning curve: each candidate trained here is trained once on the first so many rows (shuffled,
    seeded)."""


class Search(Spec):
    """Successive halving over the members of a grid."""

    rungs: Annotated[int, Field(ge=2)] = 3
    """How often the candidates are looked at, the last look included."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the candidates that goes on after each rung."""


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
    grid: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)] | None = None
    """Setting → values: one candidate for each combination."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    search: Search | None = None
    start: str | None = None
    """Another candidate, whose adapter this one goes on from."""
    data: DataSpec | None = None
    """What differs from the study's ``data``."""


class AdapterCandidate(_CandidateBase):
    """An adapter made elsewhere, in peft's format."""

    kind: Literal["adapter"]
    path: File


class RagCandidate(_CandidateBase):
    """The base with passages of a corpus put before the question."""

    kind: Literal["rag"]
    corpus: str
    top_k: Annotated[int, Field(ge=1)] = 3


class ApiCandidate(_CandidateBase):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["api"]
    model: str
    base_url: str | None = None
    api_key_env: str | None = None


class ReplayCandidate(_CandidateBase):
    """Answers made elsewhere, read from a file."""

    kind: Literal["replay"]
    path: File


Candidate = Annotated[
    PromptCandidate | TrainCandidate | AdapterCandidate | RagCandidate | ApiCandidate | ReplayCandidate,
    Field(discriminator="kind"),
]


class TaskUse(Spec):
    """A task as a study uses it."""

    task: str
    limit: Annotated[int, Field(ge=1)] | None = None
    """Samples, at most."""

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``gsm8k`` stands for ``{task: gsm8k}``."""
        return {"task": data} if isinstance(data, str) else data


class JudgeModel(Spec):
    """Which model judges: a local one, or one behind a server."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    local: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> JudgeModel:
        if (self.model is None) == (self.local is None):
            raise ValueError("expected either 'model' (with 'base_url') or 'local'")
        return self


class JudgeUse(Spec):
    """A judge as a study uses it."""

    judge: str
    model: JudgeModel | None = None

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``helpfulness`` stands for ``{judge: helpfulness}``."""
        return {"judge": data} if isinstance(data, str) else data


class Study(Spec):
    """One YAML: base model, data, candidates, tasks, judges, gate."""

    study: Name
    model: str | None = None
    quantization: Quantization | QuantizationType = "nf4"
    dtype: Dtype = "auto"
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    ] = "auto"
    trust_remote_code: bool = False
    """Run Python that comes with the model. Never on unless written here."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 17
    data: DataSpec = Field(default_factory=DataSpec)
    candidates: list[Candidate] = Field(default_factory=list)
    control: str = "base"
    tasks: list[TaskUse] = Field(default_factory=list)
    judges: list[JudgeUse] = Field(default_factory=list)
    gate: File | None = None
    report: str = "default"
