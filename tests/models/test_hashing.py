from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import CandidateError, ModelError
from evalkit.models.hashing import HASH_CACHE, adapter_sha256, tokenizer_sha256, weight_files, weights_sha256
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_random_adapter
from evalkit.signature import digest, file_sha256


def test_one_file_has_its_own_hash_and_shards_a_hash_of_hashes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert weights_sha256(tmp_path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"def")
    hashes = {file.name: file_sha256(file) for file in weight_files(tmp_path)}
    assert weights_sha256(tmp_path) == digest(hashes)
    assert len(hashes) == 2


def test_the_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"abc")
    first = weights_sha256(tmp_path)
    stamp = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert weights_sha256(tmp_path) == first  # same size and time: the remembered hash is what is given
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert weights_sha256(tmp_path) == file_sha256(file) != first
    (tmp_path / HASH_CACHE).write_text('{"model.safetensors": {"size"')
    assert weights_sha256(tmp_path) == file_sha256(file)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        weight_files(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"abc")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="names model-00002-of-00002"):
        weight_files(tmp_path)


def test_adapters_are_known_by_their_bytes_not_their_place(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = load_base(str(model_folder("llama")), quantization="none", device="cpu")
    write_random_adapter(base, tmp_path / "a")
    first = adapter_sha256(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    file = tmp_path / "b" / "adapter_config.json"
    config = json.loads(file.read_text())
    moved = config | {
        "base_model_name_or_path": "elsewhere",
        "target_modules": config["target_modules"][::-1],
    }
    file.write_text(json.dumps(moved))
    assert adapter_sha256(tmp_path / "b") == first
    file.write_text(json.dumps(config | {"lora_alpha": 99}))
    assert adapter_sha256(tmp_path / "b") != first
    write_random_adapter(base, tmp_path / "c", seed=1)
    assert adapter_sha256(tmp_path / "c") != first
    with pytest.raises(CandidateError, match="expected adapter_config"):
        adapter_sha256(tmp_path)


def test_the_hash_of_a_tokenizer_does_not_change_by_using_it(model_folder: Callable[[str], Path]) -> None:
    tokenizer = load_base(str(model_folder("llama")), quantization="none", device="cpu").tokenizer
    before = tokenizer_sha256(tokenizer)
    tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert tokenizer_sha256(tokenizer) == before
    tokenizer.add_tokens(["new"])
    assert tokenizer_sha256(tokenizer) != before
