"""Does the code work? pass@K and the share of tests passed, from running it in a sandbox.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (HumanEval). A sample's target says what the
code has to do, as in HumanEval's rows: ``{"prompt", "test", "entry_point"}``. An answer is either the rest of the
prompt's function or the whole function; the prompt stands before it in both cases.
"""

from __future__ import annotations

import re
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from evalkit.errors import MetricError, SandboxError
from evalkit.metrics.base import NO_TARGET, Measured, PerSampleMetric, answers, failed, mean_of, one_of
from evalkit.metrics.pass_at_k import pass_at_k
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.sandbox import Limits, Outcome, Program, Sandbox, check_sandbox, run_programs
from evalkit.signature import signature

__all__ = ["CodeMetric", "CodeScore", "PassAtK", "program_of"]

VERSION = 1
"""Raised whenever the way a program is run changes verdicts."""

FIELDS = ("prompt", "test", "entry_point")


class CodeMetric(PerSampleMetric):
    """A metric that runs the answers.

    Args:
        sandbox: ``bubblewrap``; ``optional``: the same, and without one samples are unscored with the reason;
            or ``none``: programs run with all your rights and can do what you can do.
        cpu_seconds: CPU time of one program.
        wall_seconds: Time on the clock of one program.
        memory_mb: Address space of one program, in MiB.

    Raises:
        MetricError: A limit that is no whole number above 0, or no such sandbox.
    """

    every: ClassVar[bool]

    def __init__(
        self,
        *,
        sandbox: str = "bubblewrap",
        cpu_seconds: int = 5,
        wall_seconds: int = 10,
        memory_mb: int = 1024,
    ) -> None:
        one_of(self.name, "sandbox", sandbox, ("bubblewrap", "optional", "none"))
        self.sandbox: Sandbox = "none" if sandbox == "none" else "bubblewrap"
        self.optional = sandbox == "optional"
        for setting, value in (
            ("cpu_seconds", cpu_seconds),
            ("wall_seconds", wall_seconds),
            ("memory_mb", memory_mb),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise MetricError(
                    f"{self.name}: setting {setting!r} must be a whole number above 0; got {value!r}."
                )
        self.limits = Limits(
            cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, memory_bytes=memory_mb * 1024 * 1024
        )

    def require_sandbox(self) -> None:
        """Find out now, rather than after the answers are made, whether programs can be confined here.

        Raises:
            SandboxError: They cannot; says why and what mends it.
        """
        if self.sandbox == "bubblewrap" and not self.optional:
            check_sandbox()

    def _missing(self) -> str | None:
        """Why there is no sandbox, where that leaves samples unscored; None if they can be run."""
        if self.optional:
            try:
                check_sandbox()
            except SandboxError as error:
                return str(error)
        return None

    @abstractmethod
    def of_outcomes(self, outcomes: Sequence[Outcome]) -> float:
        """The score of a sample whose answers had these outcomes."""

    def score(self, sample: Sample, output: Output) -> Score:
        """Score one sample alone."""
        return self.measure([sample], [output]).scores[0]

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Several programs are run at a time, equal ones once.

        Raises:
            SandboxError: Programs cannot be confined here.
            MetricError: A sample has fewer answers than the metric needs.
        """
        missing = self._missing()
        if missing is not None:
            return mean_of([failed(output) or Unscored(missing) for output in outputs])
        plans = [self._programs(sample, output) for sample, output in zip(samples, outputs, strict=True)]
        every = [program for plan in plans if not isinstance(plan, Unscored) for program in plan]
        outcomes = iter(list(run_programs(every, limits=self.limits, sandbox=self.sandbox)))
        scores: list[Score] = []
        for plan in plans:
            if isinstance(plan, Unscored):
                scores.append(plan)
                continue
            found = [next(outcomes) for _ in plan]
            unscored = [outcome.reason for outcome in found if outcome.verdict == "unscored"]
            scores.append(Unscored(unscored[0]) if unscored else self.of_outcomes(found))
        return mean_of(scores)

    def _programs(self, sample: Sample, output: Output) -> list[Program] | Unscored:
        reason = failed(output)
        if reason is not None:
            return reason
        target = sample.target
        if target is None:
            return NO_TARGET
        problem = _target_problem(target)
        if problem is not None:
            return Unscored(problem)
        self._enough(sample, output)
        programs = [program_of(target, text, every=self.every) for text in answers(output)]
        return programs or Unscored("the output holds no answer")

    def _enough(self, sample: Sample, output: Output) -> None:
        """Raise if the sample has too few answers."""

    def _parts(self) -> dict[str, Any]:
        return {
            "sandbox": self.sandbox,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "cpu": self.limits.cpu_seconds,
            "wall": self.limits.wall_seconds,
            "memory": self.limits.memory_bytes >> 20,
            "runner": VERSION,
        }


class PassAtK(CodeMetric):
    """Chance that at least one of K answers passes all tests, mean over samples: 0–1, higher is better.

    The unbiased estimate from n ≥ K answers a sample (``generation.samples: n``).

    Args:
        k: Answers that one may choose from.
        **settings: See ``CodeMetric``.
    """

    every = False

    def __init__(
        self,
        *,
        k: int = 1,
        sandbox: str = "bubblewrap",
        cpu_seconds: int = 5,
        wall_seconds: int = 10,
        memory_mb: int = 1024,
    ) -> None:
        self.name = f"pass@{k}"
        if k < 1:
            raise MetricError(f"pass@K: K must be at least 1; got {k}.")
        self.k = k
        super().__init__(
            sandbox=sandbox, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, memory_mb=memory_mb
        )

    def of_outcomes(self, outcomes: Sequence[Outcome]) -> float:
        """See ``pass_at_k``."""
        return pass_at_k(len(outcomes), sum(outcome.verdict == "passed" for outcome in outcomes), self.k)

    def _enough(self, sample: Sample, output: Output) -> None:
        if len(answers(output)) < self.k:
            raise MetricError(
                f"{self.name}: sample {sample.id!r} has {len(answers(output))} answers and needs at least "
                f"{self.k}. Set generation.samples: {self.k} or more."
            )

    def signature(self) -> str:
        """Name, how the programs are run, and the version of Python that runs them."""
        return signature(self.name, **self._parts())


class CodeScore(CodeMetric):
    """Share of its tests that an answer passes, mean over answers and samples: 0–1, higher is better.

    A test is one ``assert`` of the target's ``test``; it is passed if it is reached and holds each time. Asserts of
    a constant do not count.
    """

    name = "code_score"
    every = True

    def of_outcomes(self, outcomes: Sequence[Outcome]) -> float:
        """Mean share of asserts that held."""
        return sum(outcome.passed / max(outcome.tests, 1) for outcome in outcomes) / len(outcomes)

    def signature(self) -> str:
        """Name, how the programs are run, and the version of Python that runs them."""
        return signature(self.name, **self._parts())


def program_of(target: dict[str, Any], text: str, *, every: bool = False) -> Program:
    """Return the program that an answer makes with its prompt.

    Args:
        target: With ``prompt``, ``test`` (a text, or a list of them) and ``entry_point``.
        text: The answer.
        every: Count each assert (``Program.every``).
    """
    prompt, test, entry_point = (target[field] for field in FIELDS)
    bodied = prompt + "\n    pass\n"  # a prompt that ends with ``def f(x):`` is no Python by itself
    whole = re.search(
        rf"^(?:def|class)\s+{re.escape(entry_point)}\b|^{re.escape(entry_point)}\s*=", text, re.M
    )
    texts = (prompt + text, f"{prompt}\n{text}", f"{bodied}\n{text}", text) if whole else (prompt + text,)
    lines = test if isinstance(test, str) else "\n".join(test)
    return Program(texts, entry_point, lines, (prompt, bodied), every)


def _target_problem(target: object) -> str | None:
    if not isinstance(target, dict):
        return f"the target must be an object with {', '.join(FIELDS)}; got {type(target).__name__}"
    for field in FIELDS:
        value = target.get(field)
        texts = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
        if not isinstance(value, str) and not (field == "test" and texts):
            return f"the target's {field!r} must be a text; got {type(value).__name__}"
    if not str(target["entry_point"]).isidentifier():
        return f"the target's 'entry_point' must be the name of a function; got {target['entry_point']!r}"
    return None
