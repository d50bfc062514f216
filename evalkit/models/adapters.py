"""Adapters on a loaded base: put in place after a preflight, switched on and off, taken out again.

The preflight exists because peft only warns where an adapter does not fit, and the base model is
then scored under the adapter's name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import CandidateError
from evalkit.models.compiling import compiled_when_called
from evalkit.models.hashing import adapter_sha256, read_adapter_config
from evalkit.models.quiet import quiet
from evalkit.specs.study import Form

if TYPE_CHECKING:
    from evalkit.models.loading import Base

__all__ = ["AdapterSlot", "adapter_sha256", "eject", "inject", "read_adapter", "switch"]

PROBE_TEXT = "The quick brown fox jumps over the lazy dog. 2 + 2 = "


@dataclass(frozen=True, slots=True)
class AdapterSlot:
    """An adapter that was loaded.

    Attributes:
        slot: The name peft knows it by.
        sha256: See ``hashing.adapter_sha256``.
        warnings: What the user should know, such as another base's name in its configuration.
        form: How it is merged; None where it acts beside the base's weights.
        layers: Where it is merged: name in the base → the layer with the merged weights.
    """

    slot: str
    sha256: str
    warnings: tuple[str, ...] = ()
    form: Form | None = None
    layers: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_adapter(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read an adapter's configuration and weights.

    Returns:
        peft's configuration and the tensors by key, both in memory.

    Raises:
        CandidateError: Not an adapter, of a kind that cannot be switched off in place, damaged, not finite, or
            with every B at zero (it would change nothing).
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with (
        quiet(),
        compiled_when_called(),
    ):  # peft imports bitsandbytes, which speaks of a kernel it would like to have
        from peft import PeftConfig
    settings = read_adapter_config(path)
    try:
        config = PeftConfig.from_pretrained(str(path))
    except (KeyError, TypeError, ValueError) as error:
        raise CandidateError(f"{path}/adapter_config.json is not one peft can read: {error}") from error
    if config.is_prompt_learning or settings.get("bias", "none") != "none":
        kind = settings.get("peft_type") if config.is_prompt_learning else f"bias: {settings['bias']}"
        raise CandidateError(
            f"{path}: an adapter with {kind} cannot be switched off in place; expected LoRA."
        )
    file = path / "adapter_model.safetensors"
    if not file.is_file():
        raise CandidateError(
            f"{path} has no adapter_model.safetensors; expected an adapter in peft's format."
        )
    try:
        tensors: dict[str, Any] = load_file(file)
    except SafetensorError as error:
        raise CandidateError(f"{file} is damaged: {error}") from error
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CandidateError(f"{file}: {key} holds NaN or infinity.")
    outputs = [tensor for key, tensor in tensors.items() if "lora_B" in key or "lora_embedding_B" in key]
    if outputs and not any(bool(tensor.any()) for tensor in outputs):
        raise CandidateError(f"{file}: every B is zero, so this adapter changes nothing. Was it trained?")
    return config, tensors


def inject(base: Base, peft_model: Any, slot: str, path: Path) -> tuple[Any, AdapterSlot]:
    """Put an adapter into the base's layers and check that it fits and that it does something.

    Args:
        base: The loaded base.
        peft_model: What an earlier call returned, or None for the first adapter.
        slot: The name peft shall know it by: no dots.
        path: A folder in peft's format.

    Returns:
        The peft model, and the adapter's record. All adapters are switched off.

    Raises:
        CandidateError: See ``read_adapter``; or it was made for another base, or its logits are the base's.
    """
    from peft import PeftModel, set_peft_model_state_dict

    config, tensors = read_adapter(path)
    config.inference_mode = True
    first = peft_model is None
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # peft's opinions on tied or odd targets; what counts is checked below
        try:
            if first:
                peft_model = PeftModel(base.model, config, adapter_name=slot)
            else:
                peft_model.add_adapter(slot, config)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CandidateError(_foreign(base, path, str(error).splitlines()[0])) from error
        try:
            _check_fit(base, path, _expected_shapes(peft_model, slot), tensors)
            set_peft_model_state_dict(peft_model, tensors, adapter_name=slot)
            _check_effect(base, peft_model, slot, path)
        except CandidateError:
            eject(peft_model, slot)
            raise
        switch(peft_model, None)
    return peft_model, AdapterSlot(slot, adapter_sha256(path), tuple(_origin_warnings(base, path)))


def eject(peft_model: Any, slot: str) -> bool:
    """Take an adapter out; return True if none is left and the base's own layers are back in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another adapter is active now: switch() decides that
        peft_model.delete_adapter(slot)
    if peft_model.peft_config:
        return False
    peft_model.base_model.unload()
    return True


def switch(peft_model: Any, slot: str | None) -> None:
    """Turn one adapter on, or all of them off."""
    if slot is None:
        peft_model.base_model.disable_adapter_layers()
        return
    peft_model.base_model.enable_adapter_layers()
    peft_model.set_adapter(slot, inference_mode=True)


def _expected_shapes(peft_model: Any, slot: str) -> dict[str, tuple[int, ...]]:
    from peft import get_peft_model_state_dict

    # save_embedding_layers=False: "auto" would ask the Hub about the base
    state = get_peft_model_state_dict(peft_model, adapter_name=slot, save_embedding_layers=False)
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _check_fit(
    base: Base, path: Path, expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Any]
) -> None:
    for key in sorted(expected.keys() | tensors.keys()):
        want = expected.get(key)
        have = tuple(tensors[key].shape) if key in tensors else None
        if want != have:
            told = f"{key} is {_shape(have)}, the base has {_shape(want)}"
            raise CandidateError(_foreign(base, path, told))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape))


def _foreign(base: Base, path: Path, reason: str) -> str:
    told = read_adapter_config(path).get("base_model_name_or_path") or "unknown"
    return f"{path} was made for another base than {base.resolved.name} (it names {told}): {reason}."


def _check_effect(base: Base, peft_model: Any, slot: str, path: Path) -> None:
    import torch

    ids = torch.tensor([base.tokenizer(PROBE_TEXT, add_special_tokens=True)["input_ids"]], device=base.device)
    with torch.no_grad():
        if base.alone is None:  # the same for every adapter
            switch(peft_model, None)
            base.alone = base.model(input_ids=ids, use_cache=False).logits
        without = base.alone
        switch(peft_model, slot)
        with_adapter = base.model(input_ids=ids, use_cache=False).logits
    if not bool(torch.isfinite(with_adapter).all()):
        raise CandidateError(f"{path}: with this adapter the model answers NaN or infinity.")
    if torch.equal(without, with_adapter):
        raise CandidateError(f"{path}: the model answers exactly as without this adapter. Was it trained?")


def _origin_warnings(base: Base, path: Path) -> list[str]:
    config = read_adapter_config(path)
    told, resolved = config.get("base_model_name_or_path"), base.resolved
    repository, _, commit = (resolved.revision or "").partition("@")
    found = []
    if told and told not in (resolved.name, str(resolved.path), repository, resolved.name.partition("@")[0]):
        found.append(f"{path} names {told} as its base; it runs on {resolved.name}.")
    if config.get("revision") and commit and config["revision"] != commit:
        found.append(f"{path} was trained on revision {config['revision']}; it runs on {commit}.")
    template = path / "chat_template.jinja"
    if template.is_file() and template.read_text(encoding="utf-8") != (base.tokenizer.chat_template or ""):
        found.append(
            f"{path} was trained with another chat template than the base's; answers use the base's."
        )
    return found
