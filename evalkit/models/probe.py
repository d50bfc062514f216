"""Whether packed passes are exact for an architecture, found by trying: on a small random model of the same kind."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from evalkit.models.beside import PREFIX, recall, remember
from evalkit.models.hashing import config_sha256
from evalkit.models.layouts import Slots
from evalkit.models.packed import Packed
from evalkit.models.small import small_model
from evalkit.models.trie import Run
from evalkit.signature import digest, file_sha256

__all__ = ["why_not_packed"]

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit; measured 1e-6 where a family is exact."""
WINDOW = 6
"""Sliding windows and chunks of the small model: shorter than the probe's texts, so that they show."""
FILE = f"{PREFIX}packed.json"
"""Name of the file beside the weights that remembers for which stack passes were found to be exact."""
SOURCES = ("attention", "layouts", "packed", "probe", "small", "trie")
"""Modules whose code decides it."""
_known: dict[str, str | None] = {}


def why_not_packed(model: Any, folder: Path | None = None) -> str | None:
    """Return why this model cannot be run in packed passes; None where it can.

    A random model of the same configuration, with few layers (every kind of layer that the base has), a small
    vocabulary and short windows, is run both ways in fp32. That it can is remembered beside the weights, for the
    versions and the processor it was found with; that it cannot is found again in every process.

    Args:
        model: A transformers model.
        folder: Of its weights; None: nothing is remembered.
    """
    key = config_sha256(model.config)
    if key not in _known:
        beside, stack = None if folder is None else folder / FILE, digest({"config": key, **_stack()})
        remembered = {} if beside is None else recall(beside)
        _known[key] = None if stack in remembered else _try(model)
        if beside is not None and _known[key] is None and stack not in remembered:
            remember(beside, {**remembered, stack: "exact"})
    return _known[key]


def _stack() -> dict[str, Any]:
    """What the finding rests on besides the configuration."""
    return {
        "versions": [version(name) for name in ("torch", "transformers")],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "sources": [file_sha256(Path(__file__).with_name(f"{name}.py")) for name in SOURCES],
    }


def _try(model: Any) -> str | None:
    try:
        small = small_model(model, WINDOW, "eager")
        texts, found = _packed_logits(small)
        with torch.no_grad():
            expected = torch.stack([small(input_ids=torch.tensor([text])).logits[0, -1] for text in texts])
    except (
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,  # NotImplementedError, of an attention of another kind, among them
        KeyError,
        IndexError,
    ) as error:
        return f"{type(model).__name__} does not run in packed passes ({type(error).__name__})"
    off = float((found - expected).abs().max() / expected.abs().max())
    if off <= TOLERANCE:  # a NaN is not
        return None
    return f"{type(model).__name__} answers otherwise in packed passes (logits differ by {off:.1g})"


def _packed_logits(small: Any) -> tuple[list[list[int]], torch.Tensor]:
    """Texts, and the logits after each: of a shared run, leaves and a tree below it, and three written tokens."""
    numbers = torch.randint(4, 250, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    engine, slots = Packed(small, "cpu"), Slots()
    root = Run(numbers[:12])
    engine.run([root], [], keep=[root])
    leaves = [Run(numbers[12:21], root), Run(numbers[21:24], root)]
    tree = Run(numbers[24:28], leaves[0], parents=[-1, 0, 0, -1])
    logits = [engine.run([*leaves, tree], [(leaves[1], [-1]), (tree, [1, 3])], keep=leaves)]
    before = [*root.ids, *leaves[0].ids]
    texts = [
        [*root.ids, *leaves[1].ids],
        [*before, tree.ids[0], tree.ids[1]],
        [*before, tree.ids[3]],
    ]
    slots.add(root, [leaves[0]])
    slots.add(leaves[1], [])
    written = [before, [*root.ids, *leaves[1].ids]]
    for i in range(3):
        tokens = numbers[30 + 2 * i : 32 + 2 * i]
        written = [[*text, token] for text, token in zip(written, tokens, strict=True)]
        logits.append(engine.step(slots, tokens))
        texts.extend(written)
    return texts, torch.cat(logits)
