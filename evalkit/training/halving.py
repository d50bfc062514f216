"""Successive halving: candidates are compared on the way, and the worse ones train no further.

Jamieson and Talwalkar 2016, arXiv:1502.07943. A search has rungs at equal shares of each candidate's own schedule;
what counts at a rung is the lowest loss on the validation rows so far. A task's test rows play no part in it. The last
rung is the end of the schedule, where nobody is dropped.

A low learning rate is behind a high one early, and often ahead of it at the end. So candidates of equal learning rate
form a band, and of each band the best one stays until the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict

__all__ = ["Decision", "Halving", "Standing", "least_steps", "places", "rung_step", "told", "where"]


class Standing(TypedDict):
    """How one candidate came out of one rung.

    Keys:
        rung: From 1.
        of: Rungs of the search, the end of the schedule included.
        step: Optimiser steps the candidate had done.
        steps: Of its whole schedule.
        loss: Its lowest validation loss so far, in nats per token; None where it could not go on.
        learning_rate: Its band.
        place: By loss, from 1; None where it could not go on.
        among: Candidates that came to this rung.
        goes_on: Whether it trains on.
        why: In words.
    """

    rung: int
    of: int
    step: int
    steps: int
    loss: float | None
    learning_rate: float
    place: int | None
    among: int
    goes_on: bool
    why: str


Decision: TypeAlias = dict[str, Standing]
"""Candidate → how it came out of a rung, for each that was left before it."""


def rung_step(rung: int, rungs: int, steps: int) -> int:
    """Optimiser steps after which a candidate has come to a rung.

    >>> [rung_step(rung, 3, 20) for rung in (1, 2, 3)]
    [7, 14, 20]
    """
    return math.ceil(rung * steps / rungs)


def least_steps(rungs: int, warmup: float) -> int:
    """Optimiser steps that a search needs: one a rung, and with warm-up one more, since its first is at rate 0.

    >>> least_steps(3, warmup=0.03), least_steps(3, warmup=0.0)
    (4, 3)
    """
    return rungs + (warmup > 0)


def places(candidates: int, bands: int, rungs: int, keep: float) -> tuple[int, ...]:
    """How many candidates go on after each rung, the end left out.

    >>> places(12, 2, 3, 0.5), places(4, 4, 2, 0.5)
    ((6, 3), (4,))
    """
    found: list[int] = []
    for _ in range(rungs - 1):
        left = found[-1] if found else candidates
        found.append(max(math.ceil(round(keep * left, 9)), min(bands, candidates)))
    return tuple(found)


def where(lost: Standing) -> str:
    """Say where a candidate was dropped."""
    return f"dropped at rung {lost['rung']} of {lost['of']}"


def told(lost: Standing) -> str:
    """Say in a sentence where and why a candidate was dropped."""
    loss = "" if lost["loss"] is None else f"validation loss {lost['loss']:.4f}, "
    return f"{where(lost)}, after step {lost['step']} of {lost['steps']}: {loss}{lost['why']}."


def _ignore(_: object) -> None:
    pass


@dataclass
class Halving:
    """One search, while its candidates train.

    What a search decides is a function of the losses that its candidates show, whoever comes first. A decision is
    recorded before anyone acts on it, and never made twice.

    Attributes:
        rates: Candidate → its learning rate, in the study's order, which decides between equal losses.
        rungs: At equal shares of each schedule; the last is its end.
        keep: Share that goes on after each rung, rounded up.
        decisions: One a rung, in order; those of an earlier, killed process first.
        record: Called with all decisions after each new one.
    """

    rates: Mapping[str, float]
    rungs: int
    keep: float
    decisions: list[Decision] = field(default_factory=list)
    record: Callable[[list[Decision]], None] = _ignore
    _looks: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    _ended: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    _out: set[str] = field(default_factory=set)

    def looks(self, step: int, steps: int) -> bool:
        """Whether a rung of a schedule of so many steps, decided or not, stands after this step."""
        return any(step == rung_step(rung, self.rungs, steps) for rung in range(1, self.rungs))

    def next_step(self, steps: int) -> int | None:
        """Where the next rung stands in a schedule of so many steps; None after the last decision."""
        rung = len(self.decisions) + 1
        return rung_step(rung, self.rungs, steps) if rung < self.rungs else None

    def only(self, names: Iterable[str]) -> None:
        """Wait for nobody but these; the others are not trained any more."""
        for name in self.rates.keys() - set(names):
            self.leave(name)

    def arrive(self, name: str, loss: float, step: int, steps: int, *, ended: bool = False) -> None:
        """A candidate shows its loss at the next rung and waits; the last one to come has it decided.

        Args:
            name: The candidate.
            loss: Its lowest validation loss so far.
            step: Optimiser steps it has done.
            steps: Of its whole schedule.
            ended: It trains no more; its loss stands for the rungs to come as well.
        """
        if ended:
            self._ended[name] = (loss, step, steps)
        if name in self._left():
            self._looks[name] = (loss, step, steps)
            self._settle()

    def leave(self, name: str) -> None:
        """A candidate cannot go on: it has lost at every rung to come."""
        if name not in self._out:
            self._out.add(name)
            self._settle()

    def standings(self, name: str) -> list[Standing]:
        """How a candidate came out of the rungs so far."""
        return [decision[name] for decision in self.decisions if name in decision]

    def lost(self, name: str) -> Standing | None:
        """Where a candidate was dropped; None while it is not."""
        return next((standing for standing in self.standings(name) if not standing["goes_on"]), None)

    def _left(self) -> list[str]:
        """Who came out of all rungs so far, in the study's order."""
        if not self.decisions:
            return list(self.rates)
        last = self.decisions[-1]
        return [name for name in self.rates if name in last and last[name]["goes_on"]]

    def _settle(self) -> None:
        """Decide the next rung if everybody has come to it."""
        left = self._left()
        here = [name for name in left if name in self._looks and name not in self._out]
        rung = len(self.decisions) + 1
        if rung >= self.rungs or not here or any(n not in self._looks and n not in self._out for n in left):
            return
        ranked = sorted(here, key=lambda name: self._looks[name][0])
        guarded = [name for i, name in enumerate(ranked) if self._is_first_of_band(name, ranked[:i])]
        bands = len(set(self.rates.values()))
        seats = places(len(self.rates), bands, self.rungs, self.keep)[rung - 1]
        chosen = [*guarded, *(name for name in ranked if name not in guarded)][: max(seats, len(guarded))]
        decided: Decision = {}
        for name in left:
            loss, step, steps = self._looks.get(name, (None, 0, 0)) if name in here else (None, 0, 0)
            decided[name] = {
                "rung": rung,
                "of": self.rungs,
                "step": step,
                "steps": steps,
                "loss": loss,
                "learning_rate": self.rates[name],
                "place": ranked.index(name) + 1 if name in here else None,
                "among": len(left),
                "goes_on": name in chosen,
                "why": _why(name, ranked, chosen, guarded, self.rates),
            }
        self.decisions.append(decided)
        self.record(self.decisions)
        self._looks = dict(self._ended)
        self._settle()

    def _is_first_of_band(self, name: str, better: list[str]) -> bool:
        return all(self.rates[other] != self.rates[name] for other in better)


def _why(
    name: str, ranked: list[str], chosen: list[str], guarded: list[str], rates: Mapping[str, float]
) -> str:
    if name not in ranked:
        return "it could not be trained on"
    place, seats = ranked.index(name) + 1, len(chosen)
    if name in chosen:
        return f"among the best {seats}" if place <= seats else f"the best of learning rate {rates[name]:g}"
    if place > seats:
        return f"place {place} of {len(ranked)}, and {seats} go on"
    return (
        f"place {place} of {len(ranked)}, and of the {seats} that go on "
        f"one must be of each learning rate ({', '.join(f'{rates[other]:g}' for other in guarded)})"
    )
