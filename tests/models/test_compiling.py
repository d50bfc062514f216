"""bitsandbytes is imported without torch's compiler; what it compiles is compiled when it is called."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from evalkit.models.compiling import compiled_when_called

IMPORT = """
import sys, torch
from evalkit.models.quantizing import quantization_arguments
from evalkit.specs.study import Quantization
compile = torch.compile
quantization_arguments(Quantization(type="nf4"), torch.float32)
import bitsandbytes.backends.default.ops
assert torch.compile is compile
print("torch._inductor.compile_fx" in sys.modules)
"""


def test_the_compiler_is_not_loaded() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "False", found.stderr


def test_a_function_is_compiled_once_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def compile_(function: Any, **settings: Any) -> Any:
        asked.append(settings)
        return lambda x: function(x) + 1

    monkeypatch.setattr(torch, "compile", compile_)
    with compiled_when_called():

        @torch.compile(dynamic=False)
        def twice(x: int) -> int:
            return 2 * x

        @torch.compile
        def thrice(x: int) -> int:
            return 3 * x

    assert torch.compile is compile_
    assert (asked, twice.__name__) == ([], "twice")
    assert [twice(5), twice(6), thrice(1)] == [11, 13, 4]
    assert asked == [{"dynamic": False}, {}]


def test_torch_has_its_own_again_after_a_failed_import() -> None:
    real = torch.compile
    with pytest.raises(ImportError), compiled_when_called():
        raise ImportError
    assert torch.compile is real
