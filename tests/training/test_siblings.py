"""Attention on a CPU in groups of siblings, beside one dense mask over the whole stream."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from evalkit.training.attention import Layout, Segment, Stretch, attend, laid_out

Tree = list["int | tuple[int, Tree]"]  # a length, or a length and what goes on from it


def grow(tree: Tree, before: tuple[tuple[int, int], ...] = (), start: int = 0) -> list[Stretch]:
    found: list[Stretch] = []
    for one in tree:
        length, after = (one, []) if isinstance(one, int) else one
        own = Stretch(start, start + length, before)
        found += [own, *grow(after, (*before, (own.start, own.stop)), own.stop)]
        start = found[-1].stop
    return found


def layout(stretches: list[Stretch]) -> Layout:
    return Layout(tuple(stretches), (Segment("", 0, stretches[-1].stop),))


TREES: dict[str, Tree] = {
    "one token": [1],
    "rows alone": [30, 31, 3, 1, 30],
    "a prompt": [(17, [5, 9, 8, 12, 1])],
    "a tree": [(17, [5, 9, (11, [4, 7, (8, [3, 3, 2])])]), 6, (9, [2, 40])],
    "two candidates": [(17, [5, 9, 8]), (17, [5, 9, 8])],
}


def by_dense_mask(
    stretches: list[Stretch], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
) -> torch.Tensor:
    """(1, T, H, D): every token with every other, those unseen at -inf."""
    size = q.shape[2]
    mask = torch.full((size, size), -math.inf)
    for stretch in stretches:
        seen = [t for start, stop in stretch.before for t in range(start, stop)]
        for token in range(stretch.start, stretch.stop):
            seen.append(token)
            mask[token, seen if window is None else seen[-window:]] = 0.0
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 6, 1])
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_result_and_gradients_are_those_of_a_dense_mask(tree: Tree, window: int | None) -> None:
    torch.manual_seed(0)
    stretches = grow(tree)
    size = stretches[-1].stop
    made = [torch.randn(1, heads, size, 16, requires_grad=True) for heads in (6, 2, 2)]
    sent = torch.randn(1, size, 6, 16)
    expected = by_dense_mask(stretches, *made, window)
    wanted = [expected, *torch.autograd.grad(expected, made, sent)]
    with laid_out(layout(stretches)):
        found, _ = attend(torch.nn.Identity(), *made, None, scaling=0.3, sliding_window=window)
    for a, b in zip(wanted, [found, *torch.autograd.grad(found, made, sent)], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 6])
def test_groups_and_single_stretches_give_the_same(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way is taken with dropout, soft-caps, sinks, on CUDA, and where torch lacks the kernel."""
    torch.manual_seed(0)
    stretches = grow(TREES["a tree"])
    size = stretches[-1].stop
    made = [torch.randn(1, size, heads, 16).bfloat16().transpose(1, 2) for heads in (6, 2, 2)]
    states = [one.requires_grad_() for one in made]
    sent = torch.randn(1, size, 6, 16).bfloat16()
    results = []
    for alone in (False, True):
        if alone:
            monkeypatch.setattr("evalkit.training.attention.can_attend_in_groups", lambda *_: False)
        with laid_out(layout(stretches)), torch.autocast("cpu", dtype=torch.bfloat16):
            found, _ = attend(torch.nn.Identity(), *states, None, sliding_window=window)
        results.append([found, *torch.autograd.grad(found, states, sent)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == torch.bfloat16
        assert a.shape == b.shape
        # both are computed in fp32 and rounded once
        assert float((a == b).float().mean()) > 0.99


def test_what_a_stretch_holds_reaches_no_other() -> None:
    """One candidate's numbers may be NaN: nobody else's result or gradient is."""
    torch.manual_seed(0)
    stretches = grow(TREES["two candidates"])
    half = stretches[-1].stop // 2
    segments = (Segment("a", 0, half), Segment("b", half, 2 * half))
    made = [torch.randn(1, heads, 2 * half, 16) for heads in (6, 2, 2)]
    for states in made:
        states[:, :, half:] = math.nan
        states.requires_grad_()
    with laid_out(Layout(tuple(stretches), segments)):
        found, _ = attend(torch.nn.Identity(), *made, None)
    sent = torch.randn_like(found)
    gradients = torch.autograd.grad(found, made, sent)
    assert bool(torch.isfinite(found[:, :half]).all())
    assert all(bool(torch.isfinite(one[:, :, :half]).all()) for one in gradients)
    assert not bool(torch.isfinite(found[:, half:]).any())


def test_a_candidate_is_grouped_as_it_is_alone() -> None:
    alone = grow([20, 24])
    both = grow([20, 24, 23, 25])
    beside = Layout(tuple(both), (Segment("a", 0, 44), Segment("b", 44, 92))).grouping
    assert [group.queries.tolist() for group in beside.groups[:1]] == [
        group.queries.tolist() for group in layout(alone).grouping.groups
    ]


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    depth=st.integers(0, 80),
)
def test_a_group_is_padded_by_less_than_a_call_costs(lengths: list[int], depth: int) -> None:
    stretches = grow([(depth, lengths)]) if depth else grow(lengths)
    grouping = layout(stretches).grouping
    found = [stretch for group in grouping.groups for stretch in group.members]
    assert sorted(found, key=lambda one: one.start) == stretches
    rows = torch.cat([group.queries for group in grouping.groups])
    assert rows[grouping.places].tolist() == list(range(stretches[-1].stop))
    for group in grouping.groups:
        long = group.members[0].stop - group.members[0].start
        for stretch in group.members:
            short = stretch.stop - stretch.start
            assert short <= long
            assert long * (stretch.depth + long) - short * (stretch.depth + short) <= 1000
