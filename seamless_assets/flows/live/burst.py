"""Bars that are told as they come, and stored when no more of them come.

So the last one of many that close at once is told before the first one is stored, and before all objects of
the process are looked through for cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from weakref import ref

from seamless_assets.aio.collector import collector_paused
from seamless_assets.aio.timing import call_at, monotonic

QUIET_S = 0.25
"""Told bars are stored so long after the last one of them was told."""
LONGEST_S = 2.0
"""They are stored so long after the first one was told, however many more come."""

MOMENT_S = 0.001
"""What a told bar asks for beside its storing is done so much later, once whoever was told has run."""

Work = Callable[[], None]


class Burst:
    """Whoever has told a bar waits here to store it."""

    def __init__(self) -> None:
        self._fresh: list[Work] = []
        self._waiting: dict[Work, None] = {}
        """In the order in which they came, each once."""
        self._is_timed = False
        self._first_at = self._last_at = 0.0
        self._pause: Callable[[], ExitStack | None] = _nothing
        """The collector's rest, which the timer holds alone: a loop that is closed drops it, and it ends."""

    def hold(self, resume: Work, then: Work) -> None:
        """A bar was told just now: `then` is called in a moment, `resume` when it is time to store it."""
        self._last_at = monotonic()
        if not self._fresh:
            call_at(self._last_at + MOMENT_S, self._begin)
        if not self._waiting:
            self._first_at = self._last_at
        self._fresh.append(then)
        self._waiting[resume] = None

    def go_on(self) -> None:
        """A bar is stored and told just now, for which nothing is to be done later."""
        self.hold(_nothing, _nothing)

    def leave(self, resume: Work) -> None:
        """Wait no longer."""
        self._waiting.pop(resume, None)
        if not self._waiting and (pause := self._pause()):
            pause.close()

    def _begin(self) -> None:
        if self._waiting and not self._is_timed:
            pause = ExitStack()
            pause.enter_context(collector_paused())
            self._pause = ref(pause)
            self._await_quiet(pause)
        fresh, self._fresh = self._fresh, []
        _do_each(iter(fresh))

    def _await_quiet(self, pause: ExitStack) -> None:
        self._is_timed = True
        at = min(self._last_at + QUIET_S, self._first_at + LONGEST_S)
        call_at(at, lambda: self._look(at, pause))

    def _look(self, due: float, pause: ExitStack) -> None:
        if due < min(self._last_at + QUIET_S, self._first_at + LONGEST_S):
            self._await_quiet(pause)
            return
        self._is_timed = False
        pause.close()
        waiting, self._waiting = self._waiting, {}
        _do_each(iter(waiting))


def _nothing() -> None:
    pass


def _do_each(works: Iterator[Work]) -> None:
    """Do them all, whichever fails."""
    try:
        for work in works:
            work()
    except BaseException:
        call_at(monotonic(), partial(_do_each, works))
        raise
