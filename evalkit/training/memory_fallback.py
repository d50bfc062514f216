"""What a pass runs at once: common streams while they fit into memory; then each candidate by itself, cut smaller
where one of its units is too much alone.

Neither changes what is computed: a candidate's gradient is the sum over its units, whoever runs beside them. Cut
smaller, it is the same sum in another order.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from evalkit.models.memory import free_memory, out_of_memory
from evalkit.training.failures import no_memory_for, one_row_too_many
from evalkit.training.loss import Tables
from evalkit.training.member import Member
from evalkit.training.packing import Unit, join
from evalkit.training.rows import TokenRow

__all__ = ["MemoryFallback", "fails_alone"]

Streams = Iterator[list[Unit]]


@dataclass
class MemoryFallback:
    """What a pass has learned of its memory: it goes on in smaller parts where it ran out.

    Attributes:
        device: Where it is run.
        apart: Candidates do not fit beside each other; this stays so for the rest of the pass.
        tables: Of the output head, for the whole pass.
    """

    device: str
    apart: bool = False
    tables: Tables = field(default_factory=Tables)

    def run(
        self,
        members: Sequence[Member],
        rows_of: Callable[[Member], Sequence[TokenRow]],
        work: Callable[[Sequence[Member], Streams], None],
        times: int = 1,
    ) -> None:
        """Do something with rows of candidates; anew and in smaller parts where that does not fit into memory.

        Args:
            members: Whose gradients are dropped before their part is done again; one whose single row does not fit
                fails, and the others go on.
            rows_of: Rows of each.
            work: Runs streams of some of the candidates, in any number of calls; the last call counts.
            times: So many times the rows of a training step are run at once.
        """
        groups = [[member] for member in members] if self.apart else [list(members)]
        while groups:
            group = [member for member in groups.pop(0) if member.outcome is None]
            short = self._attempt(group, rows_of, work, times) if group else []
            if len(short) > 1:
                self.apart = True
                for member in group:
                    member.job.tell(
                        f"the device ran out of memory with {len(short)} candidates at once: from step "
                        f"{member.position.step + 1} on each one's rows run by themselves, for the same numbers."
                    )
                groups = [[member] for member in group]
            elif short:
                (unit,) = short
                owner = next(member for member in group if member.slot == unit.owner)
                _cut(owner, unit, rows_of(owner), times)
                groups.insert(0, group)

    def _attempt(
        self,
        group: Sequence[Member],
        rows_of: Callable[[Member], Sequence[TokenRow]],
        work: Callable[[Sequence[Member], Streams], None],
        times: int,
    ) -> list[Unit]:
        """Return the units of the stream that did not fit; none if all did."""
        running: list[Unit] = []

        def watched() -> Streams:
            for units in join([member.units(rows_of(member), times) for member in group], self.device):
                running[:] = units
                yield units

        try:
            work(group, watched())
            return []
        except RuntimeError as error:
            if not out_of_memory(error) or not running:
                raise
        # only here is the error gone, and with it the tensors of the frames that it came through
        for member in group:
            member.drop_gradients()
        gc.collect()  # frames may hold each other
        free_memory()
        return running


@contextmanager
def fails_alone(member: Member, what: str) -> Iterator[None]:
    """Within the block a lack of memory is the end of this candidate, and of no other.

    Args:
        member: The candidate.
        what: What memory is needed for.
    """
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        member.fail(no_memory_for(what))


def _cut(member: Member, unit: Unit, rows: Sequence[TokenRow], times: int) -> None:
    """Let a candidate run fewer rows at once, or end it where it is down to one."""
    if not member.cut_smaller(unit, rows, times):
        member.fail(one_row_too_many(len(unit.rows[0].ids)))
        return
    now = f"as if micro_batch were {member.size}" if member.size else "one at a time"
    member.job.tell(
        f"the device ran out of memory with {len(unit.rows)} rows at once (micro_batch "
        f"{member.job.settings.micro_batch}): from step {member.position.step + 1} on rows run {now}, for the same "
        "sums in another order."
    )
