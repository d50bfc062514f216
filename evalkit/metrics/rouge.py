"""ROUGE-1, -2, -L and -Lsum (Lin 2004): the values of Google's ``rouge-score`` 0.1.2.

Tokens are runs of a–z and 0–9 after lower-casing, as there, so a text in another script has none and scores
0. Lsum takes lines as sentences. Of several targets the one with the highest F counts. Longest common
subsequences are found on bit vectors (Crochemore et al. 2001; Hyyrö 2004): one word operation does 64 cells
of the table.
"""

from __future__ import annotations

import functools
import importlib
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar

from evalkit.metrics.base import NO_TARGET, TextMetric, one_of, targets
from evalkit.records import Sample, Score
from evalkit.signature import signature

__all__ = ["Rouge1", "Rouge2", "RougeL", "RougeLsum"]

Tokens = list[str]
_TOKEN = re.compile(r"[a-z0-9]+")


class _Rouge(TextMetric):
    """Overlap of an answer with a target, mean over samples: 0–1, higher is better.

    Args:
        measure: ``f1`` (default), ``precision`` or ``recall``.
        use_stemmer: Compare Porter stems of words longer than three letters.
    """

    slow: ClassVar[bool] = True

    def __init__(self, *, measure: str = "f1", use_stemmer: bool = False) -> None:
        self.place = ("f1", "precision", "recall").index(
            one_of(self.name, "measure", measure, ("f1", "precision", "recall"))
        )
        self.use_stemmer = use_stemmer
        self.stem = _stemmer() if use_stemmer else None

    @abstractmethod
    def overlap(self, target: str, answer: str) -> tuple[int, int, int]:
        """Units that agree, of the target, and of the answer."""

    def score_text(self, sample: Sample, text: str) -> Score:
        """Score against the best target; unscored without one."""
        accepted = targets(sample)
        if not accepted:
            return NO_TARGET
        # The first of equal F counts, as numpy's argmax in rouge-score.
        return max((_fpr(*self.overlap(target, text)) for target in accepted), key=lambda fpr: fpr[0])[
            self.place
        ]

    def signature(self) -> str:
        """Name, measure, stemmer and the version it equals."""
        measure = ("f1", "precision", "recall")[self.place]
        return signature(self.name, measure=measure, stemmer=self.use_stemmer, rouge_score="0.1.2")

    def tokens(self, text: str) -> Tokens:
        """Words of a text."""
        words = _TOKEN.findall(text.lower())
        if self.stem is None:
            return words
        return [self.stem(word) if len(word) > 3 else word for word in words]


class _RougeN(_Rouge):
    n: int

    def overlap(self, target: str, answer: str) -> tuple[int, int, int]:
        """Common n-grams, counted as often as both have them."""
        wanted, given = (Counter(_ngrams(self.tokens(text), self.n)) for text in (target, answer))
        return (wanted & given).total(), wanted.total(), given.total()


class Rouge1(_RougeN):
    """ROUGE-1, overlap of words: 0–1, higher is better. Settings: ``measure``, ``use_stemmer``.

    >>> Rouge1().score_text(Sample("1", "", "the cat sat"), "the cat ran off")
    0.5714285714285715
    """

    name, n = "rouge1", 1


class Rouge2(_RougeN):
    """ROUGE-2, overlap of pairs of words: 0–1, higher is better. Settings: ``measure``, ``use_stemmer``."""

    name, n = "rouge2", 2


class RougeL(_Rouge):
    """ROUGE-L, longest common subsequence of words: 0–1, higher is better. Settings: ``measure``,
    ``use_stemmer``."""

    name = "rougeL"

    def overlap(self, target: str, answer: str) -> tuple[int, int, int]:
        """Length of the longest common subsequence."""
        wanted, given = self.tokens(target), self.tokens(answer)
        rows = _lcs_rows(wanted, given)
        return _cell(rows, len(wanted), len(given)), len(wanted), len(given)


class RougeLsum(_Rouge):
    """ROUGE-L of summaries, over lines as sentences: 0–1, higher is better. Settings: ``measure``,
    ``use_stemmer``."""

    name = "rougeLsum"

    def overlap(self, target: str, answer: str) -> tuple[int, int, int]:
        """Words of the target's lines that are in a longest common subsequence with any line of the
        answer."""
        wanted = [self.tokens(line) for line in target.split("\n") if line]
        given = [self.tokens(line) for line in answer.split("\n") if line]
        left, right = (Counter(chain.from_iterable(lines)) for lines in (wanted, given))
        whole = left.total(), right.total()
        hits = 0
        for line in wanted:
            places = sorted({place for other in given for place in _lcs_places(line, other)})
            for word in (line[place] for place in places):
                if left[word] > 0 and right[word] > 0:  # no word counts more often than both sides have it
                    hits += 1
                    left[word] -= 1
                    right[word] -= 1
        return hits, *whole


def _fpr(agree: int, wanted: int, given: int) -> tuple[float, float, float]:
    precision, recall = agree / max(given, 1), agree / max(wanted, 1)
    f1 = 2 * precision * recall / (precision + recall) if agree else 0.0
    return f1, precision, recall


def _ngrams(tokens: Tokens, n: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def _lcs_rows(first: Tokens, second: Tokens) -> list[int]:
    """Row i of the table of LCS lengths as bits: a 0 at j where the length grows from column j to j + 1."""
    places: dict[str, int] = {}
    for place, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(second)) - 1
    rows = [full]
    for token in first:
        row = rows[-1]
        match = row & places.get(token, 0)
        rows.append(((row + match) | (row - match)) & full)
    return rows


def _cell(rows: list[int], i: int, j: int) -> int:
    """Length of the LCS of the first i tokens of one text and the first j of the other."""
    return j - (rows[i] & ((1 << j) - 1)).bit_count()


def _lcs_places(first: Tokens, second: Tokens) -> list[int]:
    """Places in ``first`` of one longest common subsequence: of several the one that rouge-score reads
    out."""
    rows = _lcs_rows(first, second)
    i, j = len(first), len(second)
    found = []
    while i > 0 and j > 0:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif _cell(rows, i, j - 1) > _cell(rows, i - 1, j):
            j -= 1
        else:
            i -= 1
    return found


@functools.cache
def _stemmer() -> Callable[[str], str]:
    stem: Any = importlib.import_module("nltk.stem.porter").PorterStemmer().stem
    return functools.lru_cache(maxsize=100_000)(stem)
