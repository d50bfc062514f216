"""Models behind servers as a study names them: their prices, their keys, and what a run may spend on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.errors import SpecError, UserError
from evalkit.models.openai_call import Server, api_key
from evalkit.models.openai_http import OpenAIModel
from evalkit.models.prices import Budget, Price, price_of
from evalkit.running.plan import Plan
from evalkit.specs.study import ApiCandidate, JudgeModel, Study

__all__ = ["check_servers", "make_remote", "price_in", "server_of", "server_problems", "takes_chats"]


def server_of(spec: ApiCandidate | JudgeModel) -> Server:
    """Where a candidate or judge is asked."""
    return Server(
        model=str(spec.model),
        base_url=spec.base_url,
        api_key_env=spec.api_key_env,
        api=spec.api,
        concurrency=spec.concurrency,
        deadline=spec.deadline,
    )


def price_in(study: Study, server: Server) -> Price | None:
    """What a server's tokens cost: the study's ``prices:``, else the built-in list; None where neither knows."""
    own = {name: Price(price.input, price.output) for name, price in study.prices.items()}
    return price_of(server.model, server.base_url, own)


def takes_chats(spec: ApiCandidate | JudgeModel, kind: str) -> bool:
    """Whether a server is asked in messages: log-probabilities of prompts exist for plain texts alone."""
    return spec.api == "chat" and kind not in ("choice", "perplexity")


def make_remote(
    spec: ApiCandidate | JudgeModel,
    study: Study,
    budget: Budget,
    name: str,
    response_format: Mapping[str, Any] | None = None,
) -> OpenAIModel:
    """Return a model behind a server, with its price and the run's budget."""
    server = server_of(spec)
    return OpenAIModel(
        server, price=price_in(study, server), budget=budget, name=name, response_format=response_format
    )


def check_servers(plan: Plan) -> None:
    """Find a missing key or a price that a budget needs before anything is spent.

    Raises:
        SpecError: One line a mistake.
    """
    used: list[tuple[str, ApiCandidate | JudgeModel]] = [
        (f"candidate {planned.name!r}", planned.spec)
        for planned in plan.candidates
        if isinstance(planned.spec, ApiCandidate)
    ]
    for use in plan.study.judges:
        models = use.models or ([use.model] if use.model is not None else [])
        used += [(f"judge {use.name or use.judge!r}", model) for model in models if model.model is not None]
    problems = server_problems(used, plan.study)
    if problems:
        raise SpecError(*(f"{plan.path}: {problem}" for problem in dict.fromkeys(problems)))


def server_problems(used: Iterable[tuple[str, ApiCandidate | JudgeModel]], study: Study) -> list[str]:
    """One line for every key that is missing, and every price that the study's budget needs.

    Args:
        used: (who asks it, a model behind a server).
        study: Its budget and prices.
    """
    problems: list[str] = []
    for what, spec in used:
        server = server_of(spec)
        try:
            api_key(server)
        except UserError as error:
            problems += [f"{what}: {message}" for message in error.messages]
        if study.budget is not None and price_in(study, server) is None:
            problems.append(
                f"{what}: a budget needs the price of {server.model!r}: add "
                f"prices: {{{server.model}: {{input: …, output: …}}}} to the study, for a million tokens."
            )
    return problems
