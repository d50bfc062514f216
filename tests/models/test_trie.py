"""Prompts and continuations as trees: nothing lost, what is shared held once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evalkit.models.trie import Run, branches, chain, merge_prompts

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=12)


def whole(leaf: Run) -> list[int]:
    return [token for run in reversed(list(chain(leaf))) for token in run.ids]


@given(TEXTS, st.integers(1, 4))
def test_every_prompt_is_the_runs_down_to_its_leaf(prompts: list[list[int]], least: int) -> None:
    merged = merge_prompts(prompts, least)
    assert sorted(index for index, _ in merged) == list(range(len(prompts)))
    leaves = [leaf for _, leaf in merged]
    for index, leaf in merged:
        assert whole(leaf) == prompts[index]
        assert all(run.ids for run in chain(leaf))
        for run in chain(leaf):
            assert run.users == sum(run in list(chain(other)) for other in leaves)
            assert run is leaf or len(run.ids) >= least


@given(TEXTS)
def test_every_continuation_is_rated_along_its_path(continuations: list[list[int]]) -> None:
    tokens, parents, after = branches(continuations)
    for continuation, places in zip(continuations, after, strict=True):
        assert places[0] == -1
        assert [tokens[place] for place in places[1:]] == continuation[:-1]
        assert [parents[place] for place in places[1:]] == places[:-1]
    assert all(parent < place for place, parent in enumerate(parents))  # depth first: parents come before
    assert len({(parent, token) for parent, token in zip(parents, tokens, strict=True)}) == len(tokens)


def test_the_longest_come_first_and_what_is_shared_stays_together() -> None:
    prompts = [[9], [1, 2, 3, 4], [1, 2, 3, 5, 6], [7] * 9]
    merged = merge_prompts(prompts, least=3)
    assert [index for index, _ in merged] == [3, 2, 1, 0]
    assert merged[1][1].above is merged[2][1].above


def test_a_short_prompt_does_not_keep_the_others_from_sharing() -> None:
    merged = dict(merge_prompts([[1, 2, 3], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 8]], least=4))
    assert merged[1].above is merged[2].above
    assert merged[1].above is not None


def test_cutting_a_run_and_releasing_it() -> None:
    (_, first), (_, second) = merge_prompts([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7]], least=3)
    shared = first.above
    assert shared is not None
    top = shared.cut(1)
    assert (list(top.ids), list(shared.ids), shared.start, top.users) == ([1], [2, 3, 4], 1, 2)
    assert whole(first) == [1, 2, 3, 4, 6, 7]
    top.held, shared.held = {}, {}
    assert first.own() == [first]
    first.release()
    assert shared.held is not None
    assert second.own() == [top, shared, second]
    second.release()
    assert (top.held, shared.held) == (None, None)
