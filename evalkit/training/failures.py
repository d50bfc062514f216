"""Why a training broke, in words that say what to change."""

from __future__ import annotations

from typing import Any

from evalkit.errors import CandidateError

__all__ = ["no_memory_for", "not_finite", "one_row_too_many", "out_of_memory"]


def not_finite(what: str, reading: dict[str, Any]) -> CandidateError:
    """Say where a training broke, and what most likely broke it."""
    value = reading["grad_norm"] if what == "gradient norm" else reading["loss"]
    if reading["learning_rate"] > 1e-3:
        likely = "Most likely the learning_rate is more than LoRA stands: try a tenth of it."
    else:
        likely = "Most likely the base's weights are damaged or hold NaN; a lower learning_rate may help too."
    return CandidateError(
        f"training stopped: the {what} is {value} at step {reading['step']}, learning rate "
        f"{reading['learning_rate']:g}. {likely}"
    )


def out_of_memory(micro_batch: int) -> CandidateError:
    """Say what to change where the device runs out of memory."""
    return CandidateError(
        f"the device is out of memory: write a smaller micro_batch than {micro_batch}, "
        "gradient_checkpointing: true, or a smaller max_length."
    )


def one_row_too_many(tokens: int) -> CandidateError:
    """Say what to change where one row of so many tokens does not fit into memory."""
    return CandidateError(
        f"the device is out of memory with one row alone, of {tokens:,} tokens: write gradient_checkpointing: true, "
        "or a smaller max_length."
    )


def no_memory_for(what: str) -> CandidateError:
    """Say what to change where an adapter or what trains it does not fit into memory."""
    return CandidateError(
        f"the device is out of memory for {what}: write a smaller rank, fewer targets, or optimizer: adamw_8bit."
    )
