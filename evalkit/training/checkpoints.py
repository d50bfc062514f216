"""Checkpoints of a training: the last one to go on from, the best one to keep.

A file is written beside its place, flushed to the disk and then renamed, so a kill at any moment leaves the
old one or the new one, never half of one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from evalkit.errors import OutputFolderError

__all__ = ["Checkpoints", "Position", "rng_state", "set_rng_state"]


@dataclass
class Position:
    """How far a training is, beside its tensors.

    Attributes:
        step: Optimiser steps done.
        rows: The log so far.
        best_loss: Lowest validation loss, in nats per token; None before the first validation.
        best_step: The step it was found after.
        worse: Validations since then.
        seconds: Time spent, over all processes.
    """

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0
    seconds: float = 0.0

    @property
    def shown(self) -> float | None:
        """What a search goes by: the lowest validation loss so far; None before the first."""
        looks = [row[key] for row in self.rows for key in ("validation_loss", "rung_loss") if key in row]
        return min(looks, default=None)

    def note(self, standings: Sequence[Mapping[str, Any]]) -> bool:
        """Write how it came out of rungs into the log's rows; return whether anything was new."""
        new = False
        for standing in standings:
            if 0 < standing["step"] <= len(self.rows):
                told = self.rows[standing["step"] - 1].setdefault("rungs", [])
                if all(known["rung"] != standing["rung"] for known in told):
                    told.append(dict(standing))
                    new = True
        return new

    def improved(self, loss: float) -> bool:
        """Note a validation's loss; return whether it is the lowest so far."""
        better = self.best_loss is None or loss < self.best_loss
        if better:
            self.best_loss, self.best_step, self.worse = loss, self.step, 0
        else:
            self.worse += 1
        return better


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The two checkpoints in a folder.

    Attributes:
        folder: Made if it is not there.
        key: Hash of everything the training depends on; checkpoints of another key are not read.
    """

    folder: Path
    key: str

    def save(
        self, position: Position, adapter: dict[str, torch.Tensor], optimizer: Any, schedule: Any
    ) -> None:
        """Write the checkpoint to go on from.

        Args:
            position: How far the training is.
            adapter: Its weights.
            optimizer: None where no step is left; its state is most of a checkpoint.
            schedule: Of the learning rate.

        Raises:
            OutputFolderError: It cannot be written.
        """
        state = {
            "key": self.key,
            "position": asdict(position),
            "adapter": adapter,
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "rng": rng_state(),
        }
        _write(self.folder / "last.pt", state)

    def load(self, optimizer: Any, schedule: Any) -> tuple[Position, dict[str, torch.Tensor]] | None:
        """Read the checkpoint to go on from into the optimiser, the schedule and the random streams.

        Returns:
            Position and adapter, or None where there is no checkpoint of this training.
        """
        state = _read(self.folder / "last.pt", self.key)
        if state is None:
            return None
        if state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        set_rng_state(state["rng"])
        return Position(**state["position"]), state["adapter"]

    def save_best(self, adapter: dict[str, torch.Tensor]) -> None:
        """Write the adapter to keep, in place of an earlier one.

        Raises:
            OutputFolderError: It cannot be written.
        """
        state = {"key": self.key, "adapter": adapter}
        _write(self.folder / "best.pt", state)

    def load_best(self) -> dict[str, torch.Tensor]:
        """Read the adapter to keep.

        Raises:
            OutputFolderError: It is gone.
        """
        state = _read(self.folder / "best.pt", self.key)
        if state is None:
            raise OutputFolderError(
                f"{self.folder / 'best.pt'} is gone: something else wrote to this folder."
            )
        adapter: dict[str, torch.Tensor] = state["adapter"]
        return adapter


def rng_state() -> dict[str, Any]:
    """State of torch's random streams, which dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put torch's random streams back to a state of ``rng_state``."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _write(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        if partial.is_file():
            partial.unlink()
        raise OutputFolderError(f"cannot write the checkpoint {path}: {error}") from error


def _read(path: Path, key: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state if state["key"] == key else None
