"""Urgency: work that somebody waits for goes before work in the background.

It goes along with tasks, as context variables do, so that what paces requests knows it without being told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context


class Urgency:
    """Whether somebody waits for a piece of work, or for the work that it is a part of.

    It only ever rises: once somebody waits for it, work in the background is urgent to its end.
    """

    def __init__(self, above: Urgency | None = None, *, is_urgent: bool = False) -> None:
        self._above, self._risen = above, asyncio.Event()
        if is_urgent:
            self._risen.set()

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits."""
        return self._risen.is_set() or (self._above is not None and self._above.is_urgent)

    def rise(self) -> None:
        """Somebody waits now; who holds back for the sake of the urgent goes on."""
        self._risen.set()

    async def risen(self) -> None:
        """Return once somebody waits."""
        if self.is_urgent:
            return
        levels = [asyncio.ensure_future(level.wait()) for level in self._levels()]
        try:
            await asyncio.wait(levels, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for level in levels:
                level.cancel()

    def _levels(self) -> Iterator[asyncio.Event]:
        level: Urgency | None = self
        while level is not None:
            yield level._risen
            level = level._above


_current: ContextVar[Urgency | None] = ContextVar("urgency", default=None)


def is_urgent() -> bool:
    """Whether somebody waits for what the caller does; work that says nothing is background work."""
    return _waits(_current.get())


async def risen() -> None:
    """Return once somebody waits for what the caller does, which may be never."""
    current = _current.get()
    await (current or Urgency()).risen()


def part_of_current() -> tuple[Urgency, Context]:
    """A part of the caller's work that others may wait for alone, and the context for its task."""
    return _in_context(Urgency(_current.get()))


@contextmanager
def urgently() -> Iterator[None]:
    """Somebody waits for what the body does."""
    token = _current.set(Urgency(_current.get(), is_urgent=True))
    try:
        yield
    finally:
        _current.reset(token)


def on_its_own(*, is_urgent: bool) -> tuple[Urgency, Context]:
    """Work that is no part of the caller's, and the context for its task."""
    return _in_context(Urgency(is_urgent=is_urgent))


def _in_context(urgency: Urgency) -> tuple[Urgency, Context]:
    context = copy_context()
    context.run(_current.set, urgency)
    return urgency, context


class Slots:
    """At most `limit` at a time, of which `reserved` are kept for the urgent, but for one.

    Who comes first goes first, among those for whom there is a slot. Who becomes urgent in the line is
    urgent from then on.
    """

    def __init__(self, limit: int, reserved: int) -> None:
        self._free, self._unreserved = limit, max(1, limit - reserved)
        self._line: list[tuple[asyncio.Future[Slot], Urgency | None]] = []

    async def acquire(self) -> Slot:
        """A slot, once one is free; it is to be released."""
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._line.append((turn, _current.get()))
        self._serve()
        if turn.done():
            return turn.result()
        rising = asyncio.ensure_future(risen())
        rising.add_done_callback(lambda _: self._serve())
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                turn.result().release()
            raise
        finally:
            rising.cancel()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold a slot while the body works."""
        slot = await self.acquire()
        try:
            yield
        finally:
            slot.release()

    def _serve(self) -> None:
        """Give what is free to those in line who may have it."""
        if self._free <= 0:
            return
        line, self._line = self._line, []
        for place, (turn, urgency) in enumerate(line):
            if self._free <= 0:
                # However long the line is, only those are looked at who may have something.
                self._line += line[place:]
                break
            is_reserved = _waits(urgency)
            if turn.done():
                continue
            if self._free > 0 and (is_reserved or self._unreserved > 0):
                self._free -= 1
                self._unreserved -= not is_reserved
                turn.set_result(Slot(self, is_reserved=is_reserved))
            else:
                self._line.append((turn, urgency))

    def _take_back(self, *, is_reserved: bool) -> None:
        self._free += 1
        self._unreserved += not is_reserved
        self._serve()


class Slot:
    """A place among `slots`; one that `is_reserved` was given to the urgent."""

    def __init__(self, slots: Slots, *, is_reserved: bool) -> None:
        self._slots: Slots | None = slots
        self._is_reserved = is_reserved

    def release(self) -> None:
        """Leave it to the next; once it is left, nothing."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._take_back(is_reserved=self._is_reserved)


class UrgentFirst:
    """A lock that goes to the first in line who is urgent, else to the first."""

    def __init__(self) -> None:
        self._is_held = False
        self._line: list[tuple[asyncio.Future[None], Urgency | None]] = []

    async def __aenter__(self) -> None:
        if not self._is_held:
            self._is_held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((turn, _current.get()))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._line = [one for one in self._line if one[0] is not turn]
            else:
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        self._line = [one for one in self._line if not one[0].done()]
        waiting = range(len(self._line))
        first = next((at for at in waiting if _waits(self._line[at][1])), 0)
        if self._line:
            self._line.pop(first)[0].set_result(None)
        else:
            self._is_held = False


def _waits(urgency: Urgency | None) -> bool:
    return urgency is not None and urgency.is_urgent
