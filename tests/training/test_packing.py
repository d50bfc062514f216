"""Streams by hand, and what holds for all of them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.training.attention import Stretch
from evalkit.training.batches import Batch
from evalkit.training.packing import Unit, pack, streams
from evalkit.training.rows import TokenRow


def row(text: str, learned: int = -1, number: int = 1) -> TokenRow:
    """A row of bytes whose characters from ``learned`` on carry a loss."""
    learned %= len(text)
    return TokenRow(tuple(map(ord, text)), tuple(i >= max(1, learned) for i in range(len(text))), number)


def shared(*parts: list[TokenRow]) -> Batch:
    return pack([Unit(f"slot{number}", rows, "shared") for number, rows in enumerate(parts)], "cpu")


def text(batch: Batch) -> str:
    return "".join(map(chr, batch.input_ids[0].tolist()))


def test_a_beginning_stands_once() -> None:
    batch = shared([row("system..ab!"), row("system..cd!"), row("other")])
    assert text(batch) == "othersystem..ab!cd!"
    assert batch.layout is not None
    assert batch.position_ids is not None
    assert batch.layout.stretches == (
        Stretch(0, 5),
        Stretch(5, 13),
        Stretch(13, 16, ((5, 13),)),
        Stretch(16, 19, ((5, 13),)),
    )
    assert batch.position_ids.tolist() == [[*range(5), *range(8), 8, 9, 10, 8, 9, 10]]
    # targets in the order of the rows: "!" after "b", "!" after "d", "r" after "e"
    assert batch.positions.tolist() == [14, 17, 3]
    assert (batch.tokens, batch.computed_tokens) == (27, 19)


def test_without_sharing_rows_stand_one_after_the_other() -> None:
    batch = pack([Unit("", [row("system..ab!"), row("system..cd!")], "packed")], "cpu")
    assert text(batch) == "system..ab!system..cd!"
    assert batch.layout is not None
    assert batch.layout.stretches == (Stretch(0, 11), Stretch(11, 22))


def test_beginnings_within_beginnings_make_a_tree() -> None:
    rows = [row("system..question1yes"), row("system..question1no!"), row("system..question2yes")]
    batch = shared(rows)
    # one "system..question" (16), after it "1" is too short to stand alone: it stays with each row
    assert text(batch) == "system..question" + "1no!" + "1yes" + "2yes"
    deep = [
        row("system..question one:a"),
        row("system..question one:b"),
        row("system..else"),
        row("system..!"),
    ]
    batch = shared(deep)
    assert text(batch) == "system..!elsequestion one:ab"
    assert batch.layout is not None
    assert [stretch.before for stretch in batch.layout.stretches][-1] == ((0, 8), (13, 26))
    assert batch.layout.stretches[-1].depth == 21


def test_equal_rows_and_rows_that_begin_others_have_no_tokens_of_their_own() -> None:
    rows = [row("abcdefgh!", number=1), row("abcdefgh!", number=2), row("abcdefgh!and on", number=3)]
    batch = shared(rows)
    assert text(batch) == "abcdefgh!and on"
    assert batch.positions.tolist() == [7, 7, 13]  # the same state predicts the same token twice


def test_the_first_own_token_is_predicted_by_the_last_shared_one() -> None:
    batch = shared([row("abcdefgh1x", 8), row("abcdefgh2y", 8)])
    assert batch.positions.tolist() == [7, 8, 7, 10]
    assert batch.targets.tolist() == list(map(ord, "1x2y"))


def test_candidates_share_nothing() -> None:
    rows = [row("abcdefgh1"), row("abcdefgh2")]
    batch = shared(rows, rows[:1])
    assert text(batch) == "abcdefgh12abcdefgh1"
    assert [part.tokens for part in batch.parts] == [(0, 10), (10, 19)]
    assert [part.targets for part in batch.parts] == [(0, 2), (2, 3)]
    assert [part.logical for part in batch.parts] == [18, 9]
    assert batch.layout is not None
    assert batch.layout.stretches[-1] == Stretch(10, 19)


def test_streams_hold_what_fits_and_what_pays() -> None:
    rows = [row("a" * 300 + str(i), number=i) for i in range(8)]
    assert [len(cut) for cut in streams(rows, 2, "cpu", "packed")] == [
        2,
        2,
        2,
        2,
    ]  # as many tokens as 2 rows have
    assert [len(cut) for cut in streams(rows, 8, "cpu", "packed")] == [3, 3, 2]  # 1,024 tokens
    assert [len(cut) for cut in streams(rows, 2, "cpu", "shared")] == [8]
    assert [len(cut) for cut in streams(rows, 3, "cpu", "plain")] == [3, 3, 2]


rows_of_few_letters = st.lists(st.text("ab", min_size=2, max_size=40), min_size=1, max_size=8)


@given(rows_of_few_letters, st.booleans())
def test_every_row_can_be_read_back_along_its_stretches(texts: list[str], share: bool) -> None:
    rows = [row(text, 1, number) for number, text in enumerate(texts)]
    batch = pack([Unit("", rows, "shared" if share else "packed")], "cpu")
    assert batch.layout is not None
    assert batch.position_ids is not None
    stretches = batch.layout.stretches
    assert [stretch.start for stretch in stretches] == [0, *(stretch.stop for stretch in stretches[:-1])]
    ends = {(stretch.start, stretch.stop): stretch for stretch in stretches}
    ids = batch.input_ids[0]
    done = 0
    for one in rows:
        places = batch.positions[done : done + one.targets]
        done += one.targets
        # the state before each learned token is at that token's place in its row …
        assert batch.position_ids[0][places].tolist() == list(range(len(one.ids) - 1))
        assert ids[places].tolist() == list(one.ids[:-1])
        # … and attends, through its stretch, to exactly the row before it
        last = int(places[-1])
        stretch = next(s for s in ends.values() if s.start <= last < s.stop)
        seen = [*(i for span in stretch.before for i in range(*span)), *range(stretch.start, last + 1)]
        assert ids[torch.tensor(seen)].tolist() == list(one.ids[:-1])
    assert batch.computed_tokens <= batch.tokens
