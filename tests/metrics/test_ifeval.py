"""IFEval's instructions: texts that follow and that break each, by the words of its own descriptions."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.metrics import get_metric
from evalkit.metrics.ifeval import INSTRUCTIONS
from evalkit.records import Sample, Unscored

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "I say NO to it",
        "Say no",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "less than"},
        "Say no",
        "SAY no",
    ),
    ("change_case:english_capital", {}, "IT IS THE END OF THE LINE.", "It is the END."),
    ("change_case:english_lowercase", {}, "it is the end of the line.", "It is the end."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "What is it?"}, "what is it? A cat.", "A cat."),
    ("combination:two_responses", {}, "One cat.\n******\nTwo cats.", "One cat.\n******\nOne cat."),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        "Dear [name], see [place].",
        "Dear [name].",
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Write!", "Bye. PS write"),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "Bye.\nP.P.S Write!",
        "Bye.\nP.S. Write!",
    ),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Perhaps."),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1 {"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n* two\n* three"),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*one* and *two*",
        "*one* and two",
    ),
    ("detectable_format:title", {}, "<<Cats>>\nThey purr.", "<Cats>\nThey purr."),
    ("keywords:existence", {"keywords": ["cat", "purr"]}, "Cats purr.", "Cats meow."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "Cats purr.", "A cat purrs."),
    (
        "keywords:frequency",
        {"keyword": "cat", "frequency": 2, "relation": "at least"},
        "Cat and cat.",
        "A cat.",
    ),
    (
        "keywords:letter_frequency",
        {"letter": "z", "let_frequency": 2, "let_relation": "at least"},
        "Zigzag",
        "Zen",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist nicht der Hund und die Katze.",
        "It is the dog.",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        'One.\n\n"Then, two.',
        "One.\n\nNow two.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        "One.",
        "One. Two.",
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        "one two three",
        "one, two",
    ),
    ("punctuation:no_comma", {}, "One and two.", "One, two."),
    (
        "startend:end_checker",
        {"end_phrase": "Any questions?"},
        'So be it. any questions?"',
        "Any questions? No.",
    ),
    ("startend:quotation", {}, '"So be it."', "So be it."),
]


def score(text: str, names: list[str], kwargs: list[Any], **settings: Any) -> Any:
    row = {"instruction_id_list": names, "kwargs": kwargs}
    return get_metric("format_follow", **settings).score_text(Sample("1", "", None, row), text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "arguments", "follows", "breaks"), CASES)
def test_every_instruction(name: str, arguments: dict[str, Any], follows: str, breaks: str) -> None:
    padded = {
        "num_words": None,
        **arguments,
    }  # rows of the Hub carry every argument, null where it is not used
    assert score(follows, [name], [padded]) == 1
    assert score(breaks, [name], [padded]) == 0
    assert score("", [name], [padded]) == 0


def test_every_instruction_is_tested() -> None:
    assert {case[0] for case in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 25


def test_levels_and_loose() -> None:
    names, kwargs = ["punctuation:no_comma", "startend:end_checker"], [{}, {"end_phrase": "Bye."}]
    assert score("Well, then. Bye.", names, kwargs) == 0
    assert score("Well, then. Bye.", names, kwargs, level="instruction") == 0.5
    assert score("Sure, here:\nWell then. Bye.", names, kwargs, loose=True) == 1


@pytest.mark.parametrize(
    ("names", "kwargs", "reason"),
    [
        (
            ["punctuation:no_coma"],
            [{}],
            "unknown instruction 'punctuation:no_coma' Did you mean 'punctuation:no_comma'?",
        ),
        (
            ["language:response_language"],
            [{"language": "mr"}],
            "the language 'mr' cannot be told from others here",
        ),
        (["keywords:frequency"], [{"keyword": "cat"}], "instruction 'keywords:frequency' lacks an argument"),
        (["punctuation:no_comma"], [], "instruction_id_list and kwargs must be lists of one length"),
    ],
)
def test_what_cannot_be_checked_is_unscored(names: list[str], kwargs: list[Any], reason: str) -> None:
    found = score("text", names, kwargs)
    assert isinstance(found, Unscored)
    assert found.reason.startswith(reason)
