"""How likely a model finds given continuations: all choices of many prompts as trees, side by side in one pass."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from evalkit.models.limits import Limits
from evalkit.models.memory import free_memory, out_of_memory
from evalkit.models.packed import Packed
from evalkit.models.trie import Run, branches, chain, merge_prompts

__all__ = ["Rated", "Rater", "rolling_windows"]


@dataclass(slots=True)
class Rated:
    """What was found for one prompt.

    Attributes:
        index: Its place among the prompts.
        values: Sum of the natural log-probabilities of each continuation's tokens.
        greedy: Whether each continuation is what greedy decoding would write.
        seconds: Its share of the time of its passes.
        error: Why there are no values.
    """

    index: int
    values: list[float]
    greedy: list[bool]
    seconds: float = 0.0
    error: str | None = None


@dataclass(eq=False, slots=True)
class _Part:
    """What of a prompt is rated in one pass.

    Attributes:
        index: Of the prompt.
        leaf: The run it ends with.
        wanted: Runs and the indices of tokens after which tokens are rated.
        targets: For each logit row wanted: (token, continuation) that are rated there.
        last: Nothing of the prompt follows.
    """

    index: int
    leaf: Run
    wanted: list[tuple[Run, list[int]]]
    targets: list[list[tuple[int, int]]]
    last: bool


def rolling_windows(ids: Sequence[int], first: int, length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cut a text into windows so that every token is predicted once, with all the context that fits.

    The windows of lm-evaluation-harness (``loglikelihood_rolling``), so that perplexities compare: the first
    starts after the start token, later ones after one token of context, and the last is moved left until full.

    Args:
        ids: The text.
        first: The id that the first token follows: the start token, or the end token where there is none.
        length: Most tokens of a window.

    Yields:
        Inputs and targets; the targets belong to the last ``len(targets)`` inputs.

    >>> list(rolling_windows([1, 2, 3, 4, 5], 0, 3))
    [([0, 1, 2], [1, 2, 3]), ([2, 3, 4], [4, 5])]
    """
    tokens = list(ids)
    done = min(length, len(tokens))
    if tokens:
        yield [first, *tokens[: done - 1]], tokens[:done]
    while done < len(tokens):
        count = min(len(tokens) - done, length)
        end = done + count
        yield tokens[max(end - length - 1, 0) : end - 1], tokens[done:end]
        done = end


class Rater:
    """Rates continuations of prompts.

    Args:
        engine: The model's packed passes.
        limits: How much is computed at once.
        rows: Most logit rows of a pass.
        ready: Called before every pass: puts the right adapter on, whatever was done since the last yield.
        items: Prompts and their continuations, as ids; none empty.
        owners: The adapter that rates each; None: the base alone.
    """

    def __init__(
        self,
        engine: Packed,
        limits: Limits,
        rows: int,
        ready: Callable[[], None],
        items: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
        owners: Sequence[str | None],
    ) -> None:
        self._engine, self._ready, self._items, self._owners = engine, ready, items, owners
        self._most, self._rows = limits.tokens, rows
        self._found = [Rated(i, *_nothing(continuations)) for i, (_, continuations) in enumerate(items)]
        self._waiting = deque(
            part
            for index, leaf in merge_prompts([prompt for prompt, _ in items], owners=owners)
            for part in _parts(index, leaf, items[index][1], rows)
        )

    def run(self) -> Iterator[Rated]:
        """Yield each prompt as soon as all of its continuations are rated."""
        while self._waiting:
            clock = time.perf_counter()
            parts, runs = self._take()
            try:
                self._ready()
                wanted = [pair for part in parts for pair in part.wanted]
                _add(self._engine.run(runs, wanted, keep=_needed(parts, runs)), parts, self._found)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                free_memory()
                self._waiting.extendleft(reversed(parts))
                yield from self._give_back(parts, sum(len(run.ids) for run in runs))
                continue
            share = (time.perf_counter() - clock) / max(1, len(parts))
            for part in parts:
                part.leaf.release()
                self._found[part.index].seconds += share
                if part.last:
                    yield self._found[part.index]

    def _take(self) -> tuple[list[_Part], list[Run]]:
        """Take parts for one pass and the runs they need; no part where the first one's are too much for a pass."""
        parts: list[_Part] = []
        runs: dict[Run, None] = {}
        tokens = rows = 0
        while self._waiting:
            part = self._waiting[0]
            above = [run for run in chain(part.leaf) if run.held is None and run not in runs][::-1]
            new = dict.fromkeys([*above, *(run for run, _ in part.wanted)])
            tokens += sum(len(run.ids) for run in new)
            rows += len(part.targets)
            if parts and (tokens > self._most or rows > self._rows):
                break
            beyond = sum(len(run.ids) for run in new) - self._most
            if beyond > 0 and len(part.targets) == 1 and sum(len(run.ids) for run in above) > 1:
                # Only a prompt is rated here: as much of its beginning as a pass takes.
                first = above[0]
                return [], [first.cut(self._most) if len(first.ids) > self._most else first]
            parts.append(self._waiting.popleft())
            runs.update(new)
        return parts, list(runs)

    def _give_back(self, parts: Sequence[_Part], tokens: int) -> Iterator[Rated]:
        """A pass over this many tokens did not fit: take half as many, and rate half as many rows, from now on."""
        index = self._waiting[0].index
        prompt, continuations = self._items[index]
        if tokens > 1:
            self._most = tokens // 2
            rows = max((len(part.targets) for part in parts), default=1)
            if len(parts) > 1 or rows == 1:
                return
            # One part alone: its prompt is rated again from the beginning, in smaller ones.
            self._rows = max(1, rows // 2)
            self._drop(index)
            self._found[index].values, self._found[index].greedy = _nothing(continuations)
            again = Run(prompt, users=1, owner=self._owners[index])
            self._waiting.extendleft(reversed(_parts(index, again, continuations, self._rows)))
            return
        self._drop(index)
        longest = max(map(len, continuations))
        self._found[index].error = f"out of memory with {len(prompt) + longest} tokens"
        yield self._found[index]

    def _drop(self, index: int) -> None:
        for part in self._waiting:
            if part.index == index:
                part.leaf.release()
        self._waiting = deque(part for part in self._waiting if part.index != index)


def _nothing(continuations: Sequence[Sequence[int]]) -> tuple[list[float], list[bool]]:
    """Sums and flags before any token is rated."""
    return [0.0] * len(continuations), [True] * len(continuations)


def _parts(index: int, leaf: Run, continuations: Sequence[Sequence[int]], rows: int) -> list[_Part]:
    """Cut what is rated after one prompt into parts of few logit rows: the first tokens, then the others."""
    firsts = [(continuation[0], i) for i, continuation in enumerate(continuations)]
    parts = [_Part(index, leaf, [(leaf, [-1])], [firsts], last=False)]
    if len(continuations) == 1:
        parts += _stretches(index, leaf, continuations[0], 0, rows)
    else:
        parts += _trees(index, leaf, continuations, rows)
    parts[-1].last = True
    for part in parts[1:]:  # the leaf has one user already, for the first part
        for run in chain(part.leaf):
            run.users += 1
    return parts


def _trees(index: int, leaf: Run, continuations: Sequence[Sequence[int]], rows: int) -> Iterator[_Part]:
    order = sorted(
        (i for i, each in enumerate(continuations) if len(each) > 1), key=lambda i: list(continuations[i])
    )
    while order:
        sizes = list(
            accumulate(len(continuations[i]) - 1 for i in order)
        )  # at most: shared beginnings are run once
        count = max(1, bisect_right(sizes, rows))
        chosen, order = order[:count], order[count:]
        if sizes[0] > rows:
            yield from _stretches(index, leaf, continuations[chosen[0]], chosen[0], rows)
            continue
        tokens, parents, after = branches([continuations[i] for i in chosen])
        targets: list[list[tuple[int, int]]] = [[] for _ in tokens]
        for i, places in zip(chosen, after, strict=True):
            for token, place in zip(continuations[i][1:], places[1:], strict=True):
                targets[place].append((token, i))
        wanted = [(Run(tokens, leaf, parents), list(range(len(tokens))))]
        yield _Part(index, leaf, wanted, targets, last=False)


def _stretches(index: int, leaf: Run, continuation: Sequence[int], number: int, rows: int) -> Iterator[_Part]:
    """One continuation as stretches that follow each other, each rated after the tokens before it."""
    above, inputs = leaf, continuation[:-1]
    for start in range(0, len(inputs), rows):
        above = Run(inputs[start : start + rows], above)
        targets = [[(token, number)] for token in continuation[start + 1 : start + 1 + rows]]
        yield _Part(index, above, [(above, list(range(len(above.ids))))], targets, last=False)


def _needed(parts: Sequence[_Part], runs: Sequence[Run]) -> list[Run]:
    """The runs of a pass whose keys a later pass needs."""
    users = Counter(run for part in parts for run in chain(part.leaf))
    return [run for run in runs if run.users > users[run]]


def _add(logits: torch.Tensor, parts: Sequence[_Part], found: Sequence[Rated]) -> None:
    """Add the log-probabilities of a pass to the sums."""
    rated = [(part.index, each) for part in parts for each in part.targets]  # a logit row each
    pairs = [(row, token, index, i) for row, (index, targets) in enumerate(rated) for token, i in targets]
    rows = torch.tensor([pair[0] for pair in pairs], dtype=torch.long, device=logits.device)
    tokens = torch.tensor([pair[1] for pair in pairs], dtype=torch.long, device=logits.device)
    values = logits[rows, tokens] - logits.logsumexp(-1)[rows]
    best = (logits.argmax(-1)[rows] == tokens).tolist()
    for (_, _, index, i), value, first in zip(pairs, values.double().tolist(), best, strict=True):
        found[index].values[i] += value
        found[index].greedy[i] &= first
