"""The time that one read has: each phase gets the smaller of its budget and what remains of the total."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from seamless_assets.aio.timing import monotonic, one_turn
from seamless_assets.core.reading.sla import PHASES, Phase, SLAPolicy, SLAReport

T = TypeVar("T")
Timer = Callable[[], float]


class PhaseCut(Exception):
    """A phase that its budget ended; caught where the read decides what that leads to."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(phase)
        self.phase = phase


class Deadline:
    """Measures the phases of one read by `timer`, the event loop's, which no wall clock can set back."""

    def __init__(self, policy: SLAPolicy, timer: Timer = monotonic) -> None:
        self._policy, self._timer = policy, timer
        self._began = timer()
        self._taken_ms: dict[str, float] = {}
        self._cut: list[Phase] = []
        """Phases in the order in which they were cut."""

    async def run(self, phase: Phase, work: Awaitable[T]) -> T:
        """The outcome of `work`. Raises `PhaseCut` once the phase has had its time.

        What was cut is cancelled and not waited for: a store that hangs would hang its reader too.
        """
        began, budget_ms = self._timer(), self._remaining_ms(phase)
        if not self._policy.has_deadline:
            try:
                return await work
            finally:
                self._note(phase, began)
        task = asyncio.ensure_future(work)
        try:
            # What is at hand needs no timer.
            await one_turn()
            if not task.done():
                left_s = budget_ms / 1000 - (self._timer() - began)
                await asyncio.wait({task}, timeout=max(0.0, left_s))
        except asyncio.CancelledError:
            _abandon(task)
            raise
        finally:
            self._note(phase, began)
        if not task.done():
            self._cut.append(phase)
            _abandon(task)
            raise PhaseCut(phase)
        return task.result()

    def call(self, phase: Phase, work: Callable[[], T]) -> T:
        """The outcome of work that waits for nothing, its time counted as the phase's."""
        began = self._timer()
        try:
            return work()
        finally:
            self._note(phase, began)

    def _note(self, phase: Phase, began: float) -> None:
        self._taken_ms[phase] = self._taken_ms.get(phase, 0.0) + (self._timer() - began) * 1000

    @property
    def first_cut(self) -> Phase:
        """The phase that was cut first, which is what the others had no time for."""
        return self._cut[0] if self._cut else "total"

    def has_time(self, phase: Phase) -> bool:
        """Whether anything is left of a phase, and of the whole."""
        return self._remaining_ms(phase) > 0

    def report(self) -> SLAReport:
        """What every phase was given and took so far."""
        total_ms = self._elapsed_ms()
        taken: dict[str, float] = {**self._taken_ms, "total": total_ms}
        is_over = total_ms >= self._policy.total_deadline_ms
        if not self._cut and not is_over:
            return SLAReport(self._policy, taken)
        cut = {*self._cut, "total"} if is_over else self._cut
        return SLAReport(self._policy, taken, tuple(phase for phase in PHASES if phase in cut))

    def _remaining_ms(self, phase: Phase) -> float:
        left_of_phase = self._policy.budget_ms(phase) - self._taken_ms.get(phase, 0.0)
        return min(left_of_phase, self._policy.total_deadline_ms - self._elapsed_ms())

    def _elapsed_ms(self) -> float:
        return (self._timer() - self._began) * 1000


def _abandon(task: asyncio.Future[T]) -> None:
    task.cancel()
    # Nobody asks for its outcome any more; without this the loop would complain of an error not looked at.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
