"""A GGUF file becomes an ordinary folder of safetensors, once.

transformers 5 keeps GGUF weights packed and then refuses to save or to re-quantise them, so they are
de-quantised to fp32: the values that llama.cpp computes with, not an approximation of them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from evalkit.errors import ModelError
from evalkit.models.quiet import quiet

__all__ = ["convert_gguf"]

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RuntimeError,  # NotImplementedError for an architecture or a packing it does not know is one
    struct.error,
)
"""What transformers' reader raises for a file that is cut, damaged or of an unknown kind."""
PROBE = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Où est  le café?\n\t1234567 + 89.5 = ? Straße, 日本語, don't, 🙂"},
]


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the weights, tokenizer and chat template of a GGUF file into a folder.

    Args:
        file: The GGUF file.
        folder: An empty folder; gets model.safetensors in fp32, config.json, tokenizer.json, chat template.

    Raises:
        ModelError: transformers cannot read this file, or what was saved would tokenise differently.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model, loading = AutoModelForCausalLM.from_pretrained(
                **where,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
        except UNREADABLE as error:
            raise ModelError(
                f"{file} cannot be read as a GGUF model: {type(error).__name__}: {error}"
            ) from error
        if loading["missing_keys"]:
            raise ModelError(f"{file} lacks weights: {', '.join(sorted(loading['missing_keys'])[:3])}")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        saved = AutoTokenizer.from_pretrained(folder)
    same_template = saved.chat_template == tokenizer.chat_template
    same_ids = all(
        saved(turn["content"])["input_ids"] == tokenizer(turn["content"])["input_ids"] for turn in PROBE
    )
    if not (same_template and same_ids):
        raise ModelError(f"{file}: the saved tokenizer does not give the ids of the GGUF's own.")
