"""Many answers and ratings by packed passes: prefixes once, slots that are refilled, nothing padded.

Prompts are merged into a tree of runs. A pass computes the runs that are next, whatever they belong to, side by side;
answers are then written one token a pass, each in a slot that the next prompt takes as soon as it is free. A pass that
does not fit in memory is halved and tried again; nothing that was written is lost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from evalkit.models.decoding import Answer, Draw, draw_tokens
from evalkit.models.layouts import Slots
from evalkit.models.limits import Limits
from evalkit.models.loading import Base
from evalkit.models.memory import free_bytes, free_memory, out_of_memory
from evalkit.models.packed import Packed
from evalkit.models.trie import Run, chain, merge_prompts

__all__ = ["Writer"]


@dataclass(eq=False, slots=True)
class _Group:
    """Answers that start from one prompt: its leaf, and those of them that are to be written from here."""

    leaf: Run
    answers: list[Answer]


@dataclass(eq=False, slots=True)
class _Row:
    """What is in a slot."""

    answer: Answer
    run: Run


class Writer:
    """Writes answers.

    Args:
        base: The model.
        engine: Its packed passes.
        limits: How much at once.
        ready: Called before every pass: puts the right adapter on, whatever was done since the last yield.
        groups: Answers by prompt: those of a group have one.
    """

    def __init__(
        self,
        base: Base,
        engine: Packed,
        limits: Limits,
        ready: Callable[[], None],
        groups: Sequence[Sequence[Answer]],
    ) -> None:
        self._base, self._engine, self._limits, self._ready = base, engine, limits, ready
        self._waiting: deque[_Group] = deque()
        prompts, owners = [answers[0].prompt for answers in groups], [answers[0].owner for answers in groups]
        for index, leaf in merge_prompts(prompts, owners=owners):
            for run in chain(leaf):
                run.users += len(groups[index]) - 1
            self._waiting.append(_Group(leaf, list(groups[index])))
        self._slots, self._rows = Slots(), list[_Row]()
        self._most_slots, self._most_tokens = limits.slots, limits.tokens
        self._key_bytes = 0  # of one token, known after the first pass
        self._free = free_bytes(base.device) * limits.memory

    def run(self) -> Iterator[Answer]:
        """Yield every answer as soon as it is finished."""
        while self._waiting or self._rows:
            if self._waiting and self._refillable():
                yield from self._begin()
            elif self._rows:
                yield from self._advance()

    def _refillable(self) -> bool:
        """Whether enough slots are free for a pass over prompts: a few at a time cost as much as many."""
        free = self._most_slots - len(self._rows)
        first = self._waiting[0]
        if not self._rows:
            return True
        return free >= max(
            1, self._most_slots // 8, min(len(first.answers), self._most_slots)
        ) and self._fits(first)

    def _fits(self, group: _Group, others: int = 0) -> bool:
        """Whether the keys and values of all slots have room, were each as long as the longest."""
        rows = [(row.run, row.answer) for row in self._rows] + [(group.leaf, a) for a in group.answers]
        longest = max(sum(len(each.ids) for each in run.own()) + answer.limit for run, answer in rows)
        return (len(rows) + others) * longest * self._key_bytes <= self._free

    def _begin(self) -> Iterator[Answer]:
        """Compute the prompts that are next, and write the first token of each answer."""
        clock = time.perf_counter()
        groups, runs = self._take()
        try:
            self._ready()
            logits = self._engine.run(runs, [(group.leaf, [-1]) for group in groups], keep=runs)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._waiting.extendleft(reversed(groups))
            yield from self._give_back(sum(len(run.ids) for run in runs))
            return
        if not self._key_bytes:
            held = runs[0].held or {}
            self._key_bytes = sum(t.nbytes for pair in held.values() for t in pair) // len(runs[0].ids)
        answers = [answer for group in groups for answer in group.answers]
        index = [i for i, group in enumerate(groups) for _ in group.answers]
        finished = self._draw(logits[index], answers) if answers else []
        for answer in answers:
            answer.seconds += (time.perf_counter() - clock) / len(answers)
        self._slots.reserve(sum(answer.finish is None for answer in answers))
        for group in groups:
            self._seat(group)
        yield from finished

    def _take(self) -> tuple[list[_Group], list[Run]]:
        """Take groups for one pass and the runs they need; no group where the first one's are too much for a pass."""
        groups: list[_Group] = []
        runs: dict[Run, None] = {}
        tokens = answers = 0
        while self._waiting:
            group = self._waiting[0]
            new = [run for run in chain(group.leaf) if run.held is None and run not in runs][::-1]
            tokens += sum(len(run.ids) for run in new)
            crowded = len(self._rows) + answers + len(group.answers) > self._most_slots
            if groups and (tokens > self._most_tokens or crowded or not self._fits(group, answers)):
                break
            if tokens > self._most_tokens:
                return [], self._first_of(new)
            groups.append(self._waiting.popleft())
            answers += len(group.answers)
            runs.update(dict.fromkeys(new))
        return groups, list(runs)

    def _first_of(self, runs: list[Run]) -> list[Run]:
        """As much of the beginning of one long prompt as a pass takes."""
        taken: list[Run] = []
        room = self._most_tokens
        for run in runs:
            if len(run.ids) > room:
                return [*taken, run.cut(room)] if room else taken
            taken.append(run)
            room -= len(run.ids)
        return taken

    def _seat(self, group: _Group) -> None:
        """Give those of a prompt's answers that go on a slot each, with the keys that are theirs alone."""
        own, leaf = group.leaf.own(), group.leaf
        above = own[0].above if own else leaf
        for answer in group.answers:
            if answer.finish is None:
                self._slots.add(above, own)
                self._rows.append(_Row(answer, leaf))
        for run in own:
            run.held = None
        for answer in group.answers:
            if answer.finish is not None:
                leaf.release()

    def _advance(self) -> Iterator[Answer]:
        """Write one token more of every answer in a slot."""
        clock = time.perf_counter()
        answers = [row.answer for row in self._rows]
        try:
            self._ready()
            logits = self._engine.step(self._slots, [answer.tokens[-1] for answer in answers])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            yield from self._shrink()
            return
        finished = self._draw(logits, answers)
        share = (time.perf_counter() - clock) / len(answers)
        for answer in answers:
            answer.seconds += share
        for place in reversed(range(len(self._rows))):
            if self._rows[place].answer.finish is not None:
                self._leave(place).run.release()
        yield from finished

    def _draw(self, logits: torch.Tensor, answers: Sequence[Answer]) -> list[Answer]:
        """Add the next token to each answer; return those that end with it."""
        for answer, draw in zip(answers, draw_tokens(logits, answers), strict=True):
            if draw.close and self._base.dtype == "fp32":
                draw = self._settled(answer, draw)
            answer.take(draw, self._base.tokenizer)
        return [answer for answer in answers if answer.finish is not None]

    def _settled(self, answer: Answer, draw: Draw) -> Draw:
        """Draw a token again from a pass over this answer alone.

        Rounding differs with what else is in a pass. Where it could decide, this pass decides instead, which is the
        same in every batch.
        """
        text = Run([*answer.prompt, *answer.tokens], owner=answer.owner)
        try:
            return draw_tokens(self._engine.run([text], [(text, [-1])]), [answer])[0]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return draw

    def _leave(self, place: int) -> _Row:
        """Empty a slot; the last one takes its place."""
        row = self._rows[place]
        self._slots.remove(place)
        self._rows[place] = self._rows[-1]
        self._rows.pop()
        return row

    def _give_back(self, tokens: int) -> Iterator[Answer]:
        """A pass over this many tokens of prompts did not fit: take half as many from now on."""
        free_memory()
        if tokens > 1:
            self._most_tokens = tokens // 2
        elif self._rows:  # when there are fewer answers it may fit
            self._most_slots = max(1, len(self._rows) // 2)
        else:
            group = self._waiting.popleft()
            for answer in group.answers:
                group.leaf.release()
                yield answer.fail(_too_much(answer))

    def _shrink(self) -> Iterator[Answer]:
        """A pass over the slots did not fit: half of the answers wait, with what is written of them."""
        free_memory()
        if len(self._rows) == 1:
            row = self._leave(0)
            row.run.release()
            yield row.answer.fail(_too_much(row.answer))
            return
        self._most_slots = len(self._rows) // 2
        while len(self._rows) > self._most_slots:
            above = self._slots.above[-1]
            answer = self._leave(len(self._rows) - 1).answer
            rest = [*answer.prompt, *answer.tokens][0 if above is None else above.end :]
            self._waiting.appendleft(_Group(Run(rest, above, users=1, owner=answer.owner), [answer]))


def _too_much(answer: Answer) -> str:
    return f"out of memory with {len(answer.prompt) + answer.limit} tokens"
