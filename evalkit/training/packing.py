"""Rows → one stream without padding, in which what rows begin with alike stands once.

Rows form a tree of their beginnings: the system prompt and the template around it, the prompt of several
answers, earlier turns of a chat. Each stretch of the tree is run once; positions go on along each row, and a
stretch attends only to those it goes on from (``attention.py``). The gradient is that of the plain rows, because
a causal model's states do not depend on what follows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Literal

from evalkit.training.attention import Layout, Segment, Stretch
from evalkit.training.batches import Batch, collate, micro_batches, stream_batch
from evalkit.training.rows import TokenRow

__all__ = ["SHORTEST", "STREAM_TOKENS", "Mode", "Unit", "join", "make_batch", "pack", "streams"]

Mode = Literal["shared", "packed", "plain"]
"""How rows are run: in a stream in which common beginnings stand once, in a stream, or padded."""
SHORTEST = 8
"""Tokens of a shared beginning; below, running it on its own costs more than it saves."""
STREAM_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Tokens from which a longer stream is no faster on the device, and only takes memory."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows of one candidate that are run at once, alone or beside those of others.

    Attributes:
        owner: The adapter's name on the model.
        rows: At least one.
        mode: How.
        seed: Of what is dropped of the adapter's inputs.
    """

    owner: str
    rows: Sequence[TokenRow]
    mode: Mode
    seed: int = 0

    @property
    def computed(self) -> int:
        """About as many tokens are run for it in a stream."""
        ids = sorted(row.ids for row in self.rows)
        alike = [_alike(a, b) for a, b in pairwise(ids)] if self.mode == "shared" else []
        return sum(map(len, ids)) - sum(shared for shared in alike if shared >= SHORTEST)


@dataclass
class _Tree:
    """The stream as it grows.

    Attributes:
        ids: Its tokens.
        places: Their positions in their rows.
        stretches: So far.
        found: Row's number in its part → the spans it lies in.
    """

    ids: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    found: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def add(self, ids: Sequence[int], before: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """Append a stretch; return the spans from the row's first token to its last one."""
        if not ids:
            return before
        start = len(self.ids)
        stretch = Stretch(start, start + len(ids), before)
        self.stretches.append(stretch)
        self.ids += ids
        self.places += range(stretch.depth, stretch.depth + len(ids))
        return (*before, (stretch.start, stretch.stop))


def pack(units: Sequence[Unit], device: str) -> Batch:
    """Return rows as one stream; the order of targets is theirs.

    Args:
        units: Each candidate's rows. Nothing is shared between candidates, whose states differ.
        device: Where to.

    >>> rows = [TokenRow((1,) * 9 + (2, 3), (False,) * 10 + (True,), 1),
    ...         TokenRow((1,) * 9 + (4, 5), (False,) * 10 + (True,), 2)]
    >>> batch = pack([Unit("", rows, "shared")], "cpu")
    >>> batch.input_ids.tolist(), batch.tokens, batch.computed_tokens
    ([[1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5]], 22, 13)
    >>> batch.position_ids.tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10]]
    """
    tree = _Tree()
    where: list[list[int]] = []
    segments: list[Segment] = []
    for unit in units:
        start, share = len(tree.ids), unit.mode == "shared"
        numbered = [(number, row.ids) for number, row in enumerate(unit.rows)]
        _grow(tree, sorted(numbered, key=lambda row: row[1]) if share else numbered, 0, (), share)
        where += [_indices(tree.found[number]) for number in range(len(unit.rows))]
        segments.append(Segment(unit.owner, start, len(tree.ids), unit.seed))
    layout = Layout(tuple(tree.stretches), tuple(segments))
    return stream_batch(tree.ids, tree.places, [unit.rows for unit in units], where, layout, device)


def make_batch(units: Sequence[Unit], device: str) -> Batch:
    """Return rows as a stream, or padded, which one candidate's only can be."""
    if units[0].mode == "plain":
        (unit,) = units
        return collate(unit.rows, device, unit.owner)
    return pack(units, device)


def join(queues: Sequence[Sequence[Unit]], device: str) -> Iterator[list[Unit]]:
    """Put units of several candidates into common streams.

    How a candidate's rows are cut does not depend on who it is run with, and a stream holds at most one unit of
    a candidate: so together its sums are formed as they are alone.

    Args:
        queues: Each candidate's units.
        device: Where they will be run; a stream holds no more tokens than twice what pays there.
    """
    limit = 2 * STREAM_TOKENS[device.partition(":")[0]]
    for row in zip_longest(*queues):
        stream: list[Unit] = []
        held = 0
        for unit in row:
            if unit is None:
                continue
            if stream and (held + unit.computed > limit or unit.mode == "plain"):
                yield stream
                stream, held = [], 0
            stream.append(unit)
            held += unit.computed
        if stream:
            yield stream


def streams(rows: Sequence[TokenRow], size: int, device: str, mode: Mode) -> list[list[TokenRow]]:
    """Cut the rows of a step into those that are run at once.

    A stream holds no more tokens than ``size`` of the longest rows would, and no more than pays on the device.

    Args:
        rows: In any order.
        size: Rows that fit into memory at once whatever their length; 0: each row alone.
        device: Where they will be run.
        mode: How. Rows that begin alike come together where that is shared.
    """
    if mode == "plain":
        return micro_batches(rows, max(size, 1))
    share = mode == "shared"
    longest = max(len(row.ids) for row in rows)
    limit = min(size * longest, max(longest, STREAM_TOKENS[device.partition(":")[0]]))
    ordered = sorted(rows, key=lambda row: row.ids if share else (-len(row.ids),))
    cut: list[list[TokenRow]] = []
    held = 0
    for row in ordered:
        new = len(row.ids) - (_alike(cut[-1][-1].ids, row.ids) if share and cut else 0)
        if not cut or held + new > limit:
            cut.append([])
            held, new = 0, len(row.ids)
        cut[-1].append(row)
        held += new
    return cut


def _grow(
    tree: _Tree,
    rows: list[tuple[int, tuple[int, ...]]],
    depth: int,
    before: tuple[tuple[int, int], ...],
    share: bool,
) -> None:
    """Add rows, sorted by their ids, that are alike up to ``depth``, where ``before`` ends."""
    for group in _groups(rows, depth if share else math.inf):
        first, last = group[0][1], group[-1][1]
        if len(group) == 1:
            tree.found[group[0][0]] = tree.add(first[depth:], before)
            continue
        common = _alike(first, last)  # sorted rows: what the outermost share, all share
        _grow(tree, group, common, tree.add(first[depth:common], before), share)


def _groups(
    rows: list[tuple[int, tuple[int, ...]]], depth: float
) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
    """Neighbours that share enough after ``depth``."""
    group: list[tuple[int, tuple[int, ...]]] = []
    for row in rows:
        if group and _alike(group[-1][1], row[1]) < depth + SHORTEST:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _indices(spans: tuple[tuple[int, int], ...]) -> list[int]:
    return [index for start, stop in spans for index in range(start, stop)]
