"""The gate: rules over a run, each of which passes, fails or is inconclusive."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.specs.model import Name, Spec

__all__ = ["GatePolicy", "GateRule"]


class GateRule(Spec):
    """One rule: a bound on a value, or on the paired difference to a reference."""

    task: str
    metric: str
    candidate: str | None = None
    """Who is held to it; null: the policy's ``candidate``."""
    at_least: float | None = None
    """Passes if the value's interval lies above, fails if below; in the metric's unit."""
    at_most: float | None = None
    no_worse_than: str | None = None
    """A candidate's name, or ``baseline`` with ``--baseline RUN``."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse still counts as no worse; in the metric's unit, with ``no_worse_than`` only."""
    better_than: str | None = None
    """A candidate's name, or ``baseline``."""
    by: Annotated[float, Field(ge=0)] = 0.0
    """How much better it has to be; in the metric's unit, with ``better_than`` only."""

    @property
    def kind(self) -> Literal["at_least", "at_most", "no_worse_than", "better_than"]:
        """Which of the four rules it is."""
        if self.at_least is not None:
            return "at_least"
        if self.at_most is not None:
            return "at_most"
        return "no_worse_than" if self.no_worse_than is not None else "better_than"

    @model_validator(mode="after")
    def _one_rule(self) -> GateRule:
        kinds = ("at_least", "at_most", "no_worse_than", "better_than")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            came = " and ".join(given) or "none"
            raise ValueError(f"expected one of {', '.join(kinds)}, got {came}; write one rule for each")
        for key, needs in (("margin", "no_worse_than"), ("by", "better_than")):
            if key in self.model_fields_set and given != [needs]:
                raise ValueError(f"{key!r} goes with {needs!r} only, got {given[0]!r}")
        return self


class GatePolicy(Spec):
    """A policy: the whole passes if all rules pass."""

    gate: Name
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of the two-sided intervals."""
    candidate: str | None = None
    """Who is held to the rules; null: every train and adapter candidate, never the control."""
    rules: Annotated[list[GateRule], Field(min_length=1)]
    inconclusive: Literal["exit3", "fail", "pass"] = "exit3"
    """What an inconclusive whole becomes: exit code 3, or a fail or pass."""
