"""The event loop under the face, for callers of any thread and any event loop.

Its thread lasts from the first call to `stop()`: what was begun is cancelled and waited for, then the
adapters are closed, then the loop ends. The next call begins another.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Never, TypeVar
from weakref import finalize

from seamless_assets.errors import BlockingCall, ForkedProcess, NotPicklable
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.loop.mailbox import EarlyAnswer, Mailboxes
from seamless_assets.pipeline.loop.producer import EarlyItems, Producer
from seamless_assets.pipeline.loop.thread import WAKE_S, LoopThread, Wired, Work

T = TypeVar("T")


class Portal:
    """Runs work on an event loop of its own; `wire` opens the adapters there once they are asked for.

    A process that was forked from one with such a loop gets `ForkedProcess`: loop and connections are not
    its. A portal that nobody holds any more ends its thread by itself.
    """

    def __init__(self, wire: Callable[[], Wired]) -> None:
        self._wire = wire
        self._thread: LoopThread | None = None
        self._end_of_thread: finalize[..., Portal] | None = None
        self._ending: list[LoopThread] = []
        self._lock = threading.Lock()
        self._mailboxes = Mailboxes()

    @property
    def adapters(self) -> Wired:
        """The adapters that live on the loop, opened now if they were not."""
        self._refuse_inherited()
        if here := self._here():
            return here.adapters
        with self._lock:
            return self._current().adapters

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the loop."""
        return self._here() is not None

    def start(self, work: Work[T]) -> Future[T]:
        """Begin `work`; the future's `cancel()` ends it."""
        try:
            self._refuse_inherited()
        except ForkedProcess:
            work.close()
            raise
        if here := self._here():
            return here.start(work)
        with self._lock:
            return self._current().start(work)

    def run(self, work: Work[T]) -> T:
        """Do `work`, and cancel it where the caller is interrupted. Raises `BlockingCall` on its own loop."""
        if self.is_here:
            work.close()
            raise BlockingCall(
                "a method that waits was called by what the pipeline itself runs, and would wait for ever; "
                "await its twin of `aio`, or call it in a thread of your own"
            )
        future = self.start(work)
        try:
            _wait_for(future)
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            # An error holds this frame, and must not hold itself by it.
            del future

    def visit(self, work: Callable[[Ports], T | None]) -> T | None:
        """What `work`, which waits for nothing, does at once in the caller's own thread.

        None where it has nothing, and where the loop is busy or not there, or the caller is on it.
        """
        thread = self._thread
        if thread is None or self.is_here or self._is_inherited():
            return None
        return thread.visit(work)

    async def do(self, work: Callable[[Ports], Work[T]]) -> T:
        """The same for an awaiting caller, of any event loop, with the ports that live there."""
        self._refuse_inherited()
        if here := self._here():
            return await work(here.adapters.ports)
        return await self._mailboxes.outcome(self._started(work))

    async def do_within(
        self, thread: LoopThread, work: Callable[[], Work[T]], early: EarlyAnswer[T] | None = None
    ) -> T:
        """Do what belongs to that thread; where it has ended, the caller is cancelled.

        What `early` is given meanwhile is what comes of it.
        """
        self._refuse_inherited()
        if thread.is_here:
            return await work()
        return await self._mailboxes.outcome(self._started_within(thread, work), early)

    def adopt(
        self, make: Callable[[Wired], AsyncGenerator[T, None]], early: EarlyItems[T] | None = None
    ) -> tuple[LoopThread, Producer[T]]:
        """A generator over the adapters, to be driven on the loop of the thread that comes with it."""
        self._refuse_inherited()
        if here := self._here():
            return here, here.adopt(make(here.adapters), early)
        with self._lock:
            thread = self._current()
            return thread, thread.adopt(make(thread.adapters), early)

    def stop(self) -> None:
        """End the thread, and return when it has ended; on the loop itself it is only told to end."""
        if self._is_inherited():
            return
        with self._lock:
            if self._thread is not None and self._end_of_thread is not None:
                self._end_of_thread.detach()
                self._thread.leave()
                self._ending.append(self._thread)
            ending = tuple(self._ending)
            self._thread = None
        for thread in ending:
            if not thread.is_here:
                self._await_end(thread)

    def __reduce__(self) -> Never:
        raise NotPicklable(
            "an event loop and its connections cannot be pickled; pickle the pipeline or its settings, which "
            "connect anew where they are loaded"
        )

    def _current(self) -> LoopThread:
        if self._thread is None:
            self._thread = thread = LoopThread(self._wire)
            self._end_of_thread = finalize(self, thread.leave_unattended)
            self._end_of_thread.atexit = False
        return self._thread

    def _started(self, work: Callable[[Ports], Work[T]]) -> Future[T]:
        with self._lock:
            thread = self._current()
            return thread.start(work(thread.adapters.ports))

    def _started_within(self, thread: LoopThread, work: Callable[[], Work[T]]) -> Future[T]:
        with self._lock:
            if thread is not self._thread:
                raise asyncio.CancelledError("the pipeline was closed before this came to its end")
            return thread.start(work())

    def _await_end(self, thread: LoopThread) -> None:
        try:
            thread.wait()
        finally:
            with self._lock:
                self._ending = [other for other in self._ending if other is not thread]

    def _here(self) -> LoopThread | None:
        """The thread on whose loop the caller runs."""
        thread = self._thread
        if thread is not None and thread.is_here:
            return thread
        return next((ending for ending in self._ending if ending.is_here), None)

    def _is_inherited(self) -> bool:
        return self._thread is not None and self._thread.pid != os.getpid()

    def _refuse_inherited(self) -> None:
        # A lock may have been held when the process was forked; it is not touched here.
        if self._is_inherited():
            raise ForkedProcess(
                "this pipeline was in use by the process that this one was forked from; call connect() in "
                "the child, or start it by `spawn` or `forkserver`"
            )


def _wait_for(future: Future[T]) -> None:
    """Wait until it is done, by a lock of its own: that of the future, held by a caller who is interrupted,
    would hold up the loop."""
    running = threading.Lock()
    running.acquire()
    future.add_done_callback(lambda _: running.release())
    while not running.acquire(timeout=WAKE_S):
        pass
