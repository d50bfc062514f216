"""The trainer: its card, its settings, and where each setting's value came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from evalkit.errors import SpecError
from evalkit.specs.explain import explain
from evalkit.specs.model import Name, Spec

__all__ = ["QloraSettings", "TrainerSpec", "resolve_settings", "settings_model"]


class QloraSettings(Spec):
    """Every setting of a supervised trainer. The defaults' sources are in ``trainers/qlora/README.md``."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the LoRA matrices. 16 for up to about 10,000 rows, 64 above; capacity, not speed, is what it
    buys."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale of the adapter: its output is multiplied by alpha / rank. Kept fixed, the best learning rate
    hardly moves with the rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs dropped while training. 0: the shared passes are exact only there."""
    targets: Literal["all-linear", "attention", "mlp"] | Annotated[list[str], Field(min_length=1)] = (
        "all-linear"
    )
    """Modules that get an adapter: every linear layer but the head (attention alone loses even at equal
    size), those of the attention or of the MLP blocks, or a list of names such as ``[q_proj, v_proj]``."""
    init: Literal["default", "gaussian", "orthogonal"] = "default"
    """How A and B start; all three start as the unchanged base, and ``orthogonal`` needs an even rank. Ways
    that change the base's weights (PiSSA, OLoRA) are left out: the base is shared by all candidates."""
    rslora: bool = False
    """Scale by alpha / √rank instead of alpha / rank; of use above rank 64."""
    dora: bool = False
    """Learn each output's magnitude apart from its direction (DoRA)."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Peak rate of AdamW: about ten times that of full fine-tuning. The setting worth sweeping first."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after warm-up: down to 0, or constant."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the optimiser steps in which the rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's decoupled decay of A and B (not of their product)."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this norm, per adapter; null: never."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 3.0
    """Passes over the training rows, at most: early stopping may end sooner."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps, at most; null: as many as ``epochs`` make."""
    batch_size: Annotated[int, Field(ge=1)] | None = 16
    """Rows per optimiser step. LoRA does worse with large ones: stay below 32. None beside ``batch_tokens``."""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens per optimiser step, at most, in place of ``batch_size``; a longer row makes a step of its own. A step
    then weighs about the same however long its rows are."""
    micro_batch: Annotated[int, Field(ge=1)] = 4
    """Rows run at once; only memory and speed depend on it. Values above the rows of a step count as these."""
    max_length: Annotated[int, Field(ge=8)] = 2048
    """Tokens per row, at most (and never more than the model's context); ``data.overlong`` says what happens
    to longer rows, and they are counted."""
    loss_on: Literal["assistant", "last", "all"] = "assistant"
    """Tokens with a loss: every assistant turn, the last one, or all tokens."""
    early_stopping: Annotated[int, Field(ge=1)] | None = 2
    """Stop after this many validations in a row without a lower validation loss; null: never. The best
    checkpoint is kept either way."""
    model_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout of the base's own layers while training, where its architecture has any."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = "adamw"
    """AdamW with fp32, 8-bit or paged state. Paging needs CUDA and concerns tensors of ≥ 100,000 numbers
    only."""
    gradient_checkpointing: bool = False
    """Compute activations a second time instead of keeping them: about 1.3 × the time, much less memory."""
    offload: Literal["none", "activations", "weights"] = "none"
    """What is kept in main memory instead of on the CUDA device."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Type of the training pass; auto: the study's ``dtype``. Adapters and their optimiser are always
    fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of initialisation, row order and dropout; null: the study's."""
    speed: Literal["auto", "plain", "dense-cache"] = "auto"
    """``plain`` runs padded rows, without packing or shared prefixes; ``dense-cache`` keeps
    de-quantised weights in memory, as ``auto`` does on a CPU with memory to spare."""

    @model_validator(mode="before")
    @classmethod
    def _one_kind_of_batch(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("batch_tokens") is None:
            return data
        if data.get("batch_size") is not None:
            raise ValueError("expected either 'batch_size' or 'batch_tokens', got both")
        return {**data, "batch_size": None}

    @model_validator(mode="after")
    def _some_kind_of_batch(self) -> QloraSettings:
        if self.batch_size is None and self.batch_tokens is None:
            raise ValueError("expected 'batch_size' or 'batch_tokens', got neither")
        return self

    @model_validator(mode="after")
    def _halves_of_the_rank(self) -> QloraSettings:
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"expected an even 'rank' beside 'init: orthogonal', got {self.rank}")
        return self

    def content(self) -> dict[str, Any]:
        """Return every setting as JSON values, for keys of what is kept: the newest ones only where they are on."""
        return self.model_dump(mode="json", exclude=None if self.batch_tokens else {"batch_tokens"})


class TrainerSpec(Spec):
    """The card of a trainer."""

    trainer: Name
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Defaults of this trainer, where they differ from ``QloraSettings``."""
    adds: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Settings that only this trainer has, with their defaults; a value must be of its default's type."""


def settings_model(trainer: TrainerSpec) -> type[QloraSettings]:
    """Return the model of a trainer's settings: ``QloraSettings`` and what the card adds."""
    if not trainer.adds:
        return QloraSettings
    own: dict[str, Any] = {name: (type(default), default) for name, default in trainer.adds.items()}
    return create_model("Settings", __base__=QloraSettings, **own)


def resolve_settings(
    trainer: TrainerSpec, study: Mapping[str, Any], grid: Mapping[str, Any] | None = None
) -> tuple[QloraSettings, dict[str, str]]:
    """Merge defaults, the trainer's card, the candidate's ``settings`` and its grid values; the last one
    wins.

    Args:
        trainer: The card.
        study: The candidate's ``settings``.
        grid: The values that a grid gives to this candidate.

    Returns:
        The settings, and for each where it came from: ``default``, ``trainer.yaml``, ``study`` or ``grid``.

    Raises:
        SpecError: An unknown setting (with the nearest known name) or a value out of range.

    >>> card = TrainerSpec(trainer="qlora", settings={"epochs": 1.0})
    >>> settings, origins = resolve_settings(card, {"rank": 8})
    >>> settings.rank, settings.epochs, origins["rank"], origins["epochs"], origins["alpha"]
    (8, 1.0, 'study', 'trainer.yaml', 'default')
    """
    model = settings_model(trainer)
    merged: dict[str, Any] = {}
    origins = dict.fromkeys(model.model_fields, "default")
    card = {name: value for name, value in trainer.settings.items() if not _stands_aside(name, study, grid)}
    for origin, values in (("trainer.yaml", card), ("study", study), ("grid", grid or {})):
        merged.update(values)
        origins.update(dict.fromkeys(values, origin))
    mistakes = explain(model, merged)
    if mistakes:
        raise SpecError(
            *(f"trainer {trainer.trainer}: settings{'.' if m.path else ': '}{m}" for m in mistakes)
        )
    settings = model.model_validate(merged)
    if settings.batch_tokens is not None:
        origins["batch_size"] = origins["batch_tokens"]  # which took it away
    return settings, origins


def _stands_aside(name: str, study: Mapping[str, Any], grid: Mapping[str, Any] | None) -> bool:
    """Whether the card's size of a step is of the other kind than the candidate's."""
    other = {"batch_size": "batch_tokens", "batch_tokens": "batch_size"}.get(name)
    return other is not None and {**study, **(grid or {})}.get(other) is not None
