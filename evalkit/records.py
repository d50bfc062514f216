"""What flows through a study, before any logic.

    Sample ──candidate──► Output ──metric──► Score per sample ──► Result ──► Comparison

A sample is one row of a task. A candidate answers it with an output. A metric turns both into a score, or
says why it could not: ``Unscored`` is a value of its own, counted and shown, never 0 and never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

__all__ = [
    "Choice",
    "Comparison",
    "Generation",
    "Message",
    "Output",
    "Prompt",
    "Request",
    "Result",
    "Sample",
    "Score",
    "TrainingSummary",
    "Unscored",
]


class Message(TypedDict):
    """One turn of a chat: ``{"role": "user", "content": "Hello"}``."""

    role: str
    content: str


Prompt: TypeAlias = str | list[Message]
"""Plain text for a base model, or chat messages that end before the answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a task: what is asked and what is accepted.

    Attributes:
        id: Unique within its task.
        input: The prompt of the task, before a candidate adds its system prompt or examples.
        target: What is accepted: a text, several texts, or an object the metric understands; None if absent.
        row: The raw row, for metrics and templates that read other fields.
        choices: The options of a multiple-choice sample, else None.
        cluster: Samples with the same value share a source and are resampled together; None: on its own.

    A metric may read a field either way: ``sample.target`` or ``sample["target"]``; names that are no
    attribute are looked up in ``row``.

    >>> Sample("1", "2+2?", "4", {"level": "easy"})["level"]
    'easy'
    """

    id: str
    input: Prompt
    target: Any = None
    row: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] | None = None
    cluster: str | None = None

    def __getitem__(self, name: str) -> Any:
        if name in self.__slots__:
            return getattr(self, name)
        return self.row[name]


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a multiple-choice sample as a model rates it.

    Attributes:
        text: The option.
        logprob: Sum of the natural log-probabilities of its tokens after the prompt; ≤ 0.
        tokens: Number of tokens the sum runs over.
        greedy: Whether each of its tokens is the most likely one at its place; None where that is not known.
    """

    text: str
    logprob: float
    tokens: int
    greedy: bool | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """How an answer is generated. Greedy unless ``temperature`` is above 0.

    Attributes:
        max_new_tokens: Upper limit of answer tokens, ≥ 1.
        stop: The answer ends before the first of these strings.
        temperature: 0 for greedy, else the softmax temperature.
        top_p: Nucleus mass in (0, 1]; only read when sampling, as are ``top_k`` and ``min_p``.
        samples: Answers per prompt, ≥ 1.
        seed: Seed of the samples' random streams.
        top_k: Only the so many most likely tokens; 0: all.
        min_p: Only tokens at least this share as likely as the most likely one, in [0, 1].
        repetition_penalty: Divides the positive and multiplies the negative logits of tokens that occurred, in the
            prompt or the answer; 1: none. Greedy answers obey it too.
        logprobs: Whether the log-probability of every answer token is recorded.
    """

    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a candidate is asked for one sample.

    Attributes:
        id: The sample's id.
        kind: ``generate`` an answer, rate each ``choice``, measure the ``perplexity`` of the text, or hold a
            ``conversation``, whose prompt is its script; models are asked for its turns one by one, as ``generate``.
        prompt: Messages (rendered with the model's chat template) or plain text.
        generation: Settings for ``generate``.
        choices: The continuations to rate, for ``choice``; each exactly as appended to the prompt.
    """

    id: str
    kind: Literal["generate", "choice", "perplexity", "conversation"]
    prompt: Prompt
    generation: Generation = Generation()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What a candidate answered to one sample.

    Attributes:
        id: The sample's id.
        text: The answer; a list where several samples per prompt were asked for, and of a conversation's turns.
        finish: ``stop`` (end token or stop string), ``length`` (cut at the limit), ``error``.
        prompt_tokens: Tokens of the prompt (0 where unknown).
        output_tokens: Tokens of the answer, the end token included; all samples together.
        seconds: Time this sample took: its share of its batch.
        prompt_ids_sha256: Hash of the prompt's token ids; empty where there are none.
        choices: The rated options of a multiple-choice sample.
        error: Why there is no answer, where ``finish`` is ``error``.
        cost: Money it took; None where no price is known.
        logprobs: For each answer the natural log-probability of each of its tokens, the end token included, under the
            model's own distribution (before temperature and cuts); only where they were asked for.
    """

    id: str
    text: str | list[str]
    finish: Literal["stop", "length", "error"] = "stop"
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    prompt_ids_sha256: str = ""
    choices: tuple[Choice, ...] | None = None
    error: str | None = None
    cost: float | None = None
    logprobs: tuple[tuple[float, ...], ...] | None = None

    @property
    def first(self) -> str:
        """The answer, or the first of several."""
        return self.text if isinstance(self.text, str) else (self.text[0] if self.text else "")


@dataclass(frozen=True, slots=True)
class Unscored:
    """A sample that could not be scored, and why.

    >>> Unscored("no target").to_json()
    {'unscored': 'no target'}
    """

    reason: str

    def to_json(self) -> dict[str, str]:
        """The form it has in files: ``{"unscored": reason}``."""
        return {"unscored": self.reason}


Score: TypeAlias = float | Unscored
"""A metric's value for one sample, or why there is none."""


@dataclass(frozen=True, slots=True)
class Result:
    """A metric's value over the samples of a task.

    Attributes:
        metric: Its name, with the model it depends on: ``bertscore[minilm]``.
        value: On the scale of the outside implementation; None where nothing could be scored.
        low: Lower end of the interval; None where there is none.
        high: Upper end of the interval.
        confidence: Two-sided level of the interval, such as 0.95.
        n: Samples that were scored.
        unscored: Samples that could not be.
        higher_is_better: Direction.
        signature: One line that says what made the number.
        task: The task, or None outside a study.
        candidate: The candidate, or None outside a study.
        noise_sd: Standard deviation of the shift between numerical realisations that the interval holds
            (``stats.noise``); None where it was not measured.
        classes: Samples in each class, for a metric that sorts answers first (full, partial and no refusal).
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    unscored: int
    higher_is_better: bool
    signature: str
    task: str | None = None
    candidate: str | None = None
    noise_sd: float | None = None
    classes: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of docs/reference §4 and §5; task, candidate, noise and classes only where they are set."""
        row = asdict(self)
        if self.classes is None:
            del row["classes"]
        names = {"candidate": row.pop("candidate"), "task": row.pop("task")}
        if row["noise_sd"] is None:
            del row["noise_sd"]
        return {**{key: value for key, value in names.items() if value is not None}, **row}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a control on the same samples.

    Attributes:
        candidate: The candidate.
        control: What it is compared with.
        task: The task.
        metric: The metric.
        difference: Candidate minus control, in the metric's unit (not re-oriented).
        low: Lower end of the paired interval of the difference.
        high: Upper end.
        low_adjusted: Lower end, corrected for the number of comparisons; None where not computed.
        high_adjusted: Upper end, corrected.
        p_value: Two-sided, of no difference; None where not computed.
        p_adjusted: Corrected over all comparisons of the run.
        test: Name of the test and of the interval.
        n: Pairs that both sides have a score for.
        gained: Ids of samples the candidate does better.
        lost: Ids of samples the candidate does worse.
        low_max_t: Lower end of an interval that holds together with those of all candidates with this control on this
            task's primary metric (max-t); None where only one is compared.
        high_max_t: Upper end.
        noise_sd: Standard deviation of the shift between numerical realisations that all of this holds, of both
            sides together (``stats.noise``); None where neither side's was measured.
    """

    candidate: str
    control: str
    task: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    low_adjusted: float | None
    high_adjusted: float | None
    p_value: float | None
    p_adjusted: float | None
    test: str
    n: int
    gained: Sequence[str]
    lost: Sequence[str]
    low_max_t: float | None = None
    high_max_t: float | None = None
    noise_sd: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of docs/reference §5."""
        row = asdict(self)
        return {**row, "gained": list(self.gained), "lost": list(self.lost)}


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What training one candidate took and where it ended.

    Attributes:
        tokens: Logical tokens: what the rows hold, over all steps.
        computed_tokens: Tokens that were run, padding included and shared prefixes once.
        supervised_tokens: Tokens with a loss.
        steps: Optimiser steps.
        seconds: Wall time of the loop, validation included.
        tokens_per_second: ``tokens / seconds``.
        peak_memory_bytes: Most memory the process (CPU) or the device (CUDA) held.
        train_loss: Mean loss per supervised token over the last epoch, in nats.
        validation_loss: Of the kept checkpoint, in nats per supervised token; None without validation rows.
        stopped: ``finished``, ``early`` (validation stopped improving), ``dropped at rung 1 of 3`` (by its search:
            there is no adapter) or the reason it could not go on.
        seconds_by_phase: ``data`` (rows into tensors), ``forward``, ``backward``, ``optimizer`` and ``validation``
            → seconds; on CUDA what each waited for, see ``training/phases.py``.
        rungs: How it came out of each rung of its search (``training/halving.py``); empty without one.
    """

    tokens: int
    computed_tokens: int
    supervised_tokens: int
    steps: int
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int
    train_loss: float | None
    validation_loss: float | None
    stopped: str
    seconds_by_phase: dict[str, float] = field(default_factory=dict)
    rungs: list[Any] = field(default_factory=list)
