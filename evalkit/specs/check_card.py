"""The cards of the catalog: their keys, their names, and the files beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.catalog import KINDS
from evalkit.specs.explain import Mistake, PathInFile, explain, shown
from evalkit.specs.judge import JudgeSpec
from evalkit.specs.task import TaskSpec
from evalkit.specs.trainer import QloraSettings, TrainerSpec
from evalkit.specs.yaml import Document, read

__all__ = ["load_judge", "load_task", "load_trainer"]


def load_task(path: str | Path) -> TaskSpec:
    """Read a task's card; ``path`` is its folder or the card itself.

    Raises:
        SpecError: One message for each mistake, missing files beside the card included.
    """
    document = read(_card(path, "tasks"))
    mistakes = [*explain(TaskSpec, document.data), *_named_as_its_folder(document, "task"), *_task(document)]
    document.refuse(mistakes)
    return TaskSpec.model_validate(document.data)


def load_trainer(path: str | Path) -> TrainerSpec:
    """Read a trainer's card; ``path`` is its folder or the card itself.

    Raises:
        SpecError: One message for each mistake, unknown or impossible default settings included.
    """
    document = read(_card(path, "trainers"))
    mistakes = [*explain(TrainerSpec, document.data), *_named_as_its_folder(document, "trainer")]
    if not mistakes:
        trainer = TrainerSpec.model_validate(document.data)
        mistakes += explain(QloraSettings, trainer.settings, ("settings",))
        for name in trainer.adds:
            if name in QloraSettings.model_fields:
                mistakes.append(
                    Mistake(("adds", name), "every trainer has this setting; put it under 'settings'")
                )
    document.refuse(mistakes)
    return trainer


def load_judge(path: str | Path) -> JudgeSpec:
    """Read a judge's card; ``path`` is its folder or the card itself.

    Raises:
        SpecError: One message for each mistake, a missing template included.
    """
    document = read(_card(path, "judges"))
    mistakes = [*explain(JudgeSpec, document.data), *_named_as_its_folder(document, "judge")]
    mistakes += _beside(document, ("prompt",), document.data.get("prompt", "prompt.j2"))
    document.refuse(mistakes)
    return JudgeSpec.model_validate(document.data)


def _card(path: str | Path, kind: str) -> Path:
    path = Path(path)
    return path / KINDS[kind] if path.is_dir() else path


def _named_as_its_folder(document: Document, key: str) -> Iterator[Mistake]:
    """The catalog goes by folders, results by names: they have to be the same."""
    name, folder = document.data.get(key), document.path.resolve().parent.name
    if isinstance(name, str) and name != folder:
        yield Mistake(
            (key,), f"expected {folder!r}, the name of its folder, got {name!r}; rename one of them"
        )


def _task(document: Document) -> Iterator[Mistake]:
    yield from _task_keys(document)
    data = document.data
    for path, value in document.at("data", "*"):
        yield from _beside(document, path, value)
    implied = None if data.get("messages") is not None or _from_lm_eval(document) else "prompt.j2"
    prompt = data.get("prompt") or implied
    if isinstance(prompt, str) and prompt.endswith((".j2", ".jinja")):
        yield from _beside(document, ("prompt",), prompt)
    extract = data.get("extract")
    if isinstance(extract, str) and ".py:" in extract:
        yield from _beside(document, ("extract",), extract.partition(":")[0])


def _task_keys(document: Document) -> Iterator[Mistake]:
    """Keys that exclude or need each other."""
    data = document.data
    kind = data.get("kind", "generate")
    if data.get("prompt") is not None and data.get("messages") is not None:
        yield Mistake(("messages",), "expected either 'prompt' or 'messages', got both")
    if kind == "perplexity" and data.get("messages") is not None:
        yield Mistake(("messages",), "kind: perplexity measures a text: it needs 'prompt'")
    if kind == "choice" and data.get("choices") is None and not _from_lm_eval(document):
        yield Mistake((), "missing key 'choices': kind: choice needs a field of the row, or a list")
    if kind != "choice" and data.get("choices") is not None:
        yield Mistake(("choices",), f"expected kind: choice beside 'choices', got {shown(kind)}")
    yield from _conversation_keys(data, kind)
    splits = data.get("data")
    if data.get("fewshot") and isinstance(splits, dict) and splits.get("fewshot") is None:
        yield Mistake(("fewshot",), "examples need rows: expected data.fewshot")
    names = [use.get("metric") if isinstance(use, dict) else use for _, use in document.at("metrics", "*")]
    primary = data.get("primary")
    if isinstance(primary, str) and names and primary not in names:
        listed = ", ".join(str(name) for name in names)
        yield Mistake(("primary",), f"expected one of the task's metrics ({listed}), got {primary!r}")


def _conversation_keys(data: dict[str, Any], kind: object) -> Iterator[Mistake]:
    if kind != "conversation":
        if data.get("turns") is not None:
            yield Mistake(("turns",), f"expected kind: conversation beside 'turns', got {shown(kind)}")
        return
    if data.get("turns") is None and data.get("messages") is None:
        yield Mistake((), "missing key 'turns': kind: conversation needs a field with the user's turns")
    if data.get("turns") is not None and data.get("messages") is not None:
        yield Mistake(("turns",), "expected either 'turns' or 'messages', got both")
    if data.get("chat") is False:
        yield Mistake(("chat",), "a conversation is a chat: expected auto or true, got false")
    generation = data.get("generation")
    if isinstance(generation, dict) and generation.get("samples", 1) != 1:
        yield Mistake(
            ("generation", "samples"),
            f"a conversation goes on from one answer: expected 1, got {shown(generation['samples'])}",
        )
    splits = data.get("data")
    if isinstance(splits, dict) and splits.get("fewshot") is not None:
        yield Mistake(("data", "fewshot"), "kind: conversation has no few-shot examples; take the key out")


def _from_lm_eval(document: Document) -> bool:
    return any(True for _ in document.at("data", "*", "lm_eval"))


def _beside(document: Document, path: PathInFile, value: object) -> Iterator[Mistake]:
    if isinstance(value, str) and not (document.path.parent / value).is_file():
        yield Mistake(path, f"no such file: {document.path.parent / value}")
