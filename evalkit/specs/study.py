"""The study: one YAML that says what is compared with what, on which samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import File, Name, Spec

__all__ = [
    "AdapterCandidate",
    "ApiCandidate",
    "Candidate",
    "Correction",
    "DataSpec",
    "Form",
    "JudgeModel",
    "JudgeUse",
    "JudgeWhen",
    "PriceSpec",
    "PromptCandidate",
    "Quantization",
    "RagCandidate",
    "ReplayCandidate",
    "Search",
    "StatisticsSpec",
    "Study",
    "TaskRows",
    "TaskUse",
    "TrainCandidate",
]

QuantizationType = Literal["nf4", "fp4", "int8", "none"]
Dtype = Literal["auto", "bf16", "fp32"]
Form = Literal["merged", "requantized"]
Forms = Annotated[list[Form], Field(min_length=1)]


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
    forms: Forms | None = None
    """Score it as it will be shipped too: ``merged`` into its base's weights, ``requantized`` after that."""


class AdapterCandidate(_CandidateBase):
    """An adapter made elsewhere, in peft's format."""

    kind: Literal["adapter"]
    path: File
    forms: Forms | None = None
    """Score it as it will be shipped too: ``merged`` into its base's weights, ``requantized`` after that."""


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
    """Such as ``http://localhost:8000/v1``; without one, OpenAI."""
    api_key_env: str | None = None
    """Environment variable with the key."""
    api: Literal["chat", "completions"] = "chat"
    concurrency: Annotated[int, Field(ge=1)] = 64
    """Calls open at once, at most; fewer while the server is busy."""
    deadline: Annotated[float, Field(gt=0)] = 120.0
    """Seconds one try of a call may take."""


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
    chat: bool | None = None
    """Ask as chats, or not, in place of what the task's card says."""

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``gsm8k`` stands for ``{task: gsm8k}``."""
        return {"task": data} if isinstance(data, str) else data


class JudgeModel(Spec):
    """Which model judges: one behind a server, a local one, or recorded replies."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    api: Literal["chat", "completions"] = "chat"
    concurrency: Annotated[int, Field(ge=1)] = 64
    deadline: Annotated[float, Field(gt=0)] = 120.0
    local: str | None = None
    """A registry name, Hub id or folder: its log-probabilities of the verdicts are read, nothing is generated."""
    quantization: QuantizationType = "none"
    """Of a local one."""
    replay: File | None = None
    """A file of judgements from an earlier run: ``judgements/JUDGE.jsonl``."""
    echo: str | None = None
    """Always this reply; for tests."""
    under_test: bool = False
    """Allow a model that is itself a candidate's: a judge favours its own words."""
    family: str | None = None
    """Such as ``llama``: a judge favours answers of its own family, and the report says where they meet."""

    @model_validator(mode="after")
    def _one_of_all(self) -> JudgeModel:
        given = [getattr(self, name) is not None for name in ("model", "local", "replay", "echo")]
        if sum(given) != 1:
            raise ValueError("expected one of 'model' (with 'base_url'), 'local', 'replay' and 'echo'")
        return self


class JudgeWhen(Spec):
    """Which samples a judge is asked about: those that a metric leaves open, and a share of the others.

    A sample is open when it is open for any candidate, so that all are judged on the same samples.
    """

    metric: str | None = None
    """A metric of the task; default: its primary one."""
    unscored: bool = True
    """Samples that the metric could not score are open."""
    above: float | None = None
    """Scores above this are open; with ``below``: those between the two."""
    below: float | None = None
    """Scores below this are open."""
    near: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """``[threshold, distance]``: scores at most so far from the threshold are open."""
    disagree: str | None = None
    """Name of a jury before it: samples its members disagree on are open."""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the other samples that is judged all the same, drawn at random; they count for the rest."""


class JudgeUse(Spec):
    """A judge as a study uses it."""

    judge: str
    name: Name | None = None
    """As in results, where it is not the judge's own: two uses of a judge need two names."""
    model: JudgeModel | None = None
    models: Annotated[list[JudgeModel], Field(min_length=2)] | None = None
    """A jury: each is asked, ``aggregate`` makes one verdict of theirs."""
    aggregate: Literal["majority", "mean", "quorum", "weighted"] = "mean"
    quorum: Annotated[int, Field(ge=1)] | None = None
    """For ``quorum``: verdicts that have to agree; fewer leave the sample unscored."""
    weights: list[Annotated[float, Field(gt=0)]] | Literal["calibration"] | None = None
    """For ``weighted``: one a model; ``calibration``: each member's agreement with people (``evalkit calibrate``)."""
    tasks: list[str] | None = None
    """Judge these tasks alone; default: all."""
    when: JudgeWhen | None = None
    repeat: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the answers that is judged a second time, ten at least, to see how often the judge repeats itself."""

    @model_validator(mode="after")
    def _fits(self) -> JudgeUse:
        if self.model is not None and self.models is not None:
            raise ValueError("expected either 'model' or 'models', got both")
        count = len(self.models or [])
        if (self.aggregate == "quorum") != (self.quorum is not None):
            raise ValueError("'quorum' and 'aggregate: quorum' belong together")
        if (self.aggregate == "weighted") != (self.weights is not None):
            raise ValueError("'weights' and 'aggregate: weighted' belong together")
        if isinstance(self.weights, list) and len(self.weights) != count:
            raise ValueError(f"expected one weight a model ({count}), got {len(self.weights)}")
        return self

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``helpfulness`` stands for ``{judge: helpfulness}``."""
        return {"judge": data} if isinstance(data, str) else data


class PriceSpec(Spec):
    """Money for a million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


Correction = Literal["holm", "bh"]
"""``holm``: no false finding at all, at the level; ``bh``: at most that share of the findings, on average."""


class StatisticsSpec(Spec):
    """How numbers get their intervals and are compared."""

    correction: Correction = "holm"
    """For the number of comparisons: Holm's or Benjamini and Hochberg's."""
    exact: bool = False
    """Clopper–Pearson intervals and McNemar's exact test for right/wrong scores, in place of Wilson's and mid-p."""
    noise: Annotated[int, Field(ge=0)] | None = None
    """Samples of each task that every local candidate answers again in other batches; 0: none."""


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
    prices: dict[str, PriceSpec] = Field(default_factory=dict)
    """Model behind a server → its prices; they win over the built-in list."""
    budget: Annotated[float, Field(gt=0)] | None = None
    """Money that one command may spend on calls to servers; it stops before it would spend more."""
    statistics: StatisticsSpec = Field(default_factory=StatisticsSpec)
    gate: File | None = None
    report: str = "default"
