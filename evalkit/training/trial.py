"""A small model with adapters whose rows are run alone and in a stream: what the probes of a training compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.errors import CandidateError
from evalkit.models.devices import Placement
from evalkit.models.loading import Base
from evalkit.models.registry import ResolvedModel
from evalkit.models.small import small_model
from evalkit.specs.study import Quantization
from evalkit.specs.trainer import QloraSettings
from evalkit.training.adapters import NewAdapter, new_adapter
from evalkit.training.attention import stream_attention
from evalkit.training.loss import Tables, backpropagate
from evalkit.training.many import joined
from evalkit.training.modes import training_mode
from evalkit.training.packing import Mode, Unit, make_batch
from evalkit.training.phases import Clock
from evalkit.training.rows import TokenRow
from evalkit.training.targets import target_modules

__all__ = ["NOT_RUN", "Trial", "on_trial"]

NOT_RUN = (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, KeyError, IndexError)
"""What an architecture that cannot be run in some way raises, besides our own errors."""
_WINDOW = 8  # of sliding attention, less than the rows' common beginning
_PROMPT = 14  # tokens of the rows without a loss


@dataclass(frozen=True)
class Trial:
    """A small model with the adapters of two candidates, or of one where a pass can have no more (DoRA).

    Attributes:
        model: Random, in fp32.
        adapters: On it, of different ranks; they change it.
        device: Where it is.
    """

    model: Any
    adapters: Sequence[NewAdapter]
    device: str

    @property
    def rows(self) -> list[list[TokenRow]]:
        """Each adapter's, of different lengths; all begin with 12 tokens, two of the first's go on alike."""
        numbers = torch.randint(4, 250, (90,), generator=torch.Generator().manual_seed(0)).tolist()
        start = numbers[:12]
        rows = [
            TokenRow(tuple(ids), tuple(i > _PROMPT for i in range(len(ids))), 1)
            for ids in (
                start + numbers[12:22],
                start + numbers[22:37],
                start + numbers[22:33] + numbers[40:50],
                start + numbers[50:57],
                start + numbers[57:76],
            )
        ]
        return [rows[:3], rows[3:]] if len(self.adapters) == 2 else [rows]

    def alone(self) -> list[torch.Tensor]:
        """Each token's loss, and the gradients, one row after the other, through nothing of ours."""
        from peft.tuners.lora.layer import LoraLayer

        found = []
        for adapter, rows in zip(self.adapters, self.rows, strict=True):
            for layer in self.model.modules():
                if isinstance(layer, LoraLayer):
                    layer.set_adapter(adapter.slot)
            losses = torch.cat([self._loss(row) for row in rows])
            torch.autograd.backward(losses.mean())
            found.append(losses.detach())
        return [torch.cat(found), *self._gradients()]

    def streamed(
        self,
        mode: Mode,
        attention: Callable[..., Any] | None = None,
        compute: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> list[torch.Tensor]:
        """The same of one stream, as a training runs it.

        Args:
            mode: How.
            attention: See ``stream_attention``.
            compute: Makes the context of forward passes.
        """
        units = [Unit(adapter.slot, own, mode) for adapter, own in zip(self.adapters, self.rows, strict=True)]
        factors = [1 / sum(row.targets for row in own) for own in self.rows]
        dora = self.adapters[0].config.use_dora  # peft's own forward does it
        with stream_attention(self.model, attention), nullcontext() if dora else joined(self.adapters):
            batch = make_batch(units, self.device)
            losses = backpropagate(self.model, batch, factors, compute, nullcontext, Clock(), Tables())
        return [losses, *self._gradients()]

    def _loss(self, row: TokenRow) -> torch.Tensor:
        ids = torch.tensor([row.ids], device=self.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0, _PROMPT:-1]
        return torch.nn.functional.cross_entropy(logits.float(), ids[0, _PROMPT + 1 :], reduction="none")

    def _gradients(self) -> list[torch.Tensor]:
        """What was sent back to the adapters, taken from them; 0 to those that had no part."""
        found = []
        for parameter in [parameter for adapter in self.adapters for parameter in adapter.parameters]:
            found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
            parameter.grad = None
        return found


@contextmanager
def on_trial(model: Any, settings: QloraSettings, device: str) -> Iterator[Trial]:
    """Within the block there is a small model of the base's configuration, with adapters as the training's.

    Args:
        model: The base, which is only looked at.
        settings: Of the training: which layers get an adapter, and of what kind.
        device: Where to.
    """
    small = small_model(model, _WINDOW, getattr(model.config, "_attn_implementation", None)).to(device)
    nowhere = ResolvedModel("", Path(), "", None)
    base = Base(small, None, Placement(device, "fp32", ""), Quantization(type="none"), nowhere)
    targets = settings.targets
    try:
        target_modules(small, targets)
    except CandidateError:  # names of layers that only the whole base has
        targets = "all-linear"
    adapters = []
    with ExitStack() as stack:
        for rank, slot in ((2, "first"), (3, "second"))[: 1 if settings.dora else 2]:
            own = QloraSettings(rank=rank, alpha=8.0, targets=targets, dora=settings.dora)
            adapters.append(stack.enter_context(new_adapter(base, own, rank, slot=slot)))
            random = torch.Generator(device).manual_seed(rank)
            for name, parameter in adapters[-1].named.items():
                if ".lora_B." in name:
                    parameter.data.normal_(0.0, 0.1, generator=random)
        stack.enter_context(training_mode(small, 0.0, False, lambda _: None))
        yield Trial(small, adapters, device)
