"""``evalkit model pull|path|list|inspect``: the model registry."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer

from evalkit.models.registry import REGISTRY, installed, models_dir, pull, resolve

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="A registry name, owner/name[@revision] on the Hub, a folder or a .gguf.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("pull")
def pull_model(
    names: Annotated[list[str], typer.Argument(help="Registry names, or owner/name[@revision] on the Hub.")],
) -> None:
    """Bring models to this machine. Prints the folder of each."""
    for name in names:
        shown = _Progress()
        resolved = pull(name, shown)
        shown.close()
        typer.echo(str(resolved.path))


@app.command("path")
def path_of_model(name: Name) -> None:
    """Print the local folder of a model's weights."""
    typer.echo(str(resolve(name).path))


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the registry, and which of its models are on this machine."""
    rows = [
        {
            "name": name,
            "installed": installed(name),
            "licence": entry.licence,
            "description": entry.description,
        }
        for name, entry in REGISTRY.items()
    ]
    if as_json:
        typer.echo(json.dumps({"folder": str(models_dir()), "models": rows}, indent=2, ensure_ascii=False))
        return
    for row in rows:
        typer.echo(
            f"{'✓' if row['installed'] else ' '} {row['name']:<28}  {row['licence']:<10}  {row['description']}"
        )
    typer.echo(f"✓ is in {models_dir()}; bring another with: evalkit model pull NAME", err=True)


@app.command("inspect")
def inspect_model(name: Name, as_json: AsJson = False) -> None:
    """Show what a model is: hash, revision, architecture, size, chat template."""
    resolved = resolve(name)
    config = _read_json(resolved.path / "config.json")
    tokenizer = _read_json(resolved.path / "tokenizer_config.json")
    templated = (resolved.path / "chat_template.jinja").is_file() or "chat_template" in tokenizer
    found: dict[str, Any] = {
        "name": resolved.name,
        "path": str(resolved.path),
        "sha256": resolved.sha256,
        "revision": resolved.revision,
        "architecture": (config.get("architectures") or ["unknown"])[0],
        "layers": config.get("num_hidden_layers", config.get("n_layer")),
        "hidden_size": config.get("hidden_size", config.get("n_embd")),
        "vocabulary": config.get("vocab_size"),
        "context": config.get("max_position_embeddings", config.get("n_positions")),
        "bytes": sum(file.stat().st_size for file in resolved.path.glob("*.safetensors")),
        "chat_template": templated,
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for key, value in found.items():
        typer.echo(f"{key:<14} {value}")


class _Progress:
    """One rewritten line on a terminal, a line every ten seconds elsewhere; all on stderr."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._what = ""
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        share = f" {100 * done // total} % of {total // 1_000_000} MB" if total else ""
        if self._live:
            print(f"\r\x1b[K{what} …{share}", end="", file=sys.stderr, flush=True)
        elif what != self._what or time.monotonic() - self._last > 10:
            print(f"{what} …{share}", file=sys.stderr, flush=True)
            self._last = time.monotonic()
        self._what = what

    def close(self) -> None:
        """End the rewritten line."""
        if self._live and self._what:
            print(file=sys.stderr)


def _read_json(file: Any) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
