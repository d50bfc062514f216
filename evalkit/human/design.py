"""Who is shown what, beside what and in which order: blind, balanced, and random by a seed.

- A rater sees all that is shown of a sample, so that a strict rater is strict with every candidate of it.
- Every rater gets an equal share; a part of the samples goes to all raters, for their agreement.
- Of many candidates each sample shows a block, chosen so that every candidate, and every pair of candidates,
  comes equally often (a partially balanced incomplete block design, built greedily).
- Candidates with the same answer to a sample are shown as one.
- Of a pair, each candidate stands on the left as often as on the right, for every rater.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

__all__ = ["Design", "Slot", "Unit", "balanced_blocks", "design"]

Group = tuple[str, ...]
"""Candidates that gave the same answer."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One sample with the answers that may be shown.

    Attributes:
        task: Its task.
        id: Its id.
        weight: How many samples it stands for.
        answers: Candidate → text.
    """

    task: str
    id: str
    weight: float
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Slot:
    """One line of one rater's sheet.

    Attributes:
        rater: From 0.
        unit: Index of the sample.
        sides: Whose answer stands there: one group, or the left and the right one.
        repeat: The rater sees it a second time.
        check: An attention check: the answer says what to choose.
    """

    rater: int
    unit: int
    sides: tuple[Group, ...]
    repeat: bool = False
    check: bool = False


@dataclass(frozen=True, slots=True)
class Design:
    """How people are asked.

    Attributes:
        raters: How many; ≥ 1.
        overlap: Share of the samples that every rater sees, 0–1.
        block: Most candidates that one sample shows; None for all.
        pairwise: Two answers side by side.
        repeats: Share of a rater's lines that come a second time, 0–1.
        checks: Attention checks for each rater.
        seed: Of every random choice.
    """

    raters: int = 1
    overlap: float = 0.2
    block: int | None = None
    pairwise: bool = False
    repeats: float = 0.0
    checks: int = 0
    seed: int = 0


def design(units: Sequence[Unit], how: Design) -> tuple[list[list[Slot]], list[list[str]]]:
    """Return each rater's lines in the order they are shown, and the candidates of each sample's block.

    Args:
        units: The samples.
        how: The design.

    >>> units = [Unit("t", str(i), 1.0, {"base": "a", "r16": "b"}) for i in range(4)]
    >>> [len(lines) for lines in design(units, Design(raters=2, overlap=0.5))[0]]
    [6, 6]
    """
    rng = np.random.default_rng(how.seed)
    blocks = balanced_blocks([list(unit.answers) for unit in units], how.block, rng)
    shown = [_shown(unit, block, how.pairwise) for unit, block in zip(units, blocks, strict=True)]
    raters = _shares([len(slots) for slots in shown], how, rng)
    sheets: list[list[Slot]] = []
    for rater, mine in enumerate(raters):
        lines = [
            Slot(rater, int(unit), shown[unit][place])
            for unit in rng.permutation(np.array(mine, dtype=np.int64))
            for place in rng.permutation(len(shown[unit]))
        ]
        lines = _turned(lines, rng)
        sheets.append(_with_checks(_with_repeats(lines, how.repeats, rng), how.checks, rng))
    return sheets, blocks


def balanced_blocks(
    available: Sequence[Sequence[str]], size: int | None, rng: np.random.Generator
) -> list[list[str]]:
    """For each sample at most ``size`` of its candidates: each, and each pair, as equally often as can be."""
    blocks: list[list[str]] = [list(names) for names in available]
    if size is None:
        return blocks
    used: Counter[str] = Counter()
    together: Counter[frozenset[str]] = Counter()
    for index in rng.permutation(len(blocks)):
        names, block = list(blocks[index]), list[str]()
        while names and len(block) < size:
            luck = rng.random(len(names))
            cost = [
                (sum(together[frozenset((name, other))] for other in block), used[name], luck[place])
                if block
                else (used[name], 0, luck[place])
                for place, name in enumerate(names)
            ]
            block.append(names.pop(min(range(len(names)), key=cost.__getitem__)))
        used.update(block)
        together.update(frozenset(pair) for pair in combinations(block, 2))
        blocks[index] = block
    return blocks


def _shown(unit: Unit, block: Sequence[str], pairwise: bool) -> list[tuple[Group, ...]]:
    """The lines of a sample: its different answers, or all pairs of them."""
    alike: dict[str, list[str]] = {}
    for name in block:
        alike.setdefault(unit.answers[name], []).append(name)
    groups = [tuple(sorted(names)) for names in alike.values()]
    return list(combinations(sorted(groups), 2)) if pairwise else [(group,) for group in groups]


def _shares(lengths: Sequence[int], how: Design, rng: np.random.Generator) -> list[list[int]]:
    """The samples of each rater: those that all see, then the rest to whoever has the fewest lines."""
    order = [int(index) for index in rng.permutation(len(lengths)) if lengths[index]]
    # An overlap that was asked for is one sample at least: without any, agreement cannot be measured.
    common = order[: max(round(how.overlap * len(order)), how.overlap > 0)] if how.raters > 1 else []
    sheets = [list(common) for _ in range(how.raters)]
    loads = [0] * how.raters
    for index in order[len(common) :]:
        rater = min(range(how.raters), key=lambda one: (loads[one], one))
        sheets[rater].append(index)
        loads[rater] += lengths[index]
    return sheets


def _turned(lines: list[Slot], rng: np.random.Generator) -> list[Slot]:
    """Exchange the sides of half of the lines of every pair, at random places: an alternation could be seen through."""
    places: dict[tuple[Group, ...], list[int]] = {}
    for place, slot in enumerate(lines):
        if len(slot.sides) == 2:
            places.setdefault(slot.sides, []).append(place)
    left: Counter[Group] = Counter()  # how much more often a group stands on the left
    found = list(lines)
    for (first, second), mine in places.items():
        count = len(mine) // 2
        if len(mine) % 2 and (left[first] - left[second], rng.random()) > (0, 0.5):
            count += 1
        left[first] += len(mine) - 2 * count
        left[second] -= len(mine) - 2 * count
        for place in rng.permutation(np.array(mine))[:count]:
            found[place] = replace(lines[place], sides=(second, first))
    return found


def _with_repeats(lines: list[Slot], share: float, rng: np.random.Generator) -> list[Slot]:
    """Show lines of the first half again somewhere in the second half, a pair with its sides exchanged."""
    count = round(share * len(lines))
    half = (len(lines) + 1) // 2
    again = rng.permutation(half)[: min(count, half)]
    later = list(lines[half:])
    for index in again:
        slot = replace(lines[index], repeat=True, sides=lines[index].sides[::-1])
        later.insert(int(rng.integers(len(later) + 1)), slot)
    return lines[:half] + later


def _with_checks(lines: list[Slot], count: int, rng: np.random.Generator) -> list[Slot]:
    """Put attention checks at random places, the prompt being one of the rater's own."""
    found = list(lines)
    for index in rng.permutation(len(lines))[: min(count, len(lines))]:
        slot = replace(lines[index], check=True, repeat=False)
        found.insert(int(rng.integers(1, len(found) + 1)), slot)
    return found
