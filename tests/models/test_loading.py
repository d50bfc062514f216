"""Loading, quantisation, and adapters in place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes.functional as bnb
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file, save_file

from evalkit.errors import CandidateError, ModelError
from evalkit.models.devices import choose_placement
from evalkit.models.loading import Base, load_base, resolve_dtype
from evalkit.models.quiet import quiet
from evalkit.models.selftest import write_random_adapter
from evalkit.signature import canonical_json
from evalkit.specs.study import Quantization

FolderOf = Callable[[str], Path]


def logits(base: Base) -> torch.Tensor:
    ids = torch.tensor([base.tokenizer("Once upon a time")["input_ids"]])
    with torch.no_grad():
        return base.model(input_ids=ids, use_cache=False).logits


def load(folder: Path, quantization: Quantization | str = "none") -> Base:
    return load_base(str(folder), quantization=quantization, dtype="fp32", device="cpu")


@pytest.fixture
def adapter(model_folder: FolderOf, tmp_path: Path) -> Path:
    """A random adapter for the tiny Llama."""
    write_random_adapter(load(model_folder("llama")), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("kind", "double", "block"),
    [("nf4", True, 64), ("nf4", False, 64), ("fp4", True, 64), ("nf4", True, 128), ("fp4", False, 32)],
)
def test_weights_are_those_bitsandbytes_quantises_to(
    model_folder: FolderOf, kind: Any, double: bool, block: Any
) -> None:
    base = load(model_folder("llama"), Quantization(type=kind, double=double, block=block))
    original = load_file(model_folder("llama") / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    packed, state = bnb.quantize_4bit(original, blocksize=block, compress_statistics=double, quant_type=kind)
    expected = bnb.dequantize_4bit(packed, state)
    layer = base.model.model.layers[1].mlp.up_proj
    assert isinstance(layer, Linear4bit)
    assert layer.weight.quant_state.blocksize == block
    assert layer.weight.quant_state.nested == double
    assert torch.equal(bnb.dequantize_4bit(layer.weight.data, layer.weight.quant_state), expected)
    assert not torch.equal(expected, original)


@pytest.mark.parametrize("block", [64, 128])
def test_every_4_bit_layer_is_secured_and_has_its_dtype(model_folder: FolderOf, block: Any) -> None:
    base = load(model_folder("llama"), Quantization(type="nf4", block=block))
    layers = [module for module in base.model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7  # q k v o gate up down
    assert all(layer.support_avx512bf16_for_cpu is False for layer in layers)
    assert all(layer.compute_dtype == torch.float32 for layer in layers)
    assert not isinstance(base.model.lm_head, Linear4bit)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


@pytest.mark.parametrize("block", [64, 32])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_4_bit_model_computes_with_its_quantised_weights(
    model_folder: FolderOf, family: str, block: Any
) -> None:
    quantised = load(model_folder(family), Quantization(type="nf4", block=block))
    plain = load(model_folder(family))
    count = 0
    for name, module in quantised.model.named_modules():
        if isinstance(module, Linear4bit):
            weight = bnb.dequantize_4bit(module.weight.data, module.weight.quant_state)  # (out, in)
            target = plain.model.get_submodule(name).weight.data
            target.copy_(weight.T if family == "gpt2" else weight)  # gpt2 stores (in, out)
            count += 1
    assert count == {"llama": 14, "gpt2": 8}[family]
    torch.testing.assert_close(logits(quantised), logits(plain), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(quantised), logits(load(model_folder(family))), rtol=1e-2)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_8_bit_model_is_near_the_original(model_folder: FolderOf, family: str) -> None:
    exact, near = logits(load(model_folder(family))), logits(load(model_folder(family), "int8"))
    assert torch.nn.functional.cosine_similarity(exact, near, dim=-1).min() > 0.99
    assert not torch.equal(exact, near)


def test_the_fingerprint_is_json_and_tells_quantisations_apart(model_folder: FolderOf) -> None:
    kinds = ["nf4", "none", Quantization(type="nf4", double=False), Quantization(type="nf4", block=128)]
    prints = [canonical_json(load(model_folder("llama"), kind).fingerprint()) for kind in kinds]
    assert len(set(prints)) == len(kinds)
    assert canonical_json(load(model_folder("llama"), "nf4").fingerprint()) == prints[0]
    assert canonical_json(load(model_folder("llama"), Quantization(type="nf4")).fingerprint()) == prints[0]
    assert set(json.loads(prints[0])) >= {
        "weights_sha256",
        "chat_template_sha256",
        "tokenizer_sha256",
        "threads",
    }


def test_the_fingerprint_does_not_depend_on_where_the_model_lies(
    model_folder: FolderOf, tmp_path: Path
) -> None:
    shutil.copytree(model_folder("llama"), tmp_path / "moved")
    assert load(tmp_path / "moved").fingerprint() == load(model_folder("llama")).fingerprint()


def test_the_fingerprint_sees_another_template_and_another_end_token(
    model_folder: FolderOf, tmp_path: Path
) -> None:
    for name in ("template", "end"):
        shutil.copytree(model_folder("llama"), tmp_path / name)
    (tmp_path / "template" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    (tmp_path / "end" / "generation_config.json").write_text('{"eos_token_id": [256, 257]}')
    before = load(model_folder("llama")).fingerprint()
    template, end = (load(tmp_path / name).fingerprint() for name in ("template", "end"))
    assert [key for key in before if before[key] != template[key]] == ["chat_template_sha256"]
    assert [key for key in before if before[key] != end[key]] == ["eos_ids"]


def test_dtype_auto_says_why() -> None:
    dtype, reason = resolve_dtype("auto", "cpu")
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert dtype == ("bf16" if native else "fp32")
    assert "CPU" in reason
    assert resolve_dtype("fp32", "cpu") == ("fp32", "asked for")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="sees no CUDA device"):
        choose_placement("cuda:1", "auto")


def test_missing_weights_are_an_error(model_folder: FolderOf, tmp_path: Path) -> None:
    shutil.copytree(model_folder("llama"), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"1 weights are missing, such as model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        load(tmp_path / "model")


def test_weights_of_another_shape_are_an_error(model_folder: FolderOf, tmp_path: Path) -> None:
    shutil.copytree(model_folder("llama"), tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(file.read_text().replace('"intermediate_size": 96', '"intermediate_size": 64'))
    with pytest.raises(ModelError, match="does not load"):
        load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_damaged_files_are_an_error(model_folder: FolderOf, tmp_path: Path, name: str) -> None:
    shutil.copytree(model_folder("llama"), tmp_path / "model")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError):
        load(tmp_path / "model")


def test_a_model_that_brings_code_does_not_run_it(model_folder: FolderOf, tmp_path: Path) -> None:
    shutil.copytree(model_folder("llama"), tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"},
    }
    file.write_text(json.dumps(config))
    (tmp_path / "model" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(ModelError, match="trust_remote_code"):
        load(tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_pad_token_and_left_padding(model_folder: FolderOf) -> None:
    tokenizer = load(model_folder("llama")).tokenizer
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 256


# Adapters


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_adapters_are_switched_in_place(
    model_folder: FolderOf, adapter: Path, tmp_path: Path, quantization: str
) -> None:
    from peft import PeftModel

    base = load(model_folder("llama"), quantization)
    write_random_adapter(base, tmp_path / "second", seed=1)
    layers = [type(module) for module in base.model.modules()]
    alone = logits(base)
    base.add_adapter("a.b/[x=1]#2", adapter)
    base.add_adapter("second", tmp_path / "second")
    assert torch.equal(logits(base), alone)
    with base.use("a.b/[x=1]#2"):
        first = logits(base)
        with base.use("second"):
            second = logits(base)
            with base.use(None):
                assert torch.equal(logits(base), alone)
        assert torch.equal(logits(base), first)
    assert len({float(value.sum()) for value in (alone, first, second)}) == 3
    base.remove_adapter("a.b/[x=1]#2")
    with base.use("second"):
        assert torch.equal(logits(base), second)
    base.remove_adapter("second")
    assert torch.equal(logits(base), alone)
    assert [type(module) for module in base.model.modules()] == layers
    with quiet():
        reference = PeftModel.from_pretrained(load(model_folder("llama"), quantization).model, str(adapter))
    ids = torch.tensor([base.tokenizer("Once upon a time")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(reference(input_ids=ids, use_cache=False).logits, first)


def change(adapter: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file)


KEY = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda t: t.update({KEY: torch.ones(4, 32)}),
            r"made for another base .*layers\.0\.mlp\.up_proj.*is 4×32, the base has 4×64",
        ),
        (lambda t: t.pop(KEY), r"layers\.0\.mlp\.up_proj\.lora_A\.weight is absent, the base has 4×64"),
        (
            lambda t: t.update({KEY.replace("layers.0", "layers.9"): torch.ones(4, 64)}),
            r"layers\.9.* is 4×64, the base has absent",
        ),
        (
            lambda t: t.update({k: torch.zeros_like(v) for k, v in t.items() if "lora_B" in k}),
            "every B is zero",
        ),
        (lambda t: t.update({KEY: torch.full((4, 64), float("nan"))}), "holds NaN"),
        (lambda t: t.update({k: v * 0 if "lora_A" in k else v for k, v in t.items()}), "exactly as without"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    model_folder: FolderOf, adapter: Path, edit: Any, told: str
) -> None:
    base = load(model_folder("llama"))
    alone = logits(base)
    change(adapter, edit)
    with pytest.raises(CandidateError, match=told):
        base.add_adapter("bad", adapter)
    assert base.adapters == {}
    assert torch.equal(logits(base), alone)
    write_random_adapter(load(model_folder("llama")), adapter)
    base.add_adapter("good", adapter)  # a refused adapter leaves nothing behind
    with base.use("good"):
        assert not torch.equal(logits(base), alone)


def test_a_refused_adapter_leaves_the_others_alone(
    model_folder: FolderOf, adapter: Path, tmp_path: Path
) -> None:
    base = load(model_folder("llama"))
    base.add_adapter("good", adapter)
    with base.use("good"):
        expected = logits(base)
    shutil.copytree(adapter, tmp_path / "bad")
    change(tmp_path / "bad", lambda t: t.pop(KEY))
    with pytest.raises(CandidateError, match="absent"):
        base.add_adapter("bad", tmp_path / "bad")
    with base.use("good"):
        assert torch.equal(logits(base), expected)


def test_an_adapter_of_another_architecture(model_folder: FolderOf, adapter: Path) -> None:
    with pytest.raises(CandidateError, match=r"made for another base than .*gpt2"):
        load(model_folder("gpt2")).add_adapter("foreign", adapter)


def test_what_cannot_be_switched_off_is_refused(model_folder: FolderOf, adapter: Path) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(file.read_text().replace('"bias": "none"', '"bias": "all"'))
    with pytest.raises(CandidateError, match="bias: all cannot be switched off"):
        load(model_folder("llama")).add_adapter("biased", adapter)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_incomplete_adapters(model_folder: FolderOf, adapter: Path, name: str) -> None:
    base = load(model_folder("llama"))
    content = (adapter / name).read_bytes()
    (adapter / name).write_bytes(content[:50])
    with pytest.raises(CandidateError, match=r"not JSON|damaged"):
        base.add_adapter("cut", adapter)
    (adapter / name).unlink()
    with pytest.raises(CandidateError, match=name):
        base.add_adapter("gone", adapter)


def test_another_base_or_template_is_a_warning(model_folder: FolderOf, adapter: Path) -> None:
    base = load(model_folder("llama"))
    assert base.add_adapter("same", adapter) == ()
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": "someone/else"}
    file.write_text(json.dumps(config))
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    told = base.add_adapter("other", adapter)
    assert len(told) == 2
    assert "names someone/else as its base" in told[0]
    assert "another chat template" in told[1]


def test_the_fingerprint_of_the_base_does_not_change_by_adapters(
    model_folder: FolderOf, adapter: Path
) -> None:
    base = load(model_folder("llama"), "nf4")
    before = base.fingerprint()
    base.add_adapter("one", adapter)
    assert base.fingerprint() == before
    with base.use("one"):
        assert base.fingerprint() == before
    base.remove_adapter("one")
    assert base.fingerprint() == before


def test_names_are_checked(model_folder: FolderOf, adapter: Path) -> None:
    base = load(model_folder("llama"))
    base.add_adapter("one", adapter)
    with pytest.raises(ValueError, match="loaded already"):
        base.add_adapter("one", adapter)
    with pytest.raises(ValueError, match="loaded: one"), base.use("two"):
        pass


def test_a_base_in_full_needs_no_bitsandbytes(model_folder: Callable[[str], Path]) -> None:
    # Importing it takes most of a second, and on some machines it speaks of a kernel that nobody asked for.
    script = (
        "import sys\nfrom evalkit.models.loading import load_base\n"
        "load_base(sys.argv[1], quantization='none', dtype='fp32', device='cpu')\n"
        "print('bitsandbytes' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(model_folder("llama"))]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr.strip()) == ("False", "")
