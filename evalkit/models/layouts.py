"""Where the keys of each query of a pass are: in runs of tokens computed side by side, or in slots of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from evalkit.models.attention import HIDDEN, attend, join, visible
from evalkit.models.trie import Run, chain

__all__ = ["RunLayout", "Slots"]

TILE = 256
"""Most tokens of small runs whose attention among themselves is computed at once, under one mask."""
STRIPE = 512
"""Queries computed at once where a window needs a mask."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One attention call: which queries see which keys.

    Attributes:
        rows: First query and the one after the last, of the pass.
        source: The held run whose keys they are; None: the pass itself.
        keys: First key and the one after the last.
        mask: (N, M), or None where all is seen.
        causal: Query i sees keys 0 … i.
        first: Nothing was computed for these queries before.
    """

    rows: tuple[int, int]
    source: Run | None
    keys: tuple[int, int]
    mask: torch.Tensor | None = None
    causal: bool = False
    first: bool = False


class RunLayout:
    """Runs computed in one pass, each once, depth first, without padding.

    Args:
        runs: New runs; what stands above each is among them or held.
        keep: Those whose keys and values are kept.

    Attributes:
        order: The runs as they lie in the pass.
        at: Run → place of its first token.
        ids: Tokens of the pass.
        positions: Their positions in their texts.
        owners: Whose they are.
        found: Run to keep → layer → keys and values. Handed to the runs only when the pass has succeeded.
    """

    def __init__(self, runs: Sequence[Run], keep: Sequence[Run] = ()) -> None:
        self.order, spans = _depth_first(runs)
        self.at: dict[Run, int] = {}
        self.ids: list[int] = []
        self.owners: list[str | None] = []
        positions: list[int] = []
        for run in self.order:
            self.at[run] = len(self.ids)
            self.ids.extend(run.ids)
            self.owners.extend([run.owner] * len(run.ids))
            positions.extend(run.positions())
        self.positions = torch.tensor(positions)
        self.found: dict[Run, dict[int, tuple[Any, Any]]] = {run: {} for run in keep}
        self._spans = spans
        self._tiles = self._cut()
        self._plans: dict[int | None, list[_Step]] = {}

    def attend(
        self, layer: int, q: Any, k: Any, v: Any, scale: float, window: int | None, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``attention.Layout``."""
        if window not in self._plans:
            self._plans[window] = list(self._plan(window))
        out = q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.float32)
        total = q.new_empty(q.shape[:-1], dtype=torch.float32)
        for step in self._plans[window]:
            rows = slice(*step.rows)
            keys, values = (k, v) if step.source is None else step.source.held[layer]  # type: ignore[index]
            seen = slice(*step.keys)
            mask = None if step.mask is None else step.mask.to(q.device)
            part, part_total = attend(
                q[:, :, rows],
                keys[:, None, seen],
                values[:, None, seen],
                scale,
                mask=mask,
                causal=step.causal,
                softcap=softcap,
            )
            if step.first:
                out[:, :, rows], total[:, :, rows] = part, part_total
            else:
                join(out[:, :, rows], total[:, :, rows], part, part_total)
        for run, held in self.found.items():
            place = slice(self.at[run], self.at[run] + len(run.ids))
            held[layer] = k[:, place].clone(), v[:, place].clone()
        return out, total

    def _cut(self) -> list[list[Run]]:
        """Neighbours in tiles of at most ``TILE`` tokens; a longer run is a tile of its own."""
        tiles: list[list[Run]] = []
        size = 0
        for run in self.order:
            if not tiles or size + len(run.ids) > TILE:
                tiles.append([])
                size = 0
            tiles[-1].append(run)
            size += len(run.ids)
        return tiles

    def _plan(self, window: int | None) -> Iterator[_Step]:
        ends: dict[Run, int] = {}
        for tile in self._tiles:
            start, stop = self.at[tile[0]], self.at[tile[-1]] + len(tile[-1].ids)
            ends.update(dict.fromkeys(tile, stop))
            if len(tile) == 1 and tile[0].parents is None:
                yield from self._own(start, stop, window)
            else:
                mask = _tree_mask(tile, self.at)
                if window is not None:
                    positions = self.positions[start:stop]
                    mask = torch.minimum(mask, visible(positions, positions, window))
                yield _Step((start, stop), None, (start, stop), mask, first=True)
        for run, (start, stop) in self._spans.items():
            if run in self.at:
                start = max(start, ends[run])
                yield from self._above(start, stop, None, self.at[run], run, window)
            else:
                yield from self._above(start, stop, run, 0, run, window)

    def _own(self, start: int, stop: int, window: int | None) -> Iterator[_Step]:
        """A long run among itself; where its window is shorter, in stripes of queries with the keys they see."""
        if window is None or stop - start <= window:
            yield _Step((start, stop), None, (start, stop), causal=True, first=True)
            return
        for row in range(start, stop, STRIPE):
            end = min(row + STRIPE, stop)
            low = max(start, row - window + 1)
            mask = visible(self.positions[row:end], self.positions[low:end], window)
            yield _Step((row, end), None, (low, end), mask, first=True)

    def _above(
        self, start: int, stop: int, source: Run | None, offset: int, run: Run, window: int | None
    ) -> Iterator[_Step]:
        """Queries below a run with the run's keys, which lie at ``offset`` in the source."""
        if start >= stop:
            return
        length = len(run.ids)
        if window is None:
            yield _Step((start, stop), source, (offset, offset + length))
            return
        for row in range(start, stop, STRIPE):
            end = min(row + STRIPE, stop)
            queries = self.positions[row:end]
            low = max(0, int(queries.min()) - window + 1 - run.start)
            if low >= length:
                continue
            keys = torch.arange(run.start + low, run.end)
            mask = None if int(queries.max()) - window < run.start + low else visible(queries, keys, window)
            yield _Step((row, end), source, (offset + low, offset + length), mask)


def _depth_first(runs: Sequence[Run]) -> tuple[list[Run], dict[Run, tuple[int, int]]]:
    """The new runs depth first, and for every run, held ones too, the places in the pass of what is below it."""
    new = set(runs)
    below: dict[Run | None, dict[Run, None]] = {}
    for run in runs:
        for each in chain(run):
            below.setdefault(each.above, {})[each] = None
    order: list[Run] = []
    spans: dict[Run, tuple[int, int]] = {}
    place = 0
    waiting: list[tuple[Run, int | None]] = [(run, None) for run in reversed(below.get(None, {}))]
    while waiting:
        run, start = waiting.pop()
        if start is not None:  # everything below it has been laid out
            if place > start:
                spans[run] = (start, place)
            continue
        if run in new:
            order.append(run)
            place += len(run.ids)
        waiting.append((run, place))
        waiting.extend((each, None) for each in reversed(below.get(run, {})))
    return order, spans


def _tree_mask(tile: Sequence[Run], at: dict[Run, int]) -> torch.Tensor:
    """(N, N) mask of runs that lie side by side: a token sees itself and those it goes on from."""
    start = at[tile[0]]
    size = at[tile[-1]] + len(tile[-1].ids) - start
    seen = torch.zeros((size, size), dtype=torch.bool)
    inside = set(tile)
    for run in tile:
        first, n = at[run] - start, len(run.ids)
        own = seen[first : first + n]
        if run.parents is None:
            own[:, first : first + n] = torch.ones((n, n), dtype=torch.bool).tril_()
        else:
            for i, parent in enumerate(run.parents):
                if parent >= 0:
                    own[i] = own[parent]
                own[i, first + i] = True
        if run.above in inside:
            last = at[run.above] - start + len(run.above.ids) - 1
            own |= seen[last]
    return torch.zeros((size, size)).masked_fill_(~seen, HIDDEN)


@dataclass(eq=False)
class Slots:
    """The keys and values of answers that are being written, one slot each, and what stands above them.

    Attributes:
        above: For each slot the run that its own keys follow; None: nothing.
        lengths: Own keys of each slot.
        owners: Whose answer is in each slot.
    """

    above: list[Run | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    owners: list[str | None] = field(default_factory=list)
    _keys: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)  # layer → (S, H, T, D)
    _reserved: int = 0
    _rows: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _starts: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)
    _groups: list[tuple[Run, slice | torch.Tensor]] = field(default_factory=list)
    _group_masks: dict[tuple[int, int], torch.Tensor | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    def positions(self) -> list[int]:
        """Position of each slot's next token."""
        return [(0 if run is None else run.end) + n for run, n in zip(self.above, self.lengths, strict=True)]

    def reserve(self, more: int) -> None:
        """Say how many slots are about to be taken: room for all of them is made at once."""
        self._reserved = len(self) + more

    def add(self, above: Run | None, own: Sequence[Run]) -> None:
        """Take a slot for an answer that follows ``above``; the keys of the runs after it become the slot's own."""
        row, start = len(self), 0
        for run in own:
            stop = start + len(run.ids)
            for layer, held in (run.held or {}).items():
                room = self._room(layer, row + 1, stop, held)
                for into, values in zip(room, held, strict=True):
                    into[row, :, start:stop] = values
            start = stop
        self.above.append(above)
        self.lengths.append(start)
        self.owners.append(own[-1].owner if own else above.owner if above else None)

    def remove(self, row: int) -> None:
        """Give a slot up; the last one takes its place."""
        last, n = len(self) - 1, self.lengths[-1]
        if row != last:
            for keys, values in self._keys.values():
                keys[row, :, :n] = keys[last, :, :n]
                values[row, :, :n] = values[last, :, :n]
            self.owners[row] = self.owners[last]
            self.above[row], self.lengths[row] = self.above[last], self.lengths[last]
        del self.above[last], self.lengths[last], self.owners[last]

    def begin(self) -> None:
        """Prepare a pass over one new token a slot."""
        self._rows = torch.arange(len(self))
        self._starts = torch.tensor([0 if run is None else run.end for run in self.above])
        self._masks, self._group_masks = {}, {}
        members: dict[Run, list[int]] = {}
        for row, run in enumerate(self.above):
            for each in chain(run):
                members.setdefault(each, []).append(row)
        self._groups = [(run, _as_slice(rows)) for run, rows in members.items()]

    def finish(self) -> None:
        """The pass has succeeded: its keys count."""
        self.lengths = [n + 1 for n in self.lengths]

    def attend(
        self, layer: int, q: Any, k: Any, v: Any, scale: float, window: int | None, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``attention.Layout``; the new tokens are one of each slot, in order."""
        n, most = len(self), max(self.lengths) + 1
        keys, values = self._room(layer, n, most, (k, v))
        places = torch.tensor(self.lengths, device=k.device)
        keys[self._rows, :, places] = k.transpose(0, 1)
        values[self._rows, :, places] = v.transpose(0, 1)
        mask = self._own_mask(window)
        part, part_total = attend(
            q.permute(
                2, 0, 1, 3
            ),  # (S, H, G, D): one new token a slot, so the G queries of a head are its rows
            keys[:n, :, :most],
            values[:n, :, :most],
            scale,
            mask=None if mask is None else mask.to(q.device),
            softcap=softcap,
        )
        out, total = part.permute(1, 2, 0, 3).contiguous(), part_total.permute(1, 2, 0).contiguous()
        for number, (run, rows) in enumerate(self._groups):
            self._join_group(number, run, rows, layer, q, out, total, scale, window, softcap)
        return out, total

    def _join_group(
        self,
        number: int,
        run: Run,
        rows: slice | torch.Tensor,
        layer: int,
        q: torch.Tensor,
        out: torch.Tensor,
        total: torch.Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> None:
        low = 0
        mask = None
        if window is not None:
            queries = (self._starts + torch.tensor(self.lengths))[rows]
            low = max(0, int(queries.min()) - window + 1 - run.start)
            if low >= len(run.ids):
                return
            if int(queries.max()) - window >= run.start + low:
                mask = visible(queries, torch.arange(run.start + low, run.end), window).to(q.device)
        keys, values = run.held[layer]  # type: ignore[index]
        part, part_total = attend(
            q[:, :, rows], keys[:, None, low:], values[:, None, low:], scale, mask=mask, softcap=softcap
        )
        if isinstance(rows, slice):
            join(out[:, :, rows], total[:, :, rows], part, part_total)
            return
        chosen, chosen_total = out[:, :, rows], total[:, :, rows]  # copies
        join(chosen, chosen_total, part, part_total)
        out[:, :, rows], total[:, :, rows] = chosen, chosen_total

    def _own_mask(self, window: int | None) -> torch.Tensor | None:
        """(S, 1, 1, T): which of its keys each slot sees."""
        if window not in self._masks:
            last = torch.tensor(self.lengths)
            keys = torch.arange(int(last.max()) + 1)
            distance = last[:, None] - keys[None]
            seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
            mask = None
            if not bool(seen.all()):
                mask = torch.zeros(seen.shape).masked_fill_(~seen, HIDDEN)[:, None, None]
            self._masks[window] = mask
        return self._masks[window]

    def _room(
        self, layer: int, rows: int, length: int, like: tuple[Any, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's keys and values, grown where they are too small."""
        rows = max(rows, self._reserved)
        if layer not in self._keys:
            self._keys[layer] = _empty(like[0], rows, length), _empty(like[1], rows, length)
        before = self._keys[layer]
        have, long = before[0].shape[0], before[0].shape[2]
        if rows > have or length > long:
            rows = max(rows, have)
            length = length + length // 4 + 8 if length > long else long
            grown = _empty(like[0], rows, length), _empty(like[1], rows, length)
            for new, old in zip(grown, before, strict=True):
                new[: old.shape[0], :, : old.shape[2]] = old
            self._keys[layer] = grown
        return self._keys[layer]


def _empty(like: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    # Zeros: a place that no query sees still enters the products, and a NaN there would spread.
    return like.new_zeros((rows, like.shape[0], length, like.shape[-1]))


def _as_slice(rows: list[int]) -> slice | torch.Tensor:
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first + 1 == len(rows) else torch.tensor(rows)
