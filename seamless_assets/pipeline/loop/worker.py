"""The event loop under the face, for callers of any thread and any event loop.

A session lasts from the first call to `stop()`: what was begun is cancelled and waited for, then the
adapters are closed, then the loop ends. The next call begins another session.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, wait
from typing import Never, TypeVar
from weakref import finalize

from seamless_assets.errors import BlockingCall, ForkedProcess, NotPicklable
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.loop.producer import Producer
from seamless_assets.pipeline.loop.session import WAKE_S, Session, Wired, Work

T = TypeVar("T")


class Worker:
    """Runs work on the session under way; `wire` opens the adapters of each session once they are asked for.

    A process that was forked from one with a session gets `ForkedProcess`: loop and connections are not its.
    A worker that nobody holds any more ends its session by itself.
    """

    def __init__(self, wire: Callable[[], Wired]) -> None:
        self._wire = wire
        self._session: Session | None = None
        self._end_of_session: finalize[..., Worker] | None = None
        self._ending: list[Session] = []
        self._lock = threading.Lock()

    @property
    def adapters(self) -> Wired:
        """The adapters of the session, opened now if they were not."""
        self._refuse_inherited()
        if here := self._here():
            return here.adapters
        with self._lock:
            return self._current().adapters

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the worker's own loop."""
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
            while not wait([future], WAKE_S).done:
                pass
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            # An error holds this frame, and must not hold itself by it.
            del future

    async def do(self, work: Callable[[Ports], Work[T]]) -> T:
        """The same for an awaiting caller, of any event loop, with the ports of the session."""
        self._refuse_inherited()
        if here := self._here():
            return await work(here.adapters.ports)
        return await asyncio.wrap_future(self._started(work))

    async def do_within(self, session: Session, work: Callable[[], Work[T]]) -> T:
        """Do what only that session can; where it has ended, the caller is cancelled."""
        self._refuse_inherited()
        if session.is_here:
            return await work()
        return await asyncio.wrap_future(self._started_within(session, work))

    def adopt(self, make: Callable[[Ports], AsyncGenerator[T, None]]) -> tuple[Session, Producer[T]]:
        """A generator over the ports of the session, to be driven on its loop."""
        self._refuse_inherited()
        if here := self._here():
            return here, here.adopt(make(here.adapters.ports))
        with self._lock:
            session = self._current()
            return session, session.adopt(make(session.adapters.ports))

    def stop(self) -> None:
        """End the session, and return when it has ended; from its own loop it is only told to end."""
        if self._is_inherited():
            return
        with self._lock:
            if self._session is not None and self._end_of_session is not None:
                self._end_of_session.detach()
                self._session.leave()
                self._ending.append(self._session)
            ending = tuple(self._ending)
            self._session = None
        for session in ending:
            if not session.is_here:
                self._await_end(session)

    def __reduce__(self) -> Never:
        raise NotPicklable(
            "an event loop and its connections cannot be pickled; pickle the pipeline or its settings, which "
            "connect anew where they are loaded"
        )

    def _current(self) -> Session:
        if self._session is None:
            self._session = session = Session(self._wire)
            self._end_of_session = finalize(self, session.leave_unattended)
            self._end_of_session.atexit = False
        return self._session

    def _started(self, work: Callable[[Ports], Work[T]]) -> Future[T]:
        with self._lock:
            session = self._current()
            return session.start(work(session.adapters.ports))

    def _started_within(self, session: Session, work: Callable[[], Work[T]]) -> Future[T]:
        with self._lock:
            if session is not self._session:
                raise asyncio.CancelledError("the pipeline was closed before this came to its end")
            return session.start(work())

    def _await_end(self, session: Session) -> None:
        try:
            session.wait()
        finally:
            with self._lock:
                self._ending = [other for other in self._ending if other is not session]

    def _here(self) -> Session | None:
        """The session on whose loop the caller runs."""
        known = (self._session, *self._ending)
        return next((session for session in known if session is not None and session.is_here), None)

    def _is_inherited(self) -> bool:
        return self._session is not None and self._session.pid != os.getpid()

    def _refuse_inherited(self) -> None:
        # A lock may have been held when the process was forked; it is not touched here.
        if self._is_inherited():
            raise ForkedProcess(
                "this pipeline was in use by the process that this one was forked from; call connect() in "
                "the child, or start it by `spawn` or `forkserver`"
            )
