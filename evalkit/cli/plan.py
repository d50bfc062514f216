"""``evalkit plan STUDY``: what a run would do, with every setting and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import evalkit
from evalkit.cli.run import names

__all__ = ["app"]

app = typer.Typer()


@app.command()
def plan(
    study: Annotated[Path, typer.Argument(help="The study's YAML.")] = Path("study.yaml"),
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many samples a task.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these candidates and their controls.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON on stdout.")] = False,
) -> None:
    """Show what a run would do: candidates, settings and their origin, tasks, tokens. Spends nothing."""
    described = evalkit.describe(evalkit.plan(study, limit=limit, only=names(only, more)))
    typer.echo(
        json.dumps(described, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(described))
    )


def _lines(described: dict[str, Any]) -> list[str]:
    lines = [f"study {described['study']} (seed {described['seed']})", "", "tasks"]
    for task in described["tasks"]:
        metrics = ", ".join(f"{name}*" if name == task["primary"] else name for name in task["metrics"])
        lines.append(
            f"  {task['name']}: {task['samples']} samples, {task['kind']}, {metrics} ({task['origin']})"
        )
        lines += _power(task)
        if task["noise"]:
            lines.append(f"    noise floor: {task['noise']} of them answered again in other batches")
    lines += ["", "candidates"]
    for candidate in described["candidates"]:
        lines += _candidate(candidate)
    for found in described["passes"]:
        members = ", ".join(found["candidates"])
        if found["alone"] is not None:
            lines.append(f"  {members} trains alone: {found['alone']}")
        elif len(found["candidates"]) > 1:
            lines.append(f"  {members} train in one pass")
    for search in described["searches"]:
        lines += _search(search)
    lines += _judges(described["judges"])
    totals = described["totals"]
    most = "at most " if described["searches"] else ""
    about = any(candidate.get("training", {}).get("about") for candidate in described["candidates"])
    again = f"{totals['answered_again']:,} given again, " if totals["answered_again"] else ""
    lines += [
        "",
        f"in all {most}{totals['answers']:,} answers to {totals['prompt_tokens']:,} prompt tokens, {again}"
        f"{'about ' * about}{totals['training_steps']:,} training steps",
        "* decides its task",
    ]
    return lines


def _search(search: dict[str, Any]) -> list[str]:
    """When candidates are compared on the way, and what that saves."""
    count, at = len(search["candidates"]), search["at"]
    lines = [
        f"  {search['candidate']} is searched: {count} candidates, {search['rungs']} rungs, by validation loss"
    ]
    for rung in at:
        steps = sorted(set(rung["after"].values()))
        when = "about " * search["about"] + (
            f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        )
        lines.append(f"    rung {rung['rung']}, after {when} steps of each: {rung['go_on']} of {count} go on")
        count = rung["go_on"]
    guarded = [names for names in search["bands"].values() if len(names) == 1]
    lines.append(
        "    never dropped, the only one of a learning rate: " + ", ".join(name for (name,) in guarded)
        if guarded
        else f"    of each learning rate one stays to the end: {', '.join(search['bands'])}"
    )
    if count == len(search["candidates"]):
        return [*lines, "    nobody can be dropped: try another keep, or more candidates of a learning rate"]
    low, high, whole = search["tokens_low"], search["tokens_high"], search["tokens"]
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    saved = f"{1 - high / whole:.0%}" if low == high else f"{1 - high / whole:.0%} to {1 - low / whole:.0%}"
    return [
        *lines,
        f"    trains on about {span} of {whole:,} tokens, {saved} saved; dropped ones are not scored",
    ]


def _power(task: dict[str, Any]) -> list[str]:
    """What so many samples can show."""
    power = task.get("power")
    if power is None:
        return []
    needed = ", ".join(f"{n:,} for {effect}" for effect, n in power["needed"].items())
    many = f", corrected for {power['comparisons']} comparisons" if power["comparisons"] > 1 else ""
    return [
        f"    sees a difference of {power['paired']:.3g} in {power['metric']} with {power['power']:.0%} power (paired; "
        f"{power['unpaired']:.3g} on different samples{many})",
        f"    samples needed: {needed} ({power['origin']})",
    ]


def _judges(judges: list[dict[str, Any]]) -> list[str]:
    lines = ["", "judges"] if judges else []
    for judge in judges:
        money = "price unknown" if judge["money"] is None else f"about {judge['money']:.2f}"
        most = "at most " if judge["layer"] else ""
        lines.append(
            f"  {judge['judge']} by {', '.join(judge['models'])}: {most}{judge['calls']:,} calls, "
            f"{judge['tokens']:,} tokens, {money}"
        )
    return lines


def _candidate(candidate: dict[str, Any]) -> list[str]:
    against = f", compared with {candidate['control']}" if candidate["control"] else ""
    if "form" in candidate:
        against += f" and {candidate['of']}"
    base = f"{candidate['model']} ({candidate['quantization']}, {candidate['dtype']}, {candidate['device']})"
    lines = [
        f"  {candidate['name']} [{candidate['kind']}] on {base if candidate['model'] else 'a file'}{against}"
    ]
    if training := candidate.get("training"):
        lines.append(
            f"    {training['rows']} training rows, {training['validation_rows']} for validation, "
            f"{'about ' * training['about']}{training['steps']} optimiser steps"
        )
    by_origin: dict[str, list[str]] = {}
    for name, setting in candidate["settings"].items():
        by_origin.setdefault(setting["origin"], []).append(f"{name}={setting['value']}")
    lines += [f"    {origin}: {' '.join(values)}" for origin, values in by_origin.items()]
    return lines
