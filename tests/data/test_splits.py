"""Near-duplicate groups and the validation share."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.data.conversation import Conversation
from evalkit.data.near import near_groups
from evalkit.data.splits import split_validation
from evalkit.errors import DataError


def _jaccard(first: str, second: str) -> float:
    """Of 5-character shingles, by sets: the definition, not the implementation."""
    a, b = ({f" {text} "[i : i + 5] for i in range(len(text) - 2)} for text in (first, second))
    return len(a & b) / len(a | b)


def _rows(texts: list[str]) -> list[Conversation]:
    return [Conversation(row=i, prompt=text, completion="x") for i, text in enumerate(texts, start=1)]


def test_near_duplicates_share_a_group_and_others_do_not() -> None:
    texts = [
        "Where is my parcel 1234?",
        "where  is my PARCEL 9876",
        "I want my money back",
        "你好，我的包裹在哪里？",
        "你好 我的包裹在哪里",
        "",
        "",
        "!?",
    ]
    assert near_groups(texts) == [0, 0, 2, 3, 3, 5, 5, 7]


def test_groups_agree_with_jaccard_over_all_pairs() -> None:
    rng = random.Random(0)
    words = [
        "parcel",
        "refund",
        "invoice",
        "login",
        "address",
        "card",
        "voucher",
        "broken",
        "tent",
        "jacket",
        "courier",
        "password",
    ]
    texts = [" ".join(rng.choices(words, k=12)) for _ in range(60)]
    texts += [text.replace("tent", "lamp", 1) for text in texts[:30]]
    groups = near_groups(texts)
    pairs = [(i, j) for i in range(90) for j in range(i) if _jaccard(texts[i], texts[j]) >= 0.8]
    assert len(pairs) >= 15
    assert all(groups[i] == groups[j] for i, j in pairs)
    for i, group in enumerate(groups):  # a group is a chain of pairs at 0.7, so no member stands alone in it
        others = [j for j in range(90) if groups[j] == group and j != i]
        assert not others or max(_jaccard(texts[i], texts[j]) for j in others) >= 0.69


def test_a_shared_instruction_does_not_make_rows_alike() -> None:
    common = "You sort messages that reach the support of a shop. Answer with the topic of this one: "
    questions = ["where is it", "money back please", "it broke in two", "wrong street", "which tent is light"]
    texts = [common + question for question in questions] * 3
    assert near_groups(texts) == [0, 1, 2, 3, 4] * 3


@given(
    st.lists(
        st.sampled_from(["postal", "quartz", "ribbon", "saddle", "tomato", "velvet"]), min_size=2, max_size=60
    ),
    st.floats(0.2, 0.99),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_a_split_is_a_partition_with_groups_on_one_side(names: list[str], share: float, seed: int) -> None:
    rows = _rows([f"{name * 6} {i:03d}" for i, name in enumerate(names)])
    sizes = [names.count(name) for name in set(names)]
    fits = len(sizes) > 1 and sorted(sizes)[-1] <= round(share * len(names))
    train, held = split_validation(rows, share, seed=seed) if fits else ([], [])
    if fits:
        assert sorted(row.row for row in [*train, *held]) == [row.row for row in rows]
        assert train
        assert held
        assert len(held) <= round(share * len(names))
        assert not {str(row.prompt)[:6] for row in train} & {str(row.prompt)[:6] for row in held}
        assert (train, held) == split_validation(rows, share, seed=seed)


def test_where_every_group_is_too_large_only_equal_questions_stay_together() -> None:
    names = ["able", "baker", "castle", "dinner", "eagle", "forest", "garden", "hotel", "island", "jacket"]
    rows = _rows([f"Tell me all that you know about the word {name}, please, in short" for name in names] * 2)
    train, held = split_validation(rows, 0.2, seed=3)
    assert len(held) == 4
    assert not {row.prompt for row in train} & {row.prompt for row in held}


def test_the_share_is_met_where_rows_are_single() -> None:
    rng = random.Random(1)
    rows = _rows(["".join(rng.choices("abcdefghijklmnop ", k=60)) for _ in range(100)])
    assert [len(part) for part in split_validation(rows, 0.1, seed=17)] == [90, 10]
    assert [len(part) for part in split_validation(rows, 0.001, seed=17)] == [99, 1]
    assert [len(part) for part in split_validation(rows, 0.999, seed=17)] == [1, 99]
    assert split_validation(rows, 0.1, seed=17) != split_validation(rows, 0.1, seed=18)


def test_a_chat_is_compared_by_its_questions_not_by_its_system_prompt() -> None:
    rows = [
        Conversation(
            row=i,
            messages=[
                {"role": "system", "content": "A long system prompt that every row of this file shares."},
                {"role": "user", "content": text},
                {"role": "assistant", "content": "yes"},
            ],
        )
        for i, text in enumerate(["Is the shop open?", "Do you sell tents?"], start=1)
    ]
    train, held = split_validation(rows, 0.5, seed=0)
    assert len(train) == len(held) == 1


def test_a_file_or_nothing(tmp_path: Path) -> None:
    rows = _rows(["a", "b"])
    (tmp_path / "v.jsonl").write_text(json.dumps({"text": "held"}), encoding="utf-8")
    assert split_validation(rows, tmp_path / "v.jsonl", seed=0) == (rows, [Conversation(row=1, text="held")])
    assert split_validation(rows, None, seed=0) == (rows, [])
    with pytest.raises(DataError, match="No file"):
        split_validation(rows, tmp_path / "w.jsonl", seed=0)
    with pytest.raises(DataError, match="1 training rows cannot be set aside"):
        split_validation(rows[:1], 0.5, seed=0)
    with pytest.raises(DataError, match="3 training rows cannot be set aside"):
        split_validation(_rows(["same"] * 3), 0.5, seed=0)
