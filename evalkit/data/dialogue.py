"""Conversations of several turns: what a candidate is asked next, and what came of it.

A script is what the user says, in order, after a system prompt where there is one. A user's turn that an assistant
message follows has its answer given (as the attack ``multi_turn`` writes them); every other one is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.records import Message

__all__ = ["answers_as_text", "as_spoken", "faults_of", "turns_asked"]


def turns_asked(script: Sequence[Message]) -> int:
    """Return how many turns of a script the candidate answers.

    >>> turns_asked([{"role": "user", "content": "Hi"}, {"role": "user", "content": "Bye"}])
    2
    """
    return sum(_asked(script, place) for place in range(len(script)))


def as_spoken(script: Sequence[Message], answers: Sequence[str]) -> list[Message]:
    """Return the conversation up to the next turn that has no answer; the whole of it where all have one.

    Args:
        script: The user's turns.
        answers: The candidate's, to the first turns that are asked.

    >>> script = [Message(role="user", content="Hi"), Message(role="user", content="Bye")]
    >>> [turn["content"] for turn in as_spoken(script, ["Hello."])]
    ['Hi', 'Hello.', 'Bye']
    """
    spoken: list[Message] = []
    left = list(answers)
    for place, message in enumerate(script):
        spoken.append(message)
        if _asked(script, place):
            if not left:
                break
            spoken.append(Message(role="assistant", content=left.pop(0)))
    return spoken


def answers_as_text(answers: Sequence[str]) -> str:
    """Return all answers of a conversation as one text, to be read beside the user's turns.

    >>> print(answers_as_text(["Hello.", "Bye."]))
    [answer 1]
    Hello.
    <BLANKLINE>
    [answer 2]
    Bye.
    """
    if len(answers) == 1:
        return answers[0]
    return "\n\n".join(f"[answer {number}]\n{answer}" for number, answer in enumerate(answers, start=1))


def faults_of(script: Sequence[Message]) -> str | None:
    """Say why messages are no script; None where they are.

    >>> faults_of([{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be kind."}])
    'a system message comes after the first turn'
    """
    roles = [message["role"] for message in script]
    strange = [role for role in roles if role not in ("system", "user", "assistant")]
    if strange:
        return f"the role {strange[0]!r} is none of system, user and assistant"
    if "user" not in roles:
        return "the user says nothing"
    if "system" in roles[1:]:
        return "a system message comes after the first turn"
    if roles[-1] == "assistant":
        return "it ends with the assistant: the last turn is the user's"
    after = [before for before, role in zip(["", *roles], roles, strict=False) if role == "assistant"]
    if any(before != "user" for before in after):
        return "an assistant message does not follow a turn of the user"
    return None


def _asked(script: Sequence[Message], place: int) -> bool:
    if script[place]["role"] != "user":
        return False
    return place + 1 == len(script) or script[place + 1]["role"] != "assistant"
