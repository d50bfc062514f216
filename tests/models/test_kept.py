"""4-bit weights that are kept come back to the last bit, and only for what they were made from."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit

from evalkit.models import kept
from evalkit.models.devices import choose_placement
from evalkit.models.kept import kept_folder, load_kept
from evalkit.models.loading import Base, load_base
from evalkit.models.registry import resolve
from evalkit.models.selftest import input_gradients, write_random_adapter
from evalkit.specs.study import Quantization

FolderOf = Callable[[str], Path]
NF4 = Quantization(type="nf4")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own, in which small models are kept too."""
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(kept, "WORTHWHILE", 0)
    return tmp_path / "models" / "quantized"


def load(folder: Path, kind: Any = "nf4", dtype: str = "fp32", double: bool = True) -> Base:
    how = Quantization(type=kind, double=double)
    return load_base(str(folder), quantization=how, dtype=dtype, device="cpu")


def everything(base: Base) -> dict[str, Any]:
    """Every tensor of a model: weights, statistics of 4-bit ones, buffers; and the logits after a text."""
    held = {**base.model.state_dict(), **{f"buffer {name}": b for name, b in base.model.named_buffers()}}
    with torch.no_grad():
        ids = torch.tensor([base.tokenizer("Once upon a time")["input_ids"]])
        held["logits"] = base.model(input_ids=ids, use_cache=False).logits
    return held


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]) for key in first
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "gpt_oss"])
@pytest.mark.parametrize(("kind", "double", "dtype"), [("nf4", True, "fp32"), ("fp4", False, "bf16")])
def test_a_kept_base_is_the_quantised_one(
    model_folder: FolderOf, models: Path, family: str, kind: str, double: bool, dtype: str
) -> None:
    first = load(model_folder(family), kind, dtype, double)
    (folder,) = models.glob("*-*")
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    second = load(model_folder(family), kind, dtype, double)
    assert same(everything(first), everything(second))
    assert first.fingerprint() == second.fingerprint()
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert second.model.config._name_or_path == str(model_folder(family))
    assert second.model.is_loaded_in_4bit
    write_random_adapter(first, folder.parent.parent / "adapter")
    for base in (first, second):
        base.add_adapter("a", folder.parent.parent / "adapter")
        base.switch("a")
    assert same(everything(first), everything(second))
    layers = [module for module in second.model.modules() if isinstance(module, Linear4bit)]
    assert layers
    assert all(layer.support_avx512bf16_for_cpu is False for layer in layers)
    assert all(layer.compute_dtype == second.placement.torch_dtype for layer in layers)


def test_gradients_through_a_kept_base_are_those_of_the_quantised_one(
    model_folder: FolderOf, models: Path
) -> None:
    found = []
    for _ in range(2):
        base = load(model_folder("llama"), dtype="bf16")
        ids = torch.tensor([base.tokenizer("Once upon a time")["input_ids"]])
        found.extend(input_gradients(base.model, ids, lambda: base.model(input_ids=ids)))  # noqa: B023
    assert float(found[0].abs().max()) > 0
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_it_is_the_kept_one_that_is_read(model_folder: FolderOf, models: Path) -> None:
    load(model_folder("llama"))
    (folder,) = models.glob("*-*")
    reads = []

    def never() -> Any:
        pytest.fail("quantised again")

    assert load_kept(folder, lambda path: reads.append(path) or "the model", never) == "the model"
    assert reads == [folder]


@pytest.mark.parametrize("harm", ["cut", "card", "gone", "ends"])
def test_what_is_damaged_is_quantised_and_kept_again(model_folder: FolderOf, models: Path, harm: str) -> None:
    before = everything(load(model_folder("llama")))
    (folder,) = models.glob("*-*")
    weights = folder / "model.safetensors"
    if harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "card":
        (folder / kept.CARD).write_text("{}")
    elif harm == "ends":  # which tokens end an answer
        (folder / "generation_config.json").write_text("{}")
    else:
        weights.unlink()
    assert same(before, everything(load(model_folder("llama"))))
    assert json.loads((folder / kept.CARD).read_text())["weights"]
    assert same(before, everything(load(model_folder("llama"))))
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == [folder.name]


def test_other_weights_settings_and_versions_are_kept_apart(
    model_folder: FolderOf, models: Path, tmp_path: Path
) -> None:
    resolved = resolve(str(model_folder("llama")))
    here = choose_placement("cpu", "fp32")
    folders = [
        kept_folder(resolved, NF4, here),
        kept_folder(replace(resolved, sha256="other"), NF4, here),
        kept_folder(resolved, Quantization(type="fp4"), here),
        kept_folder(resolved, Quantization(type="nf4", double=False), here),
        kept_folder(resolved, NF4, choose_placement("cpu", "bf16")),
    ]
    assert len(set(folders)) == len(folders)
    assert folders[0] == kept_folder(resolved, NF4, here)
    for no in (Quantization(type="none"), Quantization(type="int8"), Quantization(type="nf4", block=128)):
        assert kept_folder(resolved, no, here) is None
    changed = tmp_path / "changed"
    shutil.copytree(resolved.path, changed)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    assert kept_folder(replace(resolved, path=changed), NF4, here) != folders[0]


def test_small_models_are_not_kept(model_folder: FolderOf) -> None:
    resolved = resolve(str(model_folder("llama")))
    assert kept_folder(resolved, NF4, choose_placement("cpu", "fp32")) is None


def test_an_older_one_makes_room(model_folder: FolderOf, models: Path) -> None:
    load(model_folder("llama"))
    (folder,) = models.glob("*-*")
    older = folder.with_name(f"{folder.name.partition('-')[0]}-00000000")
    folder.rename(older)
    other = models / "another-00000000"
    other.mkdir()
    load(model_folder("llama"))
    assert {path.name for path in models.glob("*-*")} == {folder.name, other.name}


def test_what_comes_back_otherwise_is_not_kept(
    model_folder: FolderOf, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = load(model_folder("llama"))
    shutil.rmtree(models)
    other = load(model_folder("llama"))
    shutil.rmtree(models)
    with torch.no_grad():
        other.model.model.norm.weight[0] += 1e-3
    folder = models / "one-two"
    with caplog.at_level(logging.DEBUG):
        assert load_kept(folder, lambda path: other.model, lambda: base.model) is base.model
    assert "comes back otherwise" in caplog.text
    assert not folder.exists()
    assert [path for path in models.iterdir() if path.is_dir()] == []


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    model_folder: FolderOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(kept, "WORTHWHILE", 0)
    assert same(everything(load(model_folder("llama"))), everything(load(model_folder("llama"))))
