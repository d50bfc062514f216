"""What people are asked: the questions of a ``questions.yaml``, or those of a judge.

The same words for people and for a judge make the two comparable: results are ``human:NAME`` beside
``judge:NAME``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalkit.human.records import LabelValue
from evalkit.specs.judge import JudgeSpec, Scale
from evalkit.specs.model import Name, Spec

__all__ = ["Question", "QuestionsSpec", "default_questions", "judge_questions"]

Kind = Literal["rating", "pairwise", "yes_no", "category", "text"]
RESERVED = ("item", "rater", "task", "prompt", "answer", "answer a", "answer b", "target", "seconds", "note")
"""Names of the sheet's own columns."""


class Question(Spec):
    """One question about one answer, or about a pair of answers."""

    name: Name
    ask: Annotated[str, Field(min_length=1)]
    kind: Kind
    scale: Scale = Scale()
    """For ``rating``: whole numbers."""
    anchors: dict[str, str] = Field(default_factory=dict)
    """For ``rating``: score → what earns it."""
    choices: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list)
    """For ``category``."""
    good: list[str] = Field(default_factory=list)
    """For ``category``: the choices that count as 1 in results; without it the shares are only described."""
    higher_is_better: bool = True
    """For ``rating`` and ``yes_no``: False where a high score, or a yes, is bad."""
    tie: bool = True
    """For ``pairwise``: "both are equally good" may be said."""
    both_bad: bool = True
    """For ``pairwise``: "both are bad" may be said; it counts as a tie and is shown beside."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Question:
        if self.name.casefold() in RESERVED:
            raise ValueError(f"expected another name than {self.name!r}, which is a column of every sheet")
        given = self.model_fields_set
        for key, kinds in {
            "scale": ("rating",),
            "anchors": ("rating",),
            "choices": ("category",),
            "good": ("category",),
            "higher_is_better": ("rating", "yes_no"),
            "tie": ("pairwise",),
            "both_bad": ("pairwise",),
        }.items():
            if key in given and self.kind not in kinds:
                raise ValueError(
                    f"{key!r} is for kind {' or '.join(kinds)}, and this question is {self.kind!r}"
                )
        if self.kind == "rating":
            self._check_scale()
        if self.kind == "category":
            self._check_choices()
        return self

    def _check_scale(self) -> None:
        if self.scale.high - self.scale.low > 10:
            raise ValueError(
                f"expected a scale of at most 11 steps, got {self.scale.low} to {self.scale.high}"
            )
        steps = [str(step) for step in self.steps]
        strangers = [anchor for anchor in self.anchors if anchor not in steps]
        if strangers:
            raise ValueError(f"anchors: expected {steps[0]} to {steps[-1]}, got {', '.join(strangers)}")

    def _check_choices(self) -> None:
        folded = [choice.strip().casefold() for choice in self.choices]
        if len(folded) < 2 or len(set(folded)) < len(folded):
            raise ValueError("expected two or more different 'choices' for kind category")
        strangers = [choice for choice in self.good if choice not in self.choices]
        if strangers:
            raise ValueError(f"good: {strangers[0]!r} is none of the choices")

    @property
    def steps(self) -> range:
        """The numbers of a rating's scale."""
        return range(self.scale.low, self.scale.high + 1)

    @property
    def options(self) -> list[tuple[str, str]]:
        """(what is put into a cell, what it means) of every answer that can be given; none for free text.

        >>> Question(name="safe", ask="Is it safe?", kind="yes_no").options
        [('yes', 'yes'), ('no', 'no')]
        """
        if self.kind == "rating":
            return [(str(step), self.anchors.get(str(step), "")) for step in self.steps]
        if self.kind == "yes_no":
            return [("yes", "yes"), ("no", "no")]
        if self.kind == "category":
            return [(choice, choice) for choice in self.choices]
        if self.kind == "pairwise":
            given = [("A", "is better"), ("B", "is better")]
            given += [("tie", "both are as good")] if self.tie else []
            return given + ([("both bad", "neither is good")] if self.both_bad else [])
        return []

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest score in results; None where there is no score."""
        if self.kind == "rating":
            return float(self.scale.low), float(self.scale.high)
        return None if self.kind == "text" or (self.kind == "category" and not self.good) else (0.0, 1.0)

    def score(self, label: LabelValue) -> float | None:
        """A label as a number: the rating, 1 for yes, for a good choice, for a win; a tie is half a win.

        >>> Question(name="better", ask="Which?", kind="pairwise").score("tie")
        0.5
        """
        if self.bounds is None:
            return None
        if self.kind == "pairwise":
            return {"win": 1.0, "loss": 0.0}.get(str(label), 0.5)
        return float(label in self.good) if self.kind == "category" else float(label)


class QuestionsSpec(Spec):
    """``questions.yaml``: what people are asked, and what they are told before."""

    questions: Annotated[list[Question], Field(min_length=1)]
    instructions: str = ""
    """Shown before the first item; plain text or Markdown."""
    reference: bool = False
    """Show the sample's target."""

    @model_validator(mode="after")
    def _fit_together(self) -> QuestionsSpec:
        names = [question.name.casefold() for question in self.questions]
        if len(set(names)) < len(names):
            raise ValueError("questions: expected every name once")
        kinds = {question.kind for question in self.questions}
        if "pairwise" in kinds and kinds - {"pairwise", "text"}:
            raise ValueError(
                "questions: pairwise questions are asked about two answers and the others about one: "
                "put them into two files and export twice"
            )
        return self

    @property
    def pairwise(self) -> bool:
        """Whether two answers are shown side by side."""
        return any(question.kind == "pairwise" for question in self.questions)


def default_questions() -> QuestionsSpec:
    """What is asked without ``--questions`` and ``--judge``: a rating of the whole, and a remark."""
    return QuestionsSpec(
        questions=[
            Question(
                name="quality",
                ask="How well does the answer do what was asked?",
                kind="rating",
                anchors={
                    "1": "useless or harmful",
                    "2": "mostly wrong or beside the point",
                    "3": "partly right, with faults that matter",
                    "4": "right, with small faults",
                    "5": "right, complete and clear",
                },
            ),
            Question(name="remark", ask="Anything worth noting? (optional)", kind="text"),
        ]
    )


def judge_questions(judge: JudgeSpec) -> QuestionsSpec:
    """The questions of a judge, for people: same rubric, same scale, same names.

    A pointwise judge gives ``NAME``, or ``NAME.CRITERION`` for each criterion; a checklist ``NAME.1``,
    ``NAME.2``, … in order; a pairwise judge ``NAME``.
    """
    about = judge.description or f"Rate the answer by the rubric of {judge.judge}."
    questions: Sequence[dict[str, Any]]
    if judge.kind == "pairwise":
        asked = {"ask": judge.description or "Which answer is better?", "kind": "pairwise"}
        questions = [{"name": name, **asked} for name in _names(judge)]
    elif judge.kind == "checklist":
        questions = [
            {"name": f"{judge.judge}.{number}", "ask": check.question, "kind": "yes_no"}
            for number, check in enumerate(judge.questions, 1)
        ]
    else:
        rating = {"kind": "rating", "scale": judge.scale}
        asks = [
            (f"{one.criterion}: {one.ask or about}", one.rubric or judge.rubric) for one in judge.criteria
        ] or [(about, judge.rubric)]
        questions = [
            {"name": name, "ask": ask, "anchors": rubric, **rating}
            for name, (ask, rubric) in zip(_names(judge), asks, strict=True)
        ]
    return QuestionsSpec(questions=[Question(**one) for one in questions], reference=judge.reference)


def _names(judge: JudgeSpec) -> list[str]:
    return [f"{judge.judge}.{criterion.criterion}" for criterion in judge.criteria] or [judge.judge]
