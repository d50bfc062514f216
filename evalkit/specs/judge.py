"""The judge: an LLM rater with a rubric."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import Name, Spec

__all__ = ["Check", "Criterion", "JudgeSpec", "Scale"]


class Scale(Spec):
    """The whole numbers a pointwise judge may give."""

    low: int = 1
    high: int = 5

    @model_validator(mode="after")
    def _rises(self) -> Scale:
        if self.low >= self.high:
            raise ValueError(f"expected 'low' below 'high', got {self.low} and {self.high}")
        return self


class Criterion(Spec):
    """One side of an answer that a pointwise judge rates on its own."""

    criterion: Name
    ask: str = ""
    """What it means, in a sentence for the judge."""
    rubric: dict[str, str] = Field(default_factory=dict)
    """Score → what earns it, in place of the judge's."""

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """``tone`` stands for ``{criterion: tone}``."""
        return {"criterion": data} if isinstance(data, str) else data


class Check(Spec):
    """One question with a yes or no for an answer; yes speaks for the answer under test."""

    question: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0)] = 1.0

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """A text stands for ``{question: TEXT}``."""
        return {"question": data} if isinstance(data, str) else data


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
    criteria: list[Criterion] = Field(default_factory=list)
    """Criteria that are each judged on their own: results are ``judge:NAME.criterion``, and their mean."""
    questions: list[Check] = Field(default_factory=list)
    """Questions with a yes or no for an answer, for ``checklist``."""
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
        if self.criteria and self.kind != "pointwise":
            raise ValueError("expected 'criteria' for kind pointwise only")
        steps = {str(score) for score in range(self.scale.low, self.scale.high + 1)}
        rubrics = [self.rubric, *(criterion.rubric for criterion in self.criteria)]
        strangers = [score for rubric in rubrics for score in rubric if score not in steps]
        if strangers:
            steps_said = f"{self.scale.low} to {self.scale.high}"
            raise ValueError(f"rubric: expected scores from {steps_said}, got {', '.join(strangers)}")
        return self
