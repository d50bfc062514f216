"""Expected values by hand: whether a reader would say that the instruction is followed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import get_metric
from evalkit.metrics.format_follow import RULES
from evalkit.metrics.languages import detect_language
from evalkit.records import Sample, Unscored

LETTER = "Dear Ada,\n\nyour refund is on its way. It takes two days!\n\nKind regards"


def score(text: str, target: Any, **settings: Any) -> Any:
    return get_metric("format_follow", **settings).score_text(Sample("1", "", target), text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "text", "follows", "breaks"),
    [
        ("min_words", "one two three", 3, 4),
        ("max_words", "one two three", 3, 2),
        ("min_sentences", "One. Two! Is it 3.5?", 3, 4),
        ("max_sentences", "One. Two! Is it 3.5?", 3, 2),
        ("max_sentences", "一つ。二つ！", 2, 1),
        ("min_paragraphs", LETTER, 3, 4),
        ("max_paragraphs", LETTER, 3, 2),
        ("keywords", LETTER, ["Refund", "two days"], ["fund"]),
        ("forbidden", LETTER, ["fund", "money"], ["REFUND"]),
        ("case", "ALL CAPITALS, 3 ÉÀ!", "upper", "lower"),
        ("case", "no capitals, 3 é!", "lower", "upper"),
        ("bullets", "- one\n* two\n  • three\n**bold**\n-not", 3, 4),
        ("json", '{"a": 1}', True, False),
        ("json", "{a: 1}", False, True),
        ("language", "Il gatto è sul tavolo e non si muove.", "it", "en"),
        ("starts_with", LETTER, "Dear ", "Hello"),
        ("ends_with", LETTER + "\n", "regards", "Yours"),
    ],
)
def test_every_rule(rule: str, text: str, follows: Any, breaks: Any) -> None:
    assert score(text, {rule: follows}) == 1
    assert score(text, {rule: breaks}) == 0


def test_every_rule_is_tested() -> None:
    tested = {row[0] for row in test_every_rule.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert tested == set(RULES)
    assert list(RULES) == sorted(RULES)


def test_levels() -> None:
    target = {"max_words": 5, "keywords": ["cat"], "case": "lower"}
    assert score("a cat Here", target) == 0
    assert score("a cat Here", target, level="instruction") == pytest.approx(2 / 3)
    with pytest.raises(MetricError, match="prompt, instruction; got 'all'"):
        get_metric("format_follow", level="all")


def test_loose_forgives_what_surrounds_an_answer() -> None:
    target = {"json": True}
    text = 'Sure, here it is:\n{"a": 1}\nAnything else?'
    assert (score(text, target), score(text, target, loose=True)) == (0, 1)
    bold = "**HELLO**"
    assert score(bold, {"starts_with": "HELLO"}) == 0
    assert score(bold, {"starts_with": "HELLO"}, loose=True) == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "the row has no target"),
        ({}, "the row has no target"),
        ("short", "the target must be an object of rules; got str"),
        ({"max_word": 3}, "Did you mean 'max_words'?"),
        ({"max_words": "3"}, "needs a value of type int; got '3'"),
        ({"max_words": True}, "needs a value of type int; got True"),
        ({"keywords": [1]}, "needs a list of texts; got [1]"),
        ({"case": "title"}, "must be one of upper, lower; got 'title'"),
        ({"language": "xx"}, "must be one of ar, bn"),
    ],
)
def test_unscored(target: Any, reason: str) -> None:
    found = score("text", target)
    assert isinstance(found, Unscored)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The committee has decided that it will not meet in August.", "en"),
        ("Der Ausschuss hat beschlossen, dass er im August nicht tagt.", "de"),
        ("Le comité a décidé de ne pas se réunir en août.", "fr"),
        ("El comité ha decidido que no se reúne en agosto.", "es"),
        ("O comité decidiu que não se reúne em agosto.", "pt"),
        ("Het comité heeft besloten dat het niet in augustus vergadert.", "nl"),
        ("Komitet zdecydował, że nie spotka się w sierpniu.", "pl"),
        ("Komite, ağustos ayında toplanmamaya karar verdi ve bu çok iyi.", "tr"),
        ("委员会决定八月不开会。", "zh"),
        ("委員会は八月に会議を開かないことを決めました。", "ja"),
        ("위원회는 8월에 회의를 열지 않기로 했다.", "ko"),
        ("Комитет решил не собираться в августе.", "ru"),
        ("Комітет вирішив не збиратися в серпні.", "uk"),
        ("قررت اللجنة عدم الاجتماع في أغسطس.", "ar"),
        ("समिति ने अगस्त में बैठक न करने का निर्णय लिया।", "hi"),
        ("1234 !!", None),
        ("", None),
        ("zzz qqq xxx", None),
    ],
)
def test_languages(text: str, language: str | None) -> None:
    assert detect_language(text) == language


@given(
    st.text(max_size=80),
    st.dictionaries(st.sampled_from(["min_words", "max_words", "bullets"]), st.integers(0, 9)),
)
def test_properties(text: str, target: dict[str, int]) -> None:
    if not target:
        return
    strict, share = score(text, target), score(text, target, level="instruction")
    assert strict == float(share == 1)
    assert 0 <= share <= 1
    assert score(text, target, loose=True) >= strict
    assert score(text, dict(reversed(target.items()))) == strict
