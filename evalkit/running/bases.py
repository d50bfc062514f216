"""A base that is loaded when it is first needed: a run in which everything is in the cache loads no weights.

What cache keys need of a base (its fingerprint) follows from the files of its folder, the way it is loaded and
the versions of the stack; it is kept in the cache under the hash of these, as are the warnings of an adapter's
preflight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import CandidateError
from evalkit.models.beside import PREFIX
from evalkit.models.chat import has_chat_template
from evalkit.models.devices import device_kind
from evalkit.models.limits import Limits
from evalkit.models.loading import STACK, Base, load_base
from evalkit.models.local import LocalModel, local_fingerprint
from evalkit.models.registry import resolve
from evalkit.records import Output, Request
from evalkit.running.cache import Cache
from evalkit.running.plan import BaseChoice
from evalkit.running.progress import Progress
from evalkit.signature import digest, file_sha256
from evalkit.specs.study import Form

__all__ = ["Adapter", "LazyBase", "LazyModel"]

_WEIGHTS = {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack"}


class Adapter(NamedTuple):
    """A candidate's adapter.

    Attributes:
        name: On the base: the candidate's.
        path: Folder in peft's format.
        sha256: See ``hashing.adapter_sha256``.
        form: How it is merged; None where it acts beside the base's weights.
    """

    name: str
    path: Path
    sha256: str
    form: Form | None = None


class LazyBase:
    """One base of a run.

    Args:
        choice: Which model, and how it is held.
        cache: Remembers the fingerprint.
        progress: Hears of the loading.

    Attributes:
        failed: Candidate → why it could not be trained on this base, beside others.
        rows: What candidates are trained on, as stage train finds it: read, split and hashed once a run.
        training_seconds: Candidate → what its training took in this run: its share of a common pass.
    """

    def __init__(self, choice: BaseChoice, cache: Cache, progress: Progress) -> None:
        self._choice, self._cache, self._progress = choice, cache, progress
        self._loaded: Base | None = None
        self._known: dict[str, Any] | None = None
        self._told: set[str] = set()
        self.failed: dict[str, CandidateError] = {}
        self.training_seconds: dict[str, float] = {}
        self.rows: dict[str, Any] = {}

    @property
    def device(self) -> str:
        """Where it is computed: ``cpu`` or ``cuda:N``."""
        return self._choice.device

    @property
    def has_chat_template(self) -> bool:
        """Whether its tokenizer brings a chat template."""
        return bool(self._facts()["chat"])

    def fingerprint(self) -> dict[str, Any]:
        """See ``Base.fingerprint``."""
        return dict(self._facts()["fingerprint"])

    def load(self) -> Base:
        """Return the base, loaded once.

        Raises:
            ModelError: It is not on this machine, or does not fit.
        """
        if self._loaded is None:
            choice = self._choice
            self._progress.stage(f"load {choice.model} ({choice.quantization.type}, {choice.dtype})")
            self._loaded = load_base(
                choice.model,
                quantization=choice.quantization,
                dtype=choice.dtype,
                device=choice.device,
                trust_remote_code=choice.trust_remote_code,
            )
            self._progress.done()
        return self._loaded

    def preflight(self, name: str, path: Path, sha256: str, form: Form | None = None) -> tuple[str, ...]:
        """Check once that an adapter fits, and can be merged if it is to be; return the warnings for the reader.

        Raises:
            CandidateError: It does not fit this base, or changes nothing (see ``Base.add_adapter``).
        """
        about = {"base": self.fingerprint(), "adapter": sha256, "path": str(path)}
        about |= {} if form is None else {"form": form}
        key = digest({"stage": "preflight", "version": 1, **about})
        known = self._cache.get_many([key])
        if key not in known:
            known[key] = list(self.load().add_adapter(name, path, form))
            self._cache.put(key, known[key])
        return tuple(known[key])

    def tell(self, note: str) -> None:
        """Say once a run what the reader should know of this base."""
        if note not in self._told:
            self._told.add(note)
            self._progress.say(note)

    def put_on(self, adapter: Adapter | None) -> Base:
        """Return the base with this adapter in memory, switched off.

        Raises:
            CandidateError: It does not fit (see ``Base.add_adapter``).
        """
        base = self.load()
        if adapter is not None and adapter.name not in base.adapters:
            base.add_adapter(adapter.name, adapter.path, adapter.form)
        return base

    def forget(self, name: str) -> None:
        """Take an adapter out of memory, if it is there."""
        if self._loaded is not None and name in self._loaded.adapters:
            self._loaded.remove_adapter(name)

    def _facts(self) -> dict[str, Any]:
        if self._known is None:
            key = self._key()
            known = self._cache.get_many([key])
            if key not in known:
                base = self.load()
                known[key] = {"fingerprint": base.fingerprint(), "chat": has_chat_template(base.tokenizer)}
                self._cache.put(key, known[key])
            self._known = known[key]
        return self._known

    def _key(self) -> str:
        import torch

        choice = self._choice
        resolved = resolve(choice.model)
        files = {
            path.relative_to(resolved.path).as_posix(): file_sha256(path)
            for path in sorted(resolved.path.rglob("*"))
            if path.is_file() and path.suffix not in _WEIGHTS and not path.name.startswith(PREFIX)
        }
        return digest(
            {
                "stage": "fingerprint",
                "version": 1,
                "weights": resolved.sha256,
                "files": files,
                "quantization": choice.quantization.model_dump(mode="json"),
                "dtype": choice.dtype,
                "device": device_kind(choice.device),
                "threads": torch.get_num_threads(),
                "trust_remote_code": choice.trust_remote_code,
                "versions": {name: version(name) for name in STACK},
            }
        )


class LazyModel:
    """A local candidate whose base is loaded with its first request (see ``models.base.Model``).

    Args:
        base: What it stands on.
        adapter: Its adapter; None for the base alone.
        limits: How much is computed at once; by device where None, which is no part of its fingerprint.
    """

    def __init__(self, base: LazyBase, adapter: Adapter | None, limits: Limits | None = None) -> None:
        self._base, self._adapter, self._limits = base, adapter, limits

    def in_other_batches(self, requests: int) -> LazyModel:
        """The same candidate, which answers in other batches than it does when it is asked so many at once.

        Its fingerprint is another one: in bf16 an answer may depend on its batch.
        """
        return LazyModel(self._base, self._adapter, Limits.of(self._base.device).other(requests))

    def fingerprint(self) -> Mapping[str, Any]:
        """See ``LocalModel.fingerprint``."""
        adapter = self._adapter
        known = local_fingerprint(
            self._base.fingerprint(), *((None, None) if adapter is None else (adapter.sha256, adapter.form))
        )
        return known if self._limits is None else {**known, "limits": asdict(self._limits)}

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        """See ``LocalModel.answer``. The base is loaded in this call, before the first answer is asked for."""
        base = self._base.put_on(self._adapter)
        name = None if self._adapter is None else self._adapter.name
        return LocalModel(base, name, limits=self._limits, tell=self._base.tell).answer(requests)
