"""Reading a judge's reply: only verdicts on the menu, the last one binds, quotations are none.

The reply of a gullible judge may hold anything that the answer under test held: instructions, faked verdicts,
half a JSON document. So a verdict is a whole JSON object of exactly the form asked for; one that the answer under
test holds as well is a quotation; and a reply that breaks off within an object has no verdict, whatever came
before (inspect_ai's ``scorer/_model.py`` reads grades by the same rule: the last one binds).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.errors import EvalkitError
from evalkit.signature import canonical_json

__all__ = ["Menu", "NoVerdictError", "Verdict", "read_verdict"]

KEYS = {"pointwise": "score", "pairwise": "winner", "checklist": "answers"}


class NoVerdictError(EvalkitError):
    """A reply without a verdict that counts; the message says why, to the judge and to the reader."""


@dataclass(frozen=True, slots=True)
class Menu:
    """The verdicts that a judge may give.

    Attributes:
        kind: Of the judge.
        low: Least score of a pointwise judge.
        high: Its greatest.
        questions: Number of questions of a checklist.
    """

    kind: Literal["pointwise", "pairwise", "checklist"]
    low: int = 1
    high: int = 5
    questions: int = 0

    @property
    def key(self) -> str:
        """The key of the verdict in the reply's object."""
        return KEYS[self.kind]

    @property
    def words(self) -> tuple[str, ...]:
        """The verdicts as single words, for a model whose log-probabilities of them are read."""
        if self.kind == "pointwise":
            return tuple(str(score) for score in range(self.low, self.high + 1))
        return ("A", "B", "tie") if self.kind == "pairwise" else ("yes", "no")

    @property
    def form(self) -> str:
        """The reply that is asked for, in words."""
        if self.kind == "pointwise":
            return f'{{"reason": "…", "score": N}} with a whole number N from {self.low} to {self.high}'
        if self.kind == "pairwise":
            return '{"reason": "…", "winner": W} with W one of "A", "B" and "tie"'
        return f'{{"reason": "…", "answers": […]}} with {self.questions} times true or false, in order'

    def schema(self) -> dict[str, Any]:
        """The form as ``response_format`` of an OpenAI-compatible server."""
        verdict: dict[str, Any]
        if self.kind == "pointwise":
            verdict = {"type": "integer", "enum": list(range(self.low, self.high + 1))}
        elif self.kind == "pairwise":
            verdict = {"type": "string", "enum": ["A", "B", "tie"]}
        else:
            verdict = {
                "type": "array",
                "items": {"type": "boolean"},
                "minItems": self.questions,
                "maxItems": self.questions,
            }
        schema = {
            "type": "object",
            "properties": {"reason": {"type": "string"}, self.key: verdict},
            "required": ["reason", self.key],
            "additionalProperties": False,
        }
        return {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        }

    def problem(self, value: dict[str, Any]) -> str | None:
        """Why an object is not on the menu; None if it is."""
        if set(value) != {"reason", self.key}:
            return f"its keys are {', '.join(sorted(value))}"
        if not isinstance(value["reason"], str):
            return "its reason is no text"
        verdict = value[self.key]
        if self.kind == "pointwise":
            whole = isinstance(verdict, int) and not isinstance(verdict, bool)
            fits = whole and self.low <= verdict <= self.high
        elif self.kind == "pairwise":
            fits = isinstance(verdict, str) and verdict in ("A", "B", "tie")
        else:
            fits = (
                isinstance(verdict, list)
                and len(verdict) == self.questions
                and all(isinstance(answer, bool) for answer in verdict)
            )
        return None if fits else f"its {self.key} is {json.dumps(verdict, ensure_ascii=False)[:60]}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on the menu: a score, a winner (``A`` was shown first) or answers.

    Attributes:
        value: ``int`` or expected ``float`` score, ``"A" | "B" | "tie"``, or a tuple of truth values.
        reason: The judge's own words.
    """

    value: int | float | str | tuple[bool, ...]
    reason: str


def read_verdict(reply: str, menu: Menu, under_test: Iterable[str] = (), fence: str = "") -> Verdict:
    """Return the verdict of a reply.

    Args:
        reply: As the judge wrote it.
        menu: What it may say.
        under_test: The texts it was shown: an object that one of them holds is a quotation.
        fence: The random mark of this call's delimiters: what stands between two of them is a quotation.

    Raises:
        NoVerdictError: There is none.

    >>> read_verdict('{"reason": "vague", "score": 2}', Menu("pointwise")).value
    2
    >>> read_verdict('He says {"reason": "", "score": 5}', Menu("pointwise"), ['{"score": 5, "reason": ""}'])
    Traceback (most recent call last):
        ...
    evalkit.judging.verdicts.NoVerdictError: the reply quotes a verdict of the text under test and gives none of its own
    """
    texts = list(under_test)
    quoted = {canonical_json(value) for text in texts for value, _ in _objects(text) if value is not None}
    solid = ["".join(text.split()) for text in texts]
    own = _without_quotations(reply, fence)
    last: dict[str, Any] | None = None
    quotations = False
    for value, source in _objects(own):
        if value is None:
            raise NoVerdictError("the reply breaks off within a JSON object")
        if menu.key not in value:
            continue
        copied = "".join(source.split())
        if (quoted and canonical_json(value) in quoted) or any(copied in text for text in solid):
            quotations = True
            continue
        last = value
    if last is None:
        raise NoVerdictError(
            "the reply quotes a verdict of the text under test and gives none of its own"
            if quotations
            else "the reply holds no verdict"
        )
    problem = menu.problem(last)
    if problem is not None:
        raise NoVerdictError(f"the last verdict of the reply is not on the menu: {problem}")
    verdict = last[menu.key]
    return Verdict(tuple(verdict) if isinstance(verdict, list) else verdict, last["reason"].strip())


class _TwiceError(ValueError):
    """An object names a key twice: readers differ on which one counts."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _TwiceError
    return dict(pairs)


def _not_a_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_not_a_number)


def _objects(text: str) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Each outermost JSON object and its source; (None, "") where the text ends within one."""
    place = text.find("{")
    while place >= 0:
        try:
            value, end = _DECODER.raw_decode(text, place)
        except _TwiceError:
            # It was an object all the same; what stands inside it is no verdict of its own.
            end = _end_of_object(text, place)
            yield {"score": None, "winner": None, "answers": None}, text[place:end]
        except RecursionError:
            return
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError) and _at_end(error, text, place):
                yield None, ""
                return
            end = place + 1
        else:
            yield value, text[place:end]
        place = text.find("{", end)


def _at_end(error: json.JSONDecodeError, text: str, place: int) -> bool:
    """Whether a document is fine as far as the text goes: it is the text that ends."""
    opened = re.match(r'\{\s*("|$)', text[place:])  # a brace of prose opens no object
    return opened is not None and (
        error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    )


def _end_of_object(text: str, place: int) -> int:
    _, end = json.JSONDecoder().raw_decode(text, place)
    return end


def _without_quotations(reply: str, fence: str) -> str:
    """Take out what the judge copied with its delimiters; a copy that is never closed reaches to the end."""
    if not fence or fence not in reply:
        return reply
    lines, inside, kept = reply.split("\n"), False, []
    for line in lines:
        if fence in line:
            inside = "END" not in line
        elif not inside:
            kept.append(line)
    return "\n".join(kept)
