"""Attention of a stream on a CPU: stretches that go on from the same tokens are attended to in one call.

A call of torch's CPU kernel for a row of 25 tokens costs about as much as its sums, and autograd keeps a copy of the
keys for each. Here siblings of about one length are one call, padded at their ends, where a causal mask hides the
padding by itself; keys and values are put together anew in the backward pass instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from evalkit.training.attention import Layout, Segment, Stretch

__all__ = ["Grouping", "Siblings", "attend_in_groups", "can_attend_in_groups", "grouped"]

_CALL = 1000
"""Scores, of one head, that are computed in the time that a call costs besides its sums; measured on two cores."""


@dataclass(frozen=True, slots=True)
class Siblings:
    """Stretches of one candidate that go on from the same ones, padded to the longest.

    Attributes:
        members: N stretches, longest first; L is the length of the first.
        queries: (N·L,) the tokens in the stream; a padded place repeats its stretch's last token.
        keys: (N·(P + L),) the P tokens before them and their own.
        padding: Places of ``queries`` that are padded; None where none is.
    """

    members: tuple[Stretch, ...]
    queries: torch.Tensor
    keys: torch.Tensor
    padding: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Grouping:
    """The stream as groups of siblings.

    Attributes:
        groups: Together they hold every stretch.
        places: (T,) where each token of the stream stands among the queries of all groups.
    """

    groups: tuple[Siblings, ...]
    places: torch.Tensor


def grouped(stretches: Sequence[Stretch], segments: Sequence[Segment]) -> Grouping:
    """Put stretches of one candidate together that go on from the same ones and are about as long.

    Those of several candidates never: how a candidate's rows are padded does not depend on who it is run with.

    >>> from evalkit.training.attention import Segment, Stretch
    >>> stretches = [Stretch(0, 9), Stretch(9, 12, ((0, 9),)), Stretch(12, 14, ((0, 9),))]
    >>> found = grouped(stretches, [Segment("", 0, 14)])
    >>> [group.queries.tolist() for group in found.groups]
    [[0, 1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 13]]
    >>> found.groups[1].padding.tolist(), found.places.tolist()
    ([5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
    """
    owned = [[one for one in stretches if part.start <= one.start < part.stop] for part in segments]
    groups = tuple(_group(members) for own in owned for members in _alike(own))
    places = torch.empty(sum(stretch.stop - stretch.start for stretch in stretches), dtype=torch.long)
    done = 0
    for group in groups:
        first = group.members[0]
        for stretch in group.members:
            length = stretch.stop - stretch.start
            places[stretch.start : stretch.stop] = torch.arange(done, done + length)
            done += first.stop - first.start
    return Grouping(groups, places)


def _alike(stretches: Sequence[Stretch]) -> Iterator[tuple[Stretch, ...]]:
    families: dict[tuple[tuple[int, int], ...], list[Stretch]] = {}
    for stretch in stretches:
        families.setdefault(stretch.before, []).append(stretch)
    for family in families.values():
        group: list[Stretch] = []
        for stretch in sorted(family, key=lambda one: one.start - one.stop):
            if group and _scores(group[0]) - _scores(stretch) > _CALL:
                yield tuple(group)
                group = []
            group.append(stretch)
        yield tuple(group)


def _scores(stretch: Stretch) -> int:
    length = stretch.stop - stretch.start
    return length * (stretch.depth + length)


def _group(members: tuple[Stretch, ...]) -> Siblings:
    longest = members[0].stop - members[0].start
    before = [token for start, stop in members[0].before for token in range(start, stop)]
    own = [[min(stretch.start + i, stretch.stop - 1) for i in range(longest)] for stretch in members]
    padded = [
        number * longest + place
        for number, stretch in enumerate(members)
        for place in range(stretch.stop - stretch.start, longest)
    ]
    return Siblings(
        members,
        torch.tensor([token for tokens in own for token in tokens]),
        torch.tensor([token for tokens in own for token in (*before, *tokens)]),
        torch.tensor(padded) if padded else None,
    )


def can_attend_in_groups(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether torch's CPU kernel, which is asked for by name, is there and takes such heads."""
    known = hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward")
    return known and query.device.type == "cpu" and query.shape[-1] == value.shape[-1]


def attend_in_groups(
    layout: Layout,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,  # (1, G, T, D), G divides H
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attention as the layout says, computed in fp32: (1, T, H, D) in the queries' type."""
    found: torch.Tensor = _InGroups.apply(query, key, value, layout, scaling, window)  # type: ignore[no-untyped-call]
    return found


class _InGroups(torch.autograd.Function):
    """The kernel's forward and backward pass for each group."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: Layout,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        q, k, v = _by_token(query), _by_token(key), _by_token(value)
        results, sums = [], []
        for group in layout.grouping.groups:
            mask = layout.mask(group.members[0], window, q)
            taken = (
                _heads(q, group, group.queries),
                _heads(k, group, group.keys),
                _heads(v, group, group.keys),
            )
            result, total = kernel(*taken, 0.0, mask is None, attn_mask=mask, scale=scaling)
            results.append(result.transpose(1, 2).reshape(-1, *q.shape[1:]))  # (N·L, H, D)
            sums.append(total)
        ctx.save_for_backward(query, key, value, *results, *sums)
        ctx.layout, ctx.scaling, ctx.window = layout, scaling, window
        whole = torch.cat(results).index_select(0, layout.grouping.places)
        return whole.to(query.dtype).unsqueeze(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        layout, (query, key, value, *kept) = ctx.layout, ctx.saved_tensors
        groups = layout.grouping.groups
        q, k, v, above = _by_token(query), _by_token(key), _by_token(value), gradient[0].float()
        found: tuple[list[torch.Tensor], ...] = ([], [], [])  # of queries and of own keys and values
        shared: list[tuple[Siblings, torch.Tensor, torch.Tensor]] = []
        for group, result, total in zip(groups, kept[: len(groups)], kept[len(groups) :], strict=True):
            mask = layout.mask(group.members[0], ctx.window, q)
            sent = above.index_select(0, group.queries)
            if group.padding is not None:
                sent.index_fill_(0, group.padding, 0.0)
            back = kernel(
                _split(sent, group),
                _heads(q, group, group.queries),
                _heads(k, group, group.keys),
                _heads(v, group, group.keys),
                _split(result, group),
                total,
                0.0,
                mask is None,
                attn_mask=mask,
                scale=ctx.scaling,
            )
            depth = group.members[0].depth
            found[0].append(back[0].transpose(1, 2).reshape(-1, *q.shape[1:]))
            for own, part in zip(found[1:], back[1:], strict=True):
                own.append(part[:, :, depth:].transpose(1, 2).reshape(-1, *k.shape[1:]))
            if depth:
                shared.append((group, *(part[:, :, :depth].sum(0).transpose(0, 1) for part in back[1:])))
        whole = [torch.cat(parts).index_select(0, layout.grouping.places) for parts in found]
        for group, *parts in shared:
            for grown, part in zip(whole[1:], parts, strict=True):
                done = 0
                for start, stop in group.members[0].before:
                    grown[start:stop] += part[done : done + stop - start]
                    done += stop - start
        sent_back = (
            one.transpose(0, 1).unsqueeze(0).to(like.dtype)
            for one, like in zip(whole, (query, key, value), strict=True)
        )
        return (*sent_back, None, None, None)


def _by_token(states: torch.Tensor) -> torch.Tensor:
    """(1, H, T, D) → (T, H, D), fp32."""
    return states[0].transpose(0, 1).float()


def _heads(states: torch.Tensor, group: Siblings, tokens: torch.Tensor) -> torch.Tensor:
    """(T, H, D) → (N, H, tokens of each, D)."""
    return _split(states.index_select(0, tokens), group)


def _split(states: torch.Tensor, group: Siblings) -> torch.Tensor:
    return states.view(len(group.members), -1, *states.shape[1:]).transpose(1, 2)
