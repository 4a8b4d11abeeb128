"""The event loop under the face: in a thread of its own, with the adapters that live on it.

A session lasts from the first call to `stop()`: what was begun is cancelled and waited for, then the
adapters are closed, then the loop ends. The next call begins another session.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from seamless_assets.errors import ForkedProcess
from seamless_assets.flows.diagnose import Question
from seamless_assets.flows.ports import Ports

T = TypeVar("T")
Work = Coroutine[Any, Any, T]
WAKE_S = 0.2
"""How long a thread sleeps that waits: a signal that comes as it falls asleep is heard when it wakes."""


class Opened(Protocol):
    """Adapters that are wired together, and the servers among them that other machines share."""

    @property
    def ports(self) -> Ports: ...

    @property
    def shared(self) -> Sequence[tuple[str, Question]]: ...

    async def close(self) -> None: ...


class Worker:
    """Runs work on the session under way; `wire` opens the adapters of each session once they are asked for.

    A process that was forked from one with a session gets `ForkedProcess`: loop and connections are not its.
    """

    def __init__(self, wire: Callable[[], Opened]) -> None:
        self._wire = wire
        self._session: _Session | None = None
        self._ending: list[_Session] = []
        self._lock = threading.Lock()

    @property
    def opened(self) -> Opened:
        """The adapters of the session, opened now if they were not."""
        self._refuse_inherited()
        if here := self._here():
            return here.opened
        with self._lock:
            return self._current().opened

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
        """Do `work`, and cancel it where the caller is interrupted."""
        future = self.start(work)
        try:
            while not wait([future], WAKE_S).done:
                pass
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def do(self, work: Callable[[Ports], Work[T]]) -> T:
        """The same for an awaiting caller, of any event loop, with the ports of the session."""
        self._refuse_inherited()
        if here := self._here():
            return await work(here.opened.ports)
        with self._lock:
            session = self._current()
            begun = session.start(work(session.opened.ports))
        return await asyncio.wrap_future(begun)

    def adopted(self, make: Callable[[Ports], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """A generator over the ports of the session, which closes it where nobody drives it to its end."""
        self._refuse_inherited()
        if here := self._here():
            return here.adopt(make(here.opened.ports))
        with self._lock:
            session = self._current()
            return session.adopt(make(session.opened.ports))

    def stop(self) -> None:
        """End the session, and return when it has ended; from its own loop it is only told to end."""
        if self._is_inherited():
            return
        with self._lock:
            ending = [session for session in self._ending if session.is_alive]
            if self._session is not None:
                self._session.leave()
                ending.append(self._session)
            self._session, self._ending = None, ending
        for session in ending:
            if not session.is_here:
                session.wait()

    def _current(self) -> _Session:
        if self._session is None:
            self._session = _Session(self._wire)
        return self._session

    def _here(self) -> _Session | None:
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


class _Session:
    """An event loop in a daemon thread, what was begun on it, and the adapters that live on it."""

    def __init__(self, wire: Callable[[], Opened]) -> None:
        self.pid = os.getpid()
        self._wire = wire
        self._opened: Opened | None = None
        self._opening = threading.Lock()
        self._begun: WeakKeyDictionary[Work[Any], Future[Any]] = WeakKeyDictionary()
        self._adopted: WeakSet[AsyncGenerator[Any, None]] = WeakSet()
        self._ended: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="seamless-assets", daemon=True)
        self._thread.start()

    @property
    def opened(self) -> Opened:
        with self._opening:
            if self._opened is None:
                self._opened = self._wire()
            return self._opened

    @property
    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, work: Work[T]) -> Future[T]:
        begun = self._begun[work] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return begun

    def adopt(self, generator: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        self._adopted.add(generator)
        return generator

    def leave(self) -> None:
        """Begin to end; what is begun after this must come from the session's own loop."""
        self._ended = asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        self._ended.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))

    def wait(self) -> None:
        """Return when it has ended. Raises what the adapters raised as they were closed."""
        while self._thread.is_alive():
            self._thread.join(WAKE_S)
        self._ended.result()

    async def _wind_up(self) -> None:
        while under_way := self._under_way():
            for task, begun in under_way.items():
                # A second cancellation would cut the cleaning up after the first.
                if not begun.cancelled():
                    task.cancel()
            await asyncio.wait(under_way)
        # Only those: a generator inside a task is closed by its task, and by nobody beside it.
        for generator in list(self._adopted):
            await generator.aclose()
        if self._opened is not None:
            await self._opened.close()

    def _under_way(self) -> dict[asyncio.Task[Any], Future[Any]]:
        """The tasks of what was begun and has not ended, and the futures that they are known by."""
        tasks = {task.get_coro(): task for task in asyncio.all_tasks()}
        return {tasks[work]: begun for work, begun in self._begun.items() if work in tasks}

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
