"""What has become of a candidate of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evalkit.errors import CandidateError
from evalkit.models.prices import SPENT
from evalkit.records import Output, TrainingSummary
from evalkit.running.noise import Noise
from evalkit.running.plan import Planned
from evalkit.running.progress import Progress
from evalkit.running.score import Scored

__all__ = ["Done", "dropped_at"]


@dataclass(slots=True)
class Done:
    """What is known of a candidate so far.

    Attributes:
        planned: The candidate.
        adapter_sha256: Of its adapter; None without one.
        training: What its training took; None where none was done here.
        error: Why it could not be done.
        dropped: Whether its search dropped it: it was trained in part and is not scored, as was asked.
        notes: What the reader must know.
        scored: Task → its scores.
        noise: Task → what answering a slice of it again changed.
        seconds: Stage → time it took.
        money: What servers were paid; None where nobody was.
    """

    planned: Planned
    adapter_sha256: str | None = None
    training: TrainingSummary | None = None
    error: str | None = None
    dropped: bool = False
    notes: list[str] = field(default_factory=list)
    scored: dict[str, Scored] = field(default_factory=dict)
    noise: dict[str, Noise] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    money: float | None = None

    def fail(self, error: CandidateError, progress: Progress) -> None:
        """Note why the candidate could not be done; the others go on."""
        self.error = str(error)
        progress.say(f"{self.planned.name} could not be done: {error}")

    def took(self, stage: str, seconds: float) -> None:
        """Count time that a stage took."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def missed(self, outputs: Sequence[Output]) -> None:
        """Note what a spent budget left unanswered, and what the answers cost."""
        left = [output.error for output in outputs if output.error and output.error.startswith(SPENT)]
        if left:
            self.error = f"{left[0]}: {len(left)} of {len(outputs)} answers are missing; the others are kept"
        costs = [output.cost for output in outputs if output.cost is not None]
        if costs:
            self.money = (self.money or 0.0) + sum(costs)

    def to_json(self) -> dict[str, Any]:
        """The candidate's object in ``results.json``."""
        base = self.planned.base
        settings = self.planned.settings
        training = None if self.training is None else asdict(self.training)
        if self.planned.kind == "train" and training is None and self.error is not None:
            training = {"stopped": self.error}
        return {
            "name": self.planned.name,
            "kind": self.planned.kind,
            "model": getattr(self.planned.spec, "model", None) if base is None else base.model,
            "quantization": None if base is None else base.quantization.type,
            "dtype": None if base is None else base.dtype,
            "adapter_sha256": self.adapter_sha256,
            "settings": None if settings is None else settings.model_dump(mode="json"),
            "origins": self.planned.origins,
            **(
                {"search": self.planned.entry}
                if getattr(self.planned.spec, "search", None) is not None
                else {}
            ),
            **({"form": self.planned.form, "of": self.planned.of} if self.planned.form is not None else {}),
            "training": training,
            "error": self.error,
            "notes": self.notes,
        }


def dropped_at(entry: Mapping[str, Any]) -> str | None:
    """Where its search dropped a candidate of ``results.json``: ``dropped at rung 1 of 3``; None for any other."""
    stopped = str((entry.get("training") or {}).get("stopped") or "")
    return stopped if stopped.startswith("dropped at rung") else None
