"""Calls that other threads leave for an event loop, which is woken once for all that come before it looks.

Own, because `call_soon_threadsafe` wakes the loop for every call: threads that leave hundreds at once would
spend more time handing the interpreter to each other than on what they ask for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")
Call = tuple[Callable[..., object], tuple[Any, ...], Context]


class Mailbox:
    """Calls for `loop`, which runs them in the order they were left in, in the context of who left each.

    It does not keep the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._calls: deque[Call] = deque()
        # How often the box was emptied, and the newest such count for which the loop was woken.
        self._turn, self._woken_for = 0, -1

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Leave a call, from any thread. Raises `RuntimeError` where the loop is closed or gone."""
        self._calls.append((call, args, copy_context()))
        # Who empties the box counts before looking into it, so no call is left in it for ever.
        turn = self._turn
        if self._woken_for == turn:
            return
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        loop.call_soon_threadsafe(self._empty, loop)
        # Only now: where an interrupt or error came before this, the next call wakes the loop. Two threads
        # at once may both wake it, and the second time it finds nothing.
        self._woken_for = turn

    def _empty(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn += 1
        try:
            for _ in range(len(self._calls)):
                call, args, context = self._calls.popleft()
                # Now, and not by `call_soon`: that would be a turn of the loop later.
                try:
                    context.run(call, *args)
                except Exception as error:  # noqa: BLE001
                    told = {
                        "message": f"a call that was left for the loop failed: {call}",
                        "exception": error,
                    }
                    loop.call_exception_handler(told)
        finally:
            # An interrupt leaves the rest to the next turn.
            if self._calls:
                loop.call_soon(self._empty, loop)


class EarlyAnswer(Generic[T]):
    """Gives who awaits the outcome of some work what that will be, before the work has ended."""

    def __init__(self) -> None:
        self._awaited_by: tuple[Mailbox, asyncio.Future[T]] | None = None
        self.is_given = False

    @property
    def is_awaited(self) -> bool:
        """Whether it can be given to anybody."""
        return self._awaited_by is not None

    def expect(self, mailbox: Mailbox, answer: asyncio.Future[T]) -> None:
        """Let it be given to a future of the mailbox's loop."""
        self._awaited_by = mailbox, answer

    def forget(self) -> None:
        """Nobody awaits it any more."""
        self._awaited_by = None

    def give(self, outcome: T) -> None:
        """Give it, once, from the thread of the work; where nobody awaits it, to nobody."""
        if (awaited_by := self._awaited_by) is None:
            return
        self.is_given = True
        mailbox, answer = awaited_by
        try:  # noqa: SIM105
            mailbox.post(_give, answer, outcome)
        except RuntimeError:
            # A loop that was closed meanwhile has nobody who waits.
            pass


class Mailboxes:
    """The mailbox of each event loop that awaits what others do."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()
        self._lock = Lock()

    async def outcome(self, begun: Future[T], early: EarlyAnswer[T] | None = None) -> T:
        """What comes of a future of another thread, awaited here; a caller that is cancelled cancels it.

        What `early` is given before is taken for that.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        mailbox, early = self._of_loop(loop), early or EarlyAnswer()
        early.expect(mailbox, answer)
        begun.add_done_callback(partial(_tell, mailbox, answer, early))
        try:
            return await answer
        finally:
            if answer.cancelled() and not early.is_given:
                begun.cancel()
            early.forget()
            # An error holds this frame, and must not hold itself by it.
            del begun, answer, early

    def _of_loop(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        with self._lock:
            return self._of.setdefault(loop, Mailbox(loop))


def _give(answer: asyncio.Future[T], outcome: T) -> None:
    if not answer.done():
        answer.set_result(outcome)


def _tell(mailbox: Mailbox, answer: asyncio.Future[T], early: EarlyAnswer[T], begun: Future[T]) -> None:
    if early.is_given:
        return
    # A loop that was closed meanwhile has nobody who waits.
    with suppress(RuntimeError):
        mailbox.post(_copy, answer, begun)


def _copy(answer: asyncio.Future[T], begun: Future[T]) -> None:
    if answer.done():
        return
    if begun.cancelled():
        answer.cancel()
    elif error := begun.exception():
        answer.set_exception(error)
    else:
        answer.set_result(begun.result())
