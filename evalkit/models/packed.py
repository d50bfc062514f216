"""Passes of a base over many texts in one row without padding, each text seeing itself alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from evalkit.models.attention import Layout, configurations, packed
from evalkit.models.layouts import RunLayout, Slots
from evalkit.models.mixed import owned_by
from evalkit.models.trie import Run

__all__ = ["Packed"]


class Packed:
    """A model that computes runs of tokens and slots of answers.

    Args:
        model: A transformers model for which ``probe.why_not_packed`` finds nothing, switched to the adapter that
            answers, or ``mixed``: then each adapter acts on what its owner is.
        device: Where inputs go.
    """

    def __init__(self, model: Any, device: str) -> None:
        self._model, self._device = model, device
        self._configs = configurations(model)
        self._keeps = "logits_to_keep" in inspect.signature(type(model).forward).parameters

    def run(
        self, runs: Sequence[Run], wanted: Sequence[tuple[Run, Sequence[int]]], keep: Sequence[Run] = ()
    ) -> torch.Tensor:
        """Compute new runs in one pass.

        Args:
            runs: Distinct, in any order; what stands above each is among them or held.
            wanted: Runs and the indices of their tokens after which logits are wanted.
            keep: Runs whose keys and values are kept in them.

        Returns:
            (n, V) float32, in the order of ``wanted``.
        """
        layout = RunLayout(runs, keep)
        places = [layout.at[run] + index % len(run.ids) for run, indices in wanted for index in indices]
        logits = self._pass(layout.ids, layout.positions, layout, layout.owners, places)
        for run, held in layout.found.items():
            run.held = held
        return logits

    def step(self, slots: Slots, tokens: Sequence[int]) -> torch.Tensor:
        """Add one token to every slot; return (S, V) float32 logits after it."""
        slots.begin()
        logits = self._pass(tokens, torch.tensor(slots.positions()), slots, slots.owners, range(len(slots)))
        slots.finish()
        return logits

    @torch.no_grad()
    def _pass(
        self,
        ids: Sequence[int],
        positions: torch.Tensor,
        layout: Layout,
        owners: Sequence[str | None],
        places: Sequence[int],
    ) -> torch.Tensor:
        # Not ``inference_mode``: layers may keep a tensor they make here (a cast bias, rotary frequencies), and an
        # inference tensor would break a later training step.
        rows = torch.tensor(list(places) or [0])  # on the CPU: the last layer may lie on another device
        arguments = {"logits_to_keep": rows} if self._keeps else {}
        with packed(self._configs, layout), owned_by(owners, self._device):
            logits: torch.Tensor = self._model(
                input_ids=torch.tensor([list(ids)], device=self._device),
                position_ids=positions[None].to(self._device),
                use_cache=False,
                **arguments,
            ).logits[0]
        logits = logits if self._keeps else logits[rows]
        return logits[: len(places)].float().to(self._device)
