"""Groups of near-duplicate texts, by MinHash.

Two texts are near-duplicates where their sets of 5-character shingles overlap by at least 0.7 (Jaccard),
after NFKC, lower case, digits made equal and punctuation made a space: "Where is order 1234?" and "where is
order 9876" are one group. Candidate pairs come from 64 MinHashes in 16 bands of 4 (Broder 1997; Leskovec et
al., "Mining of Massive Datasets", ch. 3): a pair at 0.7 is found with probability 1 - (1 - 0.7^4)^16 = 0.99.
Shingles that nearly all texts share (a common instruction) say nothing about likeness and are left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_groups", "normalized"]

Hashes = NDArray[np.uint64]

_SHINGLE = 5
_BANDS, _ROWS = 16, 4
_LIKE = 0.7
_SAMPLED = 1000  # texts on which common shingles are counted
_COMMON = 0.9  # a shingle is common in more than this share of the texts, and in more than ten of them
_SEEDS = np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def near_groups(texts: Sequence[str]) -> list[int]:
    """Return for each text the index of the first text of its group; deterministic, no seed.

    >>> near_groups(["Where is my parcel 1234?", "where is my parcel 9876", "I want my money back"])
    [0, 0, 2]
    """
    shingles = _without_common([_shingles(text) for text in texts])
    groups = list(range(len(texts)))
    buckets: dict[bytes, list[int]] = {}
    for index, hashes in enumerate(shingles):
        for key in _bands(hashes):
            others = buckets.setdefault(key, [])
            for other in others:
                if _root(groups, other) == _root(groups, index):
                    break
                if _jaccard(shingles[other], hashes) >= _LIKE:
                    first, second = sorted((_root(groups, other), _root(groups, index)))
                    groups[second] = first
                    break
            else:  # like nothing in this bucket; what is like something stays out, so that buckets stay small
                others.append(index)
    return [_root(groups, index) for index in range(len(texts))]


def normalized(text: str) -> str:
    """The text without what does not make a difference: case, digits' values, punctuation, white space.

    >>> normalized("Where IS  order #12?")
    'where is order 00'
    """
    plain = re.sub(r"\d", "0", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(re.findall(r"\w+", plain)) or plain


def _shingles(text: str) -> Hashes:
    """Hashes of a text's shingles, sorted and unique; (s,)."""
    padded = f" {normalized(text)} ".ljust(_SHINGLE)
    codes = np.frombuffer(padded.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - _SHINGLE + 1, dtype=np.uint64)
    for offset in range(_SHINGLE):
        hashes = _mix(hashes ^ codes[offset : offset + len(hashes)])
    return np.unique(hashes)


def _without_common(shingles: list[Hashes]) -> list[Hashes]:
    sampled = shingles[:: max(1, -(-len(shingles) // _SAMPLED))]
    if not sampled:
        return shingles
    values, counts = np.unique(np.concatenate(sampled), return_counts=True)
    common = values[counts > max(10, _COMMON * len(sampled))]
    kept = [hashes[~np.isin(hashes, common)] for hashes in shingles]
    return [own if len(own) else hashes for own, hashes in zip(kept, shingles, strict=True)]


def _bands(hashes: Hashes) -> Iterator[bytes]:
    least = np.full(_BANDS * _ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(hashes), 4096):  # bounds the memory a long document takes
        block = _mix(hashes[start : start + 4096, None] ^ _SEEDS)  # (s, bands * rows)
        least = np.minimum(least, block.min(axis=0))
    for band in range(_BANDS):
        yield bytes([band]) + least[band * _ROWS : (band + 1) * _ROWS].tobytes()


def _mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _jaccard(first: Hashes, second: Hashes) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _root(groups: list[int], index: int) -> int:
    while groups[index] != index:
        groups[index] = groups[groups[index]]
        index = groups[index]
    return index
