"""The judge: an LLM rater with a rubric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import Name, Spec

__all__ = ["JudgeSpec", "Scale"]


class Scale(Spec):
    """The whole numbers a pointwise judge may give."""

    low: int = 1
    high: int = 5

    @model_validator(mode="after")
    def _rises(self) -> Scale:
        if self.low >= self.high:
            raise ValueError(f"expected 'low' below 'high', got {self.low} and {self.high}")
        return self


class JudgeSpec(Spec):
    """The card of a judge.

    What it is asked for is JSON: pointwise ``{"reason", "score"}``, pairwise ``{"reason", "winner":
    "A"|"B"|"tie"}``, checklist ``{"reason", "answers": [true, false, …]}``.
    """

    judge: Name
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    kind: Literal["pointwise", "pairwise", "checklist"]
    prompt: str = "prompt.j2"
    """Template beside the card; it reads the sample, the output(s) and the card."""
    scale: Scale = Scale()
    """For ``pointwise``."""
    rubric: dict[str, str] = Field(default_factory=dict)
    """Score → what earns it, for ``pointwise``."""
    criteria: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Names of criteria that are each judged on their own: results are ``judge:NAME.criterion``."""
    questions: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Questions with a yes or no for an answer, for ``checklist``."""
    both_orders: bool = True
    """Ask ``pairwise`` twice with the sides exchanged; an answer that flips counts as a tie and is shown."""
    reference: bool = False
    """Show the judge the sample's target."""
    votes: Annotated[int, Field(ge=1)] = 1
    """Replies per question; the median score or the majority counts."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_new_tokens: Annotated[int, Field(ge=1)] = 512

    @model_validator(mode="after")
    def _fits_its_kind(self) -> JudgeSpec:
        if (self.kind == "checklist") != bool(self.questions):
            raise ValueError("expected 'questions' for kind checklist, and for no other kind")
        steps = {str(score) for score in range(self.scale.low, self.scale.high + 1)}
        strangers = [score for score in self.rubric if score not in steps]
        if strangers:
            steps_said = f"{self.scale.low} to {self.scale.high}"
            raise ValueError(f"rubric: expected scores from {steps_said}, got {', '.join(strangers)}")
        return self
