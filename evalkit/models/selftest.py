"""Checks that this machine's stack of torch, transformers, peft and bitsandbytes computes what evalkit relies on.

Each check builds a tiny random model, so all of them together take seconds. ``evalkit doctor`` shows them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.errors import EvalkitError
from evalkit.models import chat
from evalkit.models.loading import Base, load_base
from evalkit.models.local import LocalModel, ids_sha256
from evalkit.models.quiet import quiet
from evalkit.records import Generation, Message, Request

__all__ = [
    "Check",
    "adapter_off",
    "input_gradients",
    "prompt_identity",
    "self_test",
    "tiny_base",
    "write_random_adapter",
    "write_tiny_model",
]

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Check:
    """What a self-test found.

    Attributes:
        name: What was checked.
        passed: Whether it holds.
        detail: The numbers behind it.
    """

    name: str
    passed: bool
    detail: str


def self_test() -> list[Check]:
    """Run every check; an error inside one is its result, not an exception."""
    checks: list[Callable[[], Check]] = [_gradients_checked, _prompts_checked, _adapter_checked]
    return [_guarded(check) for check in checks]


def input_gradients(
    model: Any, ids: torch.Tensor, evaluate: Callable[[], object]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of a fixed function of the logits at the input embeddings, before and after an evaluation.

    Args:
        model: A causal language model.
        ids: (B, T).
        evaluate: Something that runs the model in eval mode, as validation during training does.

    Returns:
        Two tensors (B, T, hidden); equal where evaluating leaves the path of the gradients alone. Zeros where
        there is no gradient at all.
    """
    before = _gradient(model, ids)
    training = model.training
    model.eval()
    with torch.no_grad():
        evaluate()
    model.train(training)
    return before, _gradient(model, ids)


def prompt_identity(base: Base) -> Check:
    """The ids that answering sends are those that training learns from, and end where the answer begins."""
    messages: list[Message] = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Où est le café?\n 2 + 2 = ? 🙂"},
    ]
    trained_on = chat.prompt_ids(base.tokenizer, messages)
    request = Request("1", "generate", messages, Generation(max_new_tokens=1))
    sent = next(LocalModel(base).answer([request])).prompt_ids_sha256
    prompt = chat.render(base.tokenizer, messages, True)
    answered = chat.render(base.tokenizer, [*messages, {"role": "assistant", "content": "Là-bas."}], False)
    same, begins = sent == ids_sha256(trained_on), answered.startswith(prompt)
    detail = f"{len(trained_on)} ids, {'the same' if same else 'NOT the same'} in training and answering"
    return Check("prompt ids in training and answering", same and begins, detail)


def adapter_off(base: Base, adapter: Path) -> Check:
    """With an adapter loaded but switched off, and after it is removed, the logits are the base's to the bit."""
    ids = _ids(base)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return base.model(input_ids=ids, use_cache=False).logits.clone()  # type: ignore[no-any-return]

    alone = logits()
    base.add_adapter("self-test", adapter)
    off = logits()
    with base.use("self-test"):
        on = logits()
    base.remove_adapter("self-test")
    same = torch.equal(alone, off) and torch.equal(alone, logits())
    detail = f"off: largest difference {float((alone - off).abs().max()):g}; on: {float((alone - on).abs().max()):.3g}"
    return Check("adapter off equals base", same and not torch.equal(alone, on), detail)


@contextmanager
def tiny_base(quantization: str = "none", dtype: str = "fp32", device: str = "auto") -> Iterator[Base]:
    """A tiny random Llama with a chat template, written to a temporary folder and loaded like any other model."""
    with tempfile.TemporaryDirectory(prefix="evalkit-self-test-") as name:
        write_tiny_model(Path(name))
        yield load_base(name, quantization=quantization, dtype=dtype, device=device)


def write_tiny_model(folder: Path, config: Any = None) -> None:
    """Write a random model and a byte-level tokenizer of 261 ids with a chat template.

    Args:
        folder: Where to.
        config: A transformers configuration with ``vocab_size`` 262 or more; by default a Llama of hidden size 64.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|start|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|start|>")
    fast.chat_template = TEMPLATE
    if config is None:
        config = LlamaConfig(
            vocab_size=272,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
        )
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 260, 256, None
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.save_pretrained(folder)
        fast.save_pretrained(folder)


def write_random_adapter(base: Base, folder: Path, seed: int = 0) -> None:
    """Write a LoRA adapter of rank 4 on all linear layers, with random A and B, for this base."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    with quiet(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that gpt2 stores its weights the other way round
        torch.manual_seed(seed)
        wrapped = get_peft_model(base.model, config)
        wrapped.save_pretrained(folder)
        wrapped.unload()


def _gradient(model: Any, ids: torch.Tensor) -> torch.Tensor:
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_(True)  # (B, T, H)
    logits = model(inputs_embeds=embedded, use_cache=False).logits.float()
    weights = torch.linspace(-1.0, 1.0, logits.shape[-1], device=logits.device)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), embedded, allow_unused=True)
    return torch.zeros_like(embedded) if gradient is None else gradient


def _ids(base: Base) -> torch.Tensor:
    return torch.tensor([base.tokenizer("Once upon a time, 1234!")["input_ids"]], device=base.device)


def _gradients_checked() -> Check:
    name = "gradients through a 4-bit base after an evaluation"
    with tiny_base("nf4", "auto") as base:
        ids = _ids(base)
        base.model.train()
        before, after = input_gradients(base.model, ids, lambda: base.model(input_ids=ids))
    largest = float((before - after).abs().max())
    alive = bool(before.any()) and bool(after.any())
    return Check(
        name, alive and largest == 0.0, f"norm {float(before.norm()):.4g}, largest change {largest:g}"
    )


def _prompts_checked() -> Check:
    with tiny_base() as base:
        return prompt_identity(base)


def _adapter_checked() -> Check:
    with tiny_base("nf4", "auto") as base, tempfile.TemporaryDirectory() as folder:
        write_random_adapter(base, Path(folder))
        return adapter_off(base, Path(folder))


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (EvalkitError, RuntimeError, ImportError, OSError, ValueError) as error:
        return Check(check.__name__.strip("_").replace("_", " "), False, f"{type(error).__name__}: {error}")
