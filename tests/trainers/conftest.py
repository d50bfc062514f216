"""The qlora loop on tiny random models, with rows that can be learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from evalkit.catalog import find, load_module
from evalkit.data.conversation import Conversation
from evalkit.models.loading import Base, load_base
from evalkit.models.selftest import write_tiny_model
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def qlora() -> ModuleType:
    """``trainers/qlora/train.py``, through the catalog's own loader."""
    return load_module(find("trainers", "qlora").path / "train.py")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden size 64 with a byte-level tokenizer."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=272,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # a frozen random head of the usual 0.02 cannot say anything with confidence
    )
    write_tiny_model(folder, config)
    return folder


@pytest.fixture
def base_of(tiny_folder: Path) -> Callable[..., Base]:
    """Quantization → the tiny Llama, loaded anew."""

    def load(quantization: str = "none", folder: Path = tiny_folder) -> Base:
        return load_base(str(folder), quantization=quantization, dtype="fp32", device="cpu")

    return load


@pytest.fixture(scope="session")
def rows() -> list[Conversation]:
    """24 short chats of different lengths."""
    return [
        Conversation(
            row=number + 1,
            messages=[
                {"role": "user", "content": f"Card {number * 37 % 101} {'please ' * (number % 4)}?"},
                {"role": "assistant", "content": f"Answer {'abcdef'[number % 6] * (1 + number % 5)}"},
            ],
        )
        for number in range(24)
    ]


@pytest.fixture
def job_of(base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path) -> Callable[..., Any]:
    """Settings and fields of a job → (job, the rows of its log)."""

    def make(
        settings: dict[str, Any] | None = None, **fields: Any
    ) -> tuple[TrainingJob, list[dict[str, Any]]]:
        log: list[dict[str, Any]] = []
        given: dict[str, Any] = {
            "base": fields.pop("base", None) or base_of(fields.pop("quantization", "none")),
            "settings": QloraSettings(**{"rank": 4, "batch_size": 8, "epochs": 1.0, **(settings or {})}),
            "train": rows,
            "validation": [],
            "folder": tmp_path / "work",
            "log": log.append,
            **fields,
        }
        return TrainingJob(**given), log

    return make
