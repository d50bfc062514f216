"""Prompts merged into a tree of token runs, so that what several begin with is computed once.

A run is tokens in a row. It stands below the run that it goes on from; the runs from the root down to a leaf are
one prompt. Only what is worth a run of its own is split off: at least ``WORTHWHILE`` tokens that two prompts share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from typing import Any

__all__ = ["Run", "branches", "chain", "common_prefix", "merge_prompts"]

WORTHWHILE = 16
"""Shared tokens from which a run of their own pays: every run costs an attention call a layer."""


@dataclass(eq=False, slots=True)
class Run:
    """Tokens that go on from the run above.

    Attributes:
        ids: At least one token.
        above: What they follow; None at the beginning of a text.
        parents: None where each token follows the one before. Else the tokens are a tree in depth-first order, and
            ``parents[i]`` is the index of the token that i follows, -1 for the last token above. A tree is a leaf.
        start: Position of the first token.
        users: Leaves below that still need its keys and values; those of a run without users are not kept.
        held: Layer → keys and values, each (H, T, D), once it was run and kept.
        owner: Whose text it is: the adapter that acts on it; None for the base's own. As of the run above, if any.
    """

    ids: Sequence[int]
    above: Run | None = None
    parents: Sequence[int] | None = None
    start: int = field(init=False)
    users: int = 0
    held: dict[int, tuple[Any, Any]] | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        self.start = 0 if self.above is None else self.above.start + len(self.above.ids)
        if self.above is not None:
            self.owner = self.above.owner

    @property
    def end(self) -> int:
        """Position after its last token; only of a run that is no tree."""
        return self.start + len(self.ids)

    def positions(self) -> list[int]:
        """Position of each token."""
        if self.parents is None:
            return list(range(self.start, self.end))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(self.start if parent < 0 else depths[parent] + 1)
        return depths

    def cut(self, length: int) -> Run:
        """Put the first ``length`` tokens into a run of their own above this one, and return it; those below stay."""
        top = Run(self.ids[:length], self.above, users=self.users, owner=self.owner)
        self.ids, self.above, self.start = self.ids[length:], top, top.end
        return top

    def own(self) -> list[Run]:
        """This run and those above that only one leaf still needs, from the top; empty if this one has more users."""
        alone = list(takewhile(lambda run: run.users == 1, chain(self)))
        return alone[::-1]

    def release(self) -> None:
        """Count one user less, here and above; forget the keys and values that nobody needs any more."""
        for run in chain(self):
            run.users -= 1
            if run.users <= 0:
                run.held = None


def chain(run: Run | None) -> Iterator[Run]:
    """The run and those above it, nearest first."""
    while run is not None:
        yield run
        run = run.above


def common_prefix(first: Sequence[int], last: Sequence[int], start: int = 0) -> int:
    """Length of what two texts begin with, of which the first ``start`` tokens are known to agree.

    >>> common_prefix([5, 6, 7], [5, 6, 8, 9])
    2
    """
    most = min(len(first), len(last))
    return next((i for i in range(start, most) if first[i] != last[i]), most)


def merge_prompts(
    prompts: Sequence[Sequence[int]],
    least: int = WORTHWHILE,
    owners: Sequence[str | None] | None = None,
) -> list[tuple[int, Run]]:
    """Merge prompts into a tree.

    Args:
        prompts: n lists of ids, each with at least one.
        least: Shared tokens from which a run of their own is made.
        owners: Whose each prompt is: a run never has two owners. All of them the base's where None.

    Returns:
        (index of the prompt, its leaf), in the order to run them: those below one run together, the longest first.
        A leaf has at least one token, and every run as many ``users`` as there are leaves below it.

    >>> [(i, leaf.start, list(leaf.ids)) for i, leaf in merge_prompts([[1, 2, 3, 4], [9], [1, 2, 3, 5, 6]], least=3)]
    [(2, 3, [5, 6]), (0, 3, [4]), (1, 0, [9])]
    """
    named = owners or [None] * len(prompts)
    found: list[tuple[int, Run]] = []
    for owner in dict.fromkeys(named):
        members = sorted((i for i, each in enumerate(named) if each == owner), key=lambda i: list(prompts[i]))
        merged = _merge(prompts, members, None, 0, least)
        for run in {run for _, leaf in merged for run in chain(leaf)}:
            run.owner = owner
        found += merged
    return found


def branches(continuations: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[list[int]]]:
    """Merge continuations of one prompt into a tree of tokens; the last token of each is rated, never run.

    Args:
        continuations: Lists of ids, each with at least one.

    Returns:
        The tokens to run, depth first; the index of the token that each follows (-1: the prompt's last); and for each
        continuation the indices of the tokens after which its tokens are rated, -1 first.

    >>> branches([[7, 8, 1], [7, 9], [5]])
    ([7, 8], [-1, 0], [[-1, 0, 1], [-1, 0], [-1]])
    """
    places: dict[tuple[int, ...], int] = {(): -1}
    tokens: list[int] = []
    parents: list[int] = []
    for continuation in sorted(map(list, continuations)):  # sorted is depth first
        for length in range(1, len(continuation)):
            path = tuple(continuation[:length])
            if path not in places:
                places[path] = len(tokens)
                tokens.append(path[-1])
                parents.append(places[path[:-1]])
    after = [[places[tuple(each[:length])] for length in range(len(each))] for each in continuations]
    return tokens, parents, after


def _merge(
    prompts: Sequence[Sequence[int]], members: list[int], above: Run | None, depth: int, least: int
) -> list[tuple[int, Run]]:
    """Merge the members, sorted, which agree up to ``depth``, below a run that ends there."""
    if len(members) > 1:
        first, last = (
            prompts[members[0]],
            prompts[members[-1]],
        )  # lexicographic: they differ first where any two do
        shared = min(common_prefix(first, last, depth), min(len(prompts[i]) for i in members) - 1)
        if shared - depth >= least:
            above, depth = Run(first[depth:shared], above, users=len(members)), shared
    groups: list[list[tuple[int, Run]]] = []
    for _, group in groupby(members, key=lambda i: list(prompts[i][depth : depth + least])):
        alike = list(group)
        longer = [i for i in alike if len(prompts[i]) - depth > least]
        if 1 < len(longer) < len(members):
            groups.append(_merge(prompts, longer, above, depth, least))
            alike = [i for i in alike if len(prompts[i]) - depth <= least]
        groups.extend([(i, Run(prompts[i][depth:], above, users=1))] for i in alike)
    groups.sort(key=lambda group: -max(leaf.end for _, leaf in group))
    return [pair for group in groups for pair in group]
