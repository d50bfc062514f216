"""A byte-level tokenizer with the special tokens of many families, and tiny random models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models.loading import Base, load_base
from evalkit.models.selftest import write_tiny_model

TEMPLATES = Path(__file__).parent / "templates"
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<bos>", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "[INST]", "[/INST]", "<|endoftext|>", "<|system|>",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
    "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
    "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
    "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
]  # fmt: skip
START_AND_END = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "chatml_marked": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma": ("<bos>", "<end_of_turn>"),
    "gemma3_merge": ("<bos>", "<end_of_turn>"),
    "mistral": ("<s>", "</s>"),
    "qwen2": ("<|endoftext|>", "<|im_end|>"),
    "qwen3": ("<|im_start|>", "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "phi3": ("<s>", "<|endoftext|>"),
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "command_r": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    "granite": ("<|end_of_text|>", "<|end_of_text|>"),
    "zephyr": ("<s>", "</s>"),
    "zephyr_trim": ("<s>", "</s>"),
    "llama2_merge": ("<s>", "</s>"),
    "drops_system": ("<s>", "</s>"),
}
"""Template → the start and end token that its models come with."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden size 64 with a byte-level tokenizer: id = place of the byte, 256 ends an answer."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(folder)
    return folder


@pytest.fixture
def base_of(tiny_folder: Path) -> Callable[..., Base]:
    """Quantization → the tiny Llama, loaded anew."""

    def load(quantization: str = "none", folder: Path = tiny_folder) -> Base:
        return load_base(str(folder), quantization=quantization, dtype="fp32", device="cpu")

    return load


@pytest.fixture
def tokenizer_of(tiny_folder: Path) -> Callable[[str], Any]:
    """Name of a template → a byte-level tokenizer with it."""
    from transformers import AutoTokenizer

    def load(name: str) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
        tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
        tokenizer.bos_token, tokenizer.eos_token = START_AND_END.get(name, ("<s>", "</s>"))
        path = TEMPLATES / f"{name}.jinja"
        tokenizer.chat_template = path.read_text(encoding="utf-8").rstrip("\n") if path.is_file() else name
        return tokenizer

    return load
