"""A new LoRA adapter on a loaded base: put in, trained, saved in peft's format, and taken out again.

LoRA: Hu et al. 2021, arXiv:2106.09685. The adapter's numbers are fp32 whatever the base is held in: in bf16
the small steps of AdamW round away.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evalkit.errors import CandidateError, OutputFolderError
from evalkit.models.adapters import read_adapter
from evalkit.models.compiling import compiled_when_called
from evalkit.models.loading import Base
from evalkit.models.quiet import quiet
from evalkit.specs.trainer import QloraSettings
from evalkit.training.checkpoints import rng_state, set_rng_state
from evalkit.training.targets import target_modules

__all__ = ["NewAdapter", "new_adapter"]

_PREFIX = "base_model."  # what PeftModel puts before the names of its layers


@dataclass(frozen=True, slots=True)
class NewAdapter:
    """The adapter that is trained.

    Attributes:
        base: What it sits in.
        slot: peft's name for it on the base's layers.
        config: peft's LoraConfig.
        named: Name of each parameter in the base's layers → the parameter, fp32.
        keys: The same names → their names in peft's files.
    """

    base: Base
    slot: str
    config: Any
    named: dict[str, torch.nn.Parameter]
    keys: dict[str, str]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What an optimiser takes, in a fixed order."""
        return list(self.named.values())

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the weights in main memory, by peft's names."""
        return {
            self.keys[name]: p.detach().to("cpu", copy=True).contiguous() for name, p in self.named.items()
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over weights by peft's names.

        Raises:
            CandidateError: Other names or shapes than this adapter's.
        """
        expected = {self.keys[name]: p for name, p in self.named.items()}
        for key in sorted(expected.keys() | state.keys()):
            have = tuple(state[key].shape) if key in state else "nothing"
            want = tuple(expected[key].shape) if key in expected else "nothing"
            if have != want:
                raise CandidateError(
                    f"the adapter to start from does not fit the settings: {key} is {have}, expected {want}"
                )
        with torch.no_grad():
            for key, parameter in expected.items():
                parameter.copy_(state[key])

    def save(self, folder: Path) -> None:
        """Write ``adapter_model.safetensors`` and ``adapter_config.json``; the folder appears when it is
        whole.

        Raises:
            OutputFolderError: It cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        partial = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            save_file(self.state(), partial / "adapter_model.safetensors", metadata={"format": "pt"})
            replace(self.config, inference_mode=True).save_pretrained(str(partial))
            template = getattr(self.base.tokenizer, "chat_template", None)
            if isinstance(template, str):  # so that a later use can compare it with its own
                (partial / "chat_template.jinja").write_text(template, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
        except (OSError, SafetensorError) as error:  # a full disk is one or the other
            raise OutputFolderError(f"cannot write the adapter to {folder}: {error}") from error


@contextmanager
def new_adapter(
    base: Base, settings: QloraSettings, seed: int, start: Path | None = None, slot: str = "in_training"
) -> Iterator[NewAdapter]:
    """Within the block the base has a new adapter, switched on alone; after it, the base is as before.

    Args:
        base: May hold other adapters; they are off within the block.
        settings: Rank, alpha, dropout, targets, init, rslora and dora.
        seed: Of A's random numbers; B is zero, so training starts at the base.
        start: Adapter to take the weights from, or None.
        slot: A name that no other adapter on the base has; without dots.

    Raises:
        CandidateError: No layer matches the targets, or ``start`` does not fit.
    """
    with quiet(), compiled_when_called():  # peft imports bitsandbytes
        from peft import LoraModel

    model = base.model
    config = _lora_config(base, settings)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = _switches(model)
    random = rng_state()
    try:
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that other adapters are loaded too: they are switched off here
            tuner = LoraModel(model, config, slot)
            for layer in _layers(model):
                layer.enable_adapters(True)
                layer.set_adapter(slot)
            if settings.init == "orthogonal":
                _make_orthogonal(tuner, slot)
        yield _made(base, slot, config, tuner, start)
    finally:
        set_rng_state(random)
        _take_out(model, slot, before)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _lora_config(base: Base, settings: QloraSettings) -> Any:
    from peft import LoraConfig

    commit = (base.resolved.revision or "").partition("@")[2]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_modules(base.model, settings.targets),
        bias="none",
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        init_lora_weights="gaussian" if settings.init == "gaussian" else True,
        base_model_name_or_path=base.resolved.name,
        revision=commit or None,
    )


def _make_orthogonal(tuner: Any, slot: str) -> None:
    """Start A and B in orthogonal spaces of the rank, so that BA is zero and neither is.

    As peft's ``orthogonal_init``, which rounds both to the type of the base's weights: 4-bit ones are of integers.
    """
    for layer in _layers(tuner):
        if slot in layer.lora_A:
            a, b = layer.lora_A[slot].weight, layer.lora_B[slot].weight  # (r, I), (O, r)
            basis = torch.linalg.qr(torch.randn(len(a), len(a)))[0]
            first = torch.randn(a.shape[1], len(a) // 2) @ basis[0::2] / 10
            second = torch.randn(b.shape[0], len(a) // 2) @ basis[1::2] / 10
            a.data, b.data = first.t().contiguous().to(a.device), second.to(b.device)


def _made(base: Base, slot: str, config: Any, tuner: Any, start: Path | None) -> NewAdapter:
    from peft import get_peft_model_state_dict

    named = {name: parameter for name, parameter in tuner.named_parameters() if parameter.requires_grad}
    for parameter in named.values():
        parameter.data = parameter.data.float()  # peft makes them in the base's dtype
    # peft names the weights in its files; it walks the whole model for that, so all of them are asked for at once
    # (False: "auto" would ask the Hub about the base)
    saved = get_peft_model_state_dict(
        tuner, state_dict=dict(named), adapter_name=slot, save_embedding_layers=False
    )
    names = {id(parameter): name for name, parameter in named.items()}
    keys = {names[id(tensor)]: _PREFIX + key for key, tensor in saved.items()}
    adapter = NewAdapter(base, slot, config, named, keys)
    if start is not None:
        adapter.load(read_adapter(start)[1])
    return adapter


def _layers(model: Any) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def _switches(model: Any) -> list[tuple[Any, Any, bool]]:
    """Which adapters are active and whether adapters are off, for each layer that has any."""
    return [(layer, layer.active_adapters[:], layer.disable_adapters) for layer in _layers(model)]


def _take_out(model: Any, slot: str, before: list[tuple[Any, Any, bool]]) -> None:
    for layer, active, _ in before:
        layer.set_adapter(active, inference_mode=True)  # before the deletion, at which peft would choose one
    getattr(model, "peft_config", {}).pop(slot, None)
    kept = {id(layer) for layer, _, _ in before}
    layers = {id(layer) for layer in _layers(model)}
    for name, layer in [item for item in model.named_modules() if id(item[1]) in layers]:
        if id(layer) in kept:
            layer.delete_adapter(slot)
        elif ".base_layer" not in name:  # of two in one another, as on stacks of experts, the outer one
            model.set_submodule(name, layer.get_base_layer())
    for layer, _, disabled in before:
        layer._disable_adapters = disabled
    if not before and hasattr(model, "peft_config"):
        del model.peft_config
