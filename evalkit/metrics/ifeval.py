"""The 25 instructions of IFEval (Zhou et al. 2023), checked as its own script checks them.

A row of IFEval carries ``instruction_id_list`` and ``kwargs``, one set of arguments an instruction. Where the script
needs downloads or reads patterns, the checks here differ: sentences are counted as ``format_follow`` counts them (the
script: NLTK's Punkt), words in capitals by a pattern (NLTK's tokenizer), the language is told by
``evalkit.metrics.languages`` (langdetect), and keywords are plain words, not regular expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from evalkit.errors import nearest
from evalkit.metrics.languages import LANGUAGES, detect_language

__all__ = ["INSTRUCTIONS", "ifeval_checks", "sentences"]

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")


def sentences(text: str) -> int:
    """Number of sentences, ended by ``.``, ``!``, ``?`` or their full-width forms.

    >>> sentences("One. Two! Is it 3.5?")
    3
    """
    return len([part for part in re.split(r"[.!?]+(?=\s|$)|[。！？]+", text) if part.strip()])


def _compared(count: int, limit: int, relation: str | None) -> bool:
    return count < limit if relation == "less than" else count >= limit


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _occurrences(word: str, text: str) -> int:
    return len(re.findall(re.escape(word.strip()), text, re.IGNORECASE))


def _letters(text: str, arguments: Mapping[str, Any]) -> bool:
    count = text.lower().count(str(arguments["letter"]).lower())
    return _compared(count, arguments["let_frequency"], arguments.get("let_relation"))


def _language(text: str, arguments: Mapping[str, Any]) -> bool:
    return detect_language(text) == str(arguments["language"])


def _no_forbidden_word(text: str, arguments: Mapping[str, Any]) -> bool:
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in arguments["forbidden_words"]
    )


def _paragraphs(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner_empty = any(not part for part in parts[1:-1])
    return not inner_empty and sum(map(bool, parts)) == int(arguments["num_paragraphs"])


def _first_word(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = text.split("\n\n")
    filled, place = sum(bool(part.strip()) for part in parts), arguments["nth_paragraph"]
    if place > filled or not parts[place - 1].strip():
        return False
    word = parts[place - 1].split()[0].lstrip("'\"")
    word = re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower()
    return filled == int(arguments["num_paragraphs"]) and word == str(arguments["first_word"]).lower()


def _postscript(text: str, arguments: Mapping[str, Any]) -> bool:
    marker = str(arguments["postscript_marker"]).strip().lower()
    dotted = {"p.p.s": r"p\.\s?p\.\s?s", "p.s.": r"p\.\s?s\."}
    return (
        re.search(rf"\s*{dotted.get(marker, re.escape(marker))}.*$", text.lower(), re.MULTILINE) is not None
    )


def _bullets(text: str, arguments: Mapping[str, Any]) -> bool:
    stars = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == int(arguments["num_bullets"])


def _highlights(text: str, arguments: Mapping[str, Any]) -> bool:
    single = [found for found in re.findall(r"\*[^\n*]*\*", text) if found.strip("*").strip()]
    double = [found for found in re.findall(r"\*\*[^\n*]*\*\*", text) if found.strip("*").strip()]
    return len(single) + len(double) >= int(arguments["num_highlights"])


def _sections(text: str, arguments: Mapping[str, Any]) -> bool:
    splitter = re.escape(str(arguments["section_spliter"]).strip())
    return len(re.split(rf"\s?{splitter}\s?\d+\s?", text)) - 1 >= int(arguments["num_sections"])


def _json(text: str, arguments: Mapping[str, Any]) -> bool:
    bare = text.strip()
    for fence in _FENCES:
        bare = bare.removeprefix(fence)
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, arguments: Mapping[str, Any]) -> bool:
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in text.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def _capital_words(text: str, arguments: Mapping[str, Any]) -> bool:
    capital = sum(word.isupper() for word in re.findall(r"\w+(?:[-'’]\w+)*|[^\w\s]", text))
    return _compared(capital, arguments["capital_frequency"], arguments.get("capital_relation"))


def _quoted(text: str, arguments: Mapping[str, Any]) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def _in_english(text: str) -> bool:
    return detect_language(text.lower()) in ("en", None) or not any(letter.isalpha() for letter in text)


INSTRUCTIONS: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, _: text.isupper() and _in_english(text),
    "change_case:english_lowercase": lambda text, _: text.islower() and _in_english(text),
    "combination:repeat_prompt": lambda text, given: (
        text.strip().lower().startswith(str(given["prompt_to_repeat"]).strip().lower())
    ),
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": lambda text, _: any(option in text for option in _OPTIONS),
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": lambda text, given: all(_occurrences(word, text) for word in given["keywords"]),
    "keywords:forbidden_words": _no_forbidden_word,
    "keywords:frequency": lambda text, given: _compared(
        _occurrences(str(given["keyword"]), text), given["frequency"], given.get("relation")
    ),
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_sentences": lambda text, given: _compared(
        sentences(text), given["num_sentences"], given.get("relation")
    ),
    "length_constraints:number_words": lambda text, given: _compared(
        len(_words(text)), given["num_words"], given.get("relation")
    ),
    "punctuation:no_comma": lambda text, _: "," not in text,
    "startend:end_checker": lambda text, given: (
        text.strip().strip('"').lower().endswith(str(given["end_phrase"]).strip().lower())
    ),
    "startend:quotation": _quoted,
}
"""IFEval's name of an instruction → whether a text follows it, given its arguments."""


def ifeval_checks(row: Mapping[str, Any]) -> list[Callable[[str], bool]] | str:
    """The checks of one row of IFEval, or what is wrong with it.

    Args:
        row: With ``instruction_id_list`` and ``kwargs``.

    >>> row = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    >>> [check("No, not so.") for check in ifeval_checks(row)]
    [False]
    """
    names, arguments = row["instruction_id_list"], row["kwargs"]
    if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments):
        return "instruction_id_list and kwargs must be lists of one length"
    checks: list[Callable[[str], bool]] = []
    for name, given in zip(names, arguments, strict=True):
        if name not in INSTRUCTIONS:
            return f"unknown instruction {name!r}{nearest(str(name), INSTRUCTIONS)}"
        settings = {key: value for key, value in (given or {}).items() if value is not None}
        if name == "language:response_language" and settings.get("language") not in LANGUAGES:
            return f"the language {settings.get('language')!r} cannot be told from others here"
        check = partial(_follows, INSTRUCTIONS[name], settings)
        try:
            check("A word.")
        except (KeyError, TypeError, AttributeError) as error:
            return f"instruction {name!r} lacks an argument, or has one of the wrong type: {error}"
        checks.append(check)
    return checks


def _follows(
    check: Callable[[str, Mapping[str, Any]], bool], arguments: Mapping[str, Any], text: str
) -> bool:
    return bool(text.strip()) and check(text, arguments)
