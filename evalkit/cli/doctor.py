"""``evalkit doctor``: device, versions, self-tests, what is missing and the command that mends it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

import evalkit
from evalkit.errors import SandboxError
from evalkit.sandbox import check_sandbox

__all__ = ["app"]

app = typer.Typer()


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON on stdout.")] = False,
) -> None:
    """Check this machine and say what is missing. Exit code 1 if a self-test fails."""
    typer.echo("Running the self-tests …", err=True)
    found = {**evalkit.examine(), "sandbox": _sandbox()}
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(found)), err=True)
    if not found["ok"]:
        raise typer.Exit(1)


def _sandbox() -> dict[str, str | None]:
    """Start one, as a task of kind code would; only such tasks need it, so its absence is no failure."""
    try:
        return {"bubblewrap": check_sandbox(), "reason": None}
    except SandboxError as error:
        return {"bubblewrap": None, "reason": " ".join(error.messages)}


def _lines(found: dict[str, Any]) -> list[str]:
    device, models = found["device"], found["models"]
    packages = ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["packages"].items())
    lines = [
        f"Device    {device['device']} ({device['kind']}), {device['threads']} of {device['cores']} cores",
        f"Dtype     auto is {device['dtype']}: {device['reason']}",
        f"Versions  Python {found['python']}, {packages}",
        f"Models    {', '.join(models['installed']) or 'none'} in {models['folder']}",
        f"Sandbox   {found['sandbox']['bubblewrap'] or found['sandbox']['reason']}",
    ]
    lines += [
        f"{'✓' if check['passed'] else '✗'} {check['name']}: {check['detail']}" for check in found["checks"]
    ]
    lines += [f"Missing: {item['what']}. Type: {item['command']}" for item in found["missing"]]
    return [
        *lines,
        "All self-tests passed." if found["ok"] else "Something is wrong: see the lines with ✗ or MISSING.",
    ]
