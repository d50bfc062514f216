"""One base model in memory, quantised, with its tokenizer, and the adapters that are switched on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evalkit.collecting import started
from evalkit.errors import ModelError
from evalkit.models import chat
from evalkit.models.adapters import AdapterSlot, eject, inject, switch
from evalkit.models.devices import Placement, choose_placement, device_kind
from evalkit.models.hashing import config_sha256, tokenizer_sha256
from evalkit.models.kept import kept_folder, load_kept
from evalkit.models.merging import merged_layers, placed
from evalkit.models.quantizing import (
    as_quantization,
    quantization_arguments,
    quantization_json,
    quantize_blocks,
    secure_gradients,
)
from evalkit.models.quiet import quiet
from evalkit.models.registry import ResolvedModel, resolve
from evalkit.signature import digest
from evalkit.specs.study import Form, Quantization

__all__ = ["Base", "load_base", "load_tokenizer", "resolve_dtype"]

STACK = ("torch", "transformers", "tokenizers", "peft", "bitsandbytes")
"""Packages whose version can change an answer."""


@dataclass
class Base:
    """A loaded base model.

    Attributes:
        model: The transformers model itself, in eval mode; adapters sit inside its layers, off by default.
        tokenizer: With a pad token, padding on the left.
        placement: Device, dtype and why.
        quantization: How the weights are held.
        resolved: Name, folder and hash of the weights.
        adapters: Name → the adapter that was loaded under it.
        alone: Its logits after the text that adapters are checked with, without any of them; None before the first.
    """

    model: Any
    tokenizer: Any
    placement: Placement
    quantization: Quantization
    resolved: ResolvedModel
    adapters: dict[str, AdapterSlot] = field(default_factory=dict)
    alone: Any = field(default=None, repr=False)
    _peft: Any = field(default=None, repr=False)
    _active: str | None = field(default=None, repr=False)
    _replaced: dict[str, Any] = field(default_factory=dict, repr=False)
    _count: int = field(default=0, repr=False)
    _config_sha256: str = field(default="", repr=False)  # taken at load: peft changes the configuration
    _tokenizer_sha256: str = field(default="", repr=False)

    @property
    def device(self) -> str:
        """Where inputs go: ``cpu`` or ``cuda:N``."""
        return self.placement.device

    @property
    def dtype(self) -> str:
        """``bf16`` or ``fp32``."""
        return self.placement.dtype

    @property
    def active(self) -> str | None:
        """Name of the adapter that is on; None where the base answers alone."""
        return self._active

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end an answer: all of the generation config's, and the tokenizer's own."""
        named = getattr(self.model.generation_config, "eos_token_id", None)
        listed = named if isinstance(named, list) else [named]
        return frozenset(int(token) for token in [*listed, self.tokenizer.eos_token_id] if token is not None)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer brings a chat template of its own."""
        return chat.has_chat_template(self.tokenizer)

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and answer together; None where the model names no limit."""
        config = self.model.config.get_text_config()
        for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if isinstance(limit := getattr(config, name, None), int) and limit > 0:
                return limit
        return None

    def fingerprint(self) -> dict[str, Any]:
        """Everything about the base that can change an answer, as JSON values."""
        import torch

        self._tokenizer_sha256 = self._tokenizer_sha256 or tokenizer_sha256(self.tokenizer)
        return {
            "weights_sha256": self.resolved.sha256,
            "quantization": quantization_json(self.quantization),
            "dtype": self.dtype,
            "config_sha256": self._config_sha256,
            "chat_template_sha256": digest(str(self.tokenizer.chat_template)),
            "tokenizer_sha256": self._tokenizer_sha256,
            "eos_ids": sorted(self.eos_ids),
            "attention": str(getattr(self.model.config, "_attn_implementation", None)),
            "device": device_kind(self.device),
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in STACK},
        }

    def add_adapter(self, name: str, path: Path, form: Form | None = None) -> tuple[str, ...]:
        """Load an adapter under a name, after a preflight; it stays off until ``use``.

        Args:
            name: Any string, such as the candidate's name; not loaded yet.
            path: A folder in peft's format.
            form: Merge it into weights that take the place of the base's while it is on (``models/merging.py``).

        Returns:
            Warnings for the user, such as a base or revision other than the one it was trained on.

        Raises:
            CandidateError: It does not fit this base, is incomplete, changes nothing, or cannot be merged.
        """
        if name in self.adapters:
            raise ValueError(f"an adapter named {name!r} is loaded already")
        self._put_back()
        self._count += 1  # a slot is never used twice, and peft takes no dots in names
        self._peft, slot = inject(self, self._peft, f"slot{self._count:04d}", path)
        if form is not None:
            try:
                layers = merged_layers(
                    self.model,
                    slot.slot,
                    form,
                    self.quantization,
                    self.placement.torch_dtype,
                    self.device,
                )
            finally:
                self._eject(slot.slot)
            slot = replace(slot, form=form, layers=layers)
        self.adapters[name] = slot
        self.switch(self._active)
        return slot.warnings

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter and free its memory. Without any left, the base's layers are its own again."""
        self._put_back()
        slot = self.adapters.pop(name)
        if slot.form is None:
            self._eject(slot.slot)
        self.switch(None if self._active == name else self._active)

    @contextmanager
    def use(self, name: str | None) -> Iterator[Any]:
        """Within the block the model answers with this adapter; None: with every adapter off."""
        before = self._active
        self.switch(name)
        try:
            yield self.model
        finally:
            self.switch(before if before in self.adapters else None)

    def switch(self, name: str | None) -> None:
        """Answer with this adapter from now on; None: with every adapter off."""
        if name is not None and name not in self.adapters:
            raise ValueError(
                f"no adapter named {name!r} is loaded; loaded: {', '.join(self.adapters) or 'none'}"
            )
        self._put_back()
        slot = None if name is None else self.adapters[name]
        if self._peft is not None:
            switch(self._peft, None if slot is None or slot.form is not None else slot.slot)
        if slot is not None:
            self._replaced = placed(self.model, slot.layers)
        self._active = name

    def _put_back(self) -> None:
        """Put the base's own layers back where merged ones stand."""
        placed(self.model, self._replaced)
        self._replaced = {}

    def _eject(self, slot: str) -> None:
        if eject(self._peft, slot):
            self._peft = None


def resolve_dtype(dtype: str, device: str = "auto") -> tuple[str, str]:
    """Return the dtype that ``auto`` stands for on this machine, and why (see ``devices.choose_placement``)."""
    placement = choose_placement(device, dtype)
    return placement.dtype, placement.reason


def load_base(
    model: str,
    *,
    quantization: Quantization | str = "nf4",
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    relative_to: Path | None = None,
) -> Base:
    """Load a model that is on this machine.

    Args:
        model: See ``registry.resolve``.
        quantization: ``nf4``, ``fp4``, ``int8``, ``none``, or a ``Quantization``.
        dtype: ``auto`` (bf16 where the device has it in hardware), ``bf16`` or ``fp32``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. A base that does not fit ``cuda:0`` is spread over all
            GPUs.
        trust_remote_code: Run Python that comes with the model; only by the user's own word.
        relative_to: Folder that relative paths start from.

    Raises:
        ModelError: Unknown or absent model, no such device, or weights that are missing or do not fit.
    """
    resolved = resolve(model, relative_to)
    placement = choose_placement(device, dtype)
    chosen = as_quantization(quantization)
    tokenizer = load_tokenizer(resolved, trust_remote_code)
    loaded = _load_weights(resolved, placement, chosen, trust_remote_code)
    quantize_blocks(loaded, chosen, placement.torch_dtype, placement.device)
    secure_gradients(loaded)
    if tokenizer.pad_token_id >= loaded.get_input_embeddings().num_embeddings:  # added, but never trained
        tokenizer.pad_token = tokenizer.eos_token
    loaded.requires_grad_(False)
    loaded.eval()
    return Base(loaded, tokenizer, placement, chosen, resolved, _config_sha256=config_sha256(loaded.config))


def load_tokenizer(resolved: ResolvedModel, trust_remote_code: bool = False) -> Any:
    """Load a model's tokenizer: padding on the left, with a pad token.

    Raises:
        ModelError: The folder has none that transformers can read, or it has neither pad nor end token.
    """
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                resolved.path, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{resolved.path} has no tokenizer that transformers can read: {error}"
            ) from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"The tokenizer in {resolved.path} has neither a pad nor an end token.")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_weights(
    resolved: ResolvedModel, placement: Placement, quantization: Quantization, trust: bool
) -> Any:
    """Load the weights: in 4 bits from where they are kept so, else from the model's folder."""
    from transformers import AutoConfig

    arguments = quantization_arguments(quantization, placement.torch_dtype)
    started()

    def quantize() -> Any:
        return _read(resolved, resolved.path, placement, trust_remote_code=trust, **arguments)

    def read(folder: Path) -> Any:
        config = AutoConfig.from_pretrained(resolved.path, local_files_only=True)
        config.quantization_config = arguments["quantization_config"].to_dict()
        return _read(resolved, folder, placement, config=config)

    kept = None if trust else kept_folder(resolved, quantization, placement)
    return quantize() if kept is None else load_kept(kept, read, quantize)


def _read(resolved: ResolvedModel, folder: Path, placement: Placement, **arguments: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    with quiet():
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=placement.torch_dtype,
                device_map=_device_map(resolved, placement),
                local_files_only=True,
                output_loading_info=True,
                **arguments,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(f"{resolved.name} does not load from {folder}: {error}") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if loading[problem]:
            first = sorted(str(key) for key in loading[problem])[:3]
            raise ModelError(
                f"{folder} is not complete: {len(loading[problem])} weights are "
                f"{problem.removesuffix('_keys')}, such as {', '.join(first)}."
            )
    model.config._name_or_path = model.name_or_path = str(resolved.path)
    return model


def _device_map(resolved: ResolvedModel, placement: Placement) -> dict[str, str] | str:
    import torch

    if not placement.device.startswith("cuda") or torch.cuda.device_count() < 2:
        return {"": placement.device}
    free, _ = torch.cuda.mem_get_info(torch.device(placement.device))
    size = sum(file.stat().st_size for file in resolved.path.glob("*.safetensors"))
    return "auto" if size > 0.9 * free else {"": placement.device}
