"""One life of an event loop in a thread of its own: what was begun on it, and the adapters that live on it.

Own, because `anyio.from_thread` and `asyncio.run` cancel what is left again and again or not before their
loop is closing; here what is left is cancelled once, cleans up with the adapters open, and is waited for.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from seamless_assets.aio.collector import end_pauses_of_others
from seamless_assets.flows.diagnose import Question
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.loop.mailbox import Mailbox
from seamless_assets.pipeline.loop.producer import Delivery, EarlyItems, Producer

T = TypeVar("T")
Work = Coroutine[Any, Any, T]
WAKE_S = 0.2
"""How long a thread sleeps that waits: a signal that comes as it falls asleep is heard when it wakes."""


class Wired(Protocol):
    """Adapters that are wired together, and the servers among them that other machines share."""

    @property
    def ports(self) -> Ports: ...

    @property
    def shared(self) -> Sequence[tuple[str, Question]]: ...

    def start(self) -> None:
        """Begin, on the session's loop, what goes on beside the calls."""

    async def close(self) -> None: ...


# What runs on the loop may pause it in the moment in which another thread forks.
os.register_at_fork(after_in_child=end_pauses_of_others)


class _Turns(selectors.DefaultSelector):
    """Lets go of the loop's turn for as long as the loop waits."""

    def __init__(self, turn: threading.RLock) -> None:
        super().__init__()
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        self._turn.release()
        try:
            return super().select(timeout)
        finally:
            self._turn.acquire()


class LoopThread:
    """Begins when it is made and ends by `leave`; `wire` opens the adapters once they are asked for."""

    def __init__(self, wire: Callable[[], Wired]) -> None:
        self.pid = os.getpid()
        self._wire = wire
        self._adapters: Wired | None = None
        self._opening = threading.Lock()
        self._begun: set[Future[Any]] = set()
        """What has not ended yet; nothing that is over is kept."""
        self._producers: set[Producer[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._one_ended = asyncio.Event()
        self._ended: Future[None] = Future()
        self._turn = threading.RLock()
        """Of who holds it is what lives on the loop; the loop itself lets go of it while it waits."""
        self._loop = asyncio.SelectorEventLoop(_Turns(self._turn))
        self._mailbox = Mailbox(self._loop)
        self._thread = threading.Thread(target=self._live, name="seamless-assets", daemon=True)
        self._thread.start()

    @property
    def adapters(self) -> Wired:
        """Opened now if they were not."""
        with self._opening:
            if self._adapters is None:
                self._adapters = self._wire()
                self._loop.call_soon_threadsafe(self._adapters.start)
            return self._adapters

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on its loop, or visits it."""
        # What a lock's own conditions ask of it: who holds the turn is on the loop, in whichever thread.
        return threading.current_thread() is self._thread or self._turn._is_owned()  # type: ignore[attr-defined]

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def start(self, work: Work[T]) -> Future[T]:
        """Begin `work`; the future's `cancel()` ends it."""
        begun: Future[T] = Future()
        self._begun.add(begun)
        self._mailbox.post(self._begin, work, begun)
        return begun

    def visit(self, work: Callable[[Ports], T | None]) -> T | None:
        """What `work`, which waits for nothing, does in the caller's thread while the loop sleeps.

        None where the loop is busy, and where the adapters are not open.
        """
        try:
            if not self._turn.acquire(blocking=False):
                return None
            adapters = self._adapters
            return None if adapters is None else work(adapters.ports)
        finally:
            # An interrupt can come after any call, so none comes before the release; who does not hold the
            # turn changes nothing.
            try:  # noqa: SIM105
                self._turn.release()
            except RuntimeError:
                pass

    def adopt(self, generator: AsyncGenerator[T, None], early: EarlyItems[T] | None = None) -> Producer[T]:
        """Run a generator on this loop, one step at a time; it is closed with the thread at the latest."""
        producer = Producer(generator, early)
        self._producers.add(producer)
        return producer

    async def step(self, producer: Producer[T], delivery: Delivery[T]) -> T:
        """The next item of a producer, on its loop."""
        try:
            return await producer.step(delivery)
        finally:
            if producer.has_ended:
                self._producers.discard(producer)

    async def release(self, producer: Producer[Any]) -> None:
        """Close a producer, on its loop; a cancelled caller does not cut that."""
        if not producer.is_closed:
            await asyncio.shield(self._close(producer))

    def abandon(self, producer: Producer[Any]) -> None:
        """Close a producer soon, whoever says so: nobody will ask it any more."""
        # Once the loop is closed, so is the producer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._close_abandoned, producer)

    def leave(self) -> None:
        """Begin to end; what is begun after this must come from its own loop."""
        self._ended = asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        self._ended.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))

    def leave_unattended(self) -> None:
        """End where nobody will wait for it; what the adapters raise as they are closed is logged."""
        if self.pid == os.getpid():
            self.leave()
            self._ended.add_done_callback(self._log_trouble)

    def wait(self) -> None:
        """Return when it has ended. Raises what the adapters raised as they were closed."""
        while self._thread.is_alive():
            self._thread.join(WAKE_S)
        self._ended.result()

    def _begin(self, work: Work[T], begun: Future[T]) -> None:
        if begun.cancelled():
            work.close()
            begun.set_running_or_notify_cancel()
            self._end(begun)
            return
        task = self._loop.create_task(_told(work, begun))
        task.add_done_callback(lambda _: self._end(begun))
        # It holds the task and not the future, which would else hold itself and what came out.
        begun.add_done_callback(partial(self._cancel, task))

    def _cancel(self, task: asyncio.Task[Any], begun: Future[Any]) -> None:
        if begun.cancelled():
            self._loop.call_soon_threadsafe(task.cancel)

    def _log_trouble(self, ended: Future[None]) -> None:
        if error := ended.exception():
            context = {"message": "closing a pipeline that nobody held any more failed", "exception": error}
            self._loop.call_exception_handler(context)

    def _end(self, begun: Future[Any]) -> None:
        # A loop that is stopped cancels what has not had its first step.
        begun.cancel()
        self._begun.discard(begun)
        self._one_ended.set()

    def _close_abandoned(self, producer: Producer[Any]) -> None:
        if producer in self._producers:
            self._close(producer)

    def _close(self, producer: Producer[Any]) -> asyncio.Task[None]:
        self._producers.discard(producer)
        closing = self._loop.create_task(producer.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    async def _wind_up(self) -> None:
        while self._begun:
            for begun in tuple(self._begun):
                # That cancels it once: a second time would cut the cleaning up after the first.
                begun.cancel()
            self._one_ended.clear()
            await self._one_ended.wait()
        for producer in tuple(self._producers):
            self._close(producer)
        try:
            await asyncio.gather(*self._closing)
        finally:
            adapters, self._adapters = self._adapters, None
            if adapters is not None:
                await adapters.close()

    def _live(self) -> None:
        with self._turn, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()


async def _told(work: Work[T], begun: Future[T]) -> None:
    """Do work, and hand over what became of it at once: the end of a task is told a turn of the loop later.

    An error after a cancellation is for asyncio to log.
    """
    try:
        outcome = await work
    except asyncio.CancelledError:
        begun.cancel()
        begun.set_running_or_notify_cancel()
        raise
    except BaseException as error:
        if not begun.set_running_or_notify_cancel():
            raise
        begun.set_exception(error)
        if not isinstance(error, Exception):
            raise
    else:
        if begun.set_running_or_notify_cancel():
            begun.set_result(outcome)
    finally:
        # An error holds this frame, and must not hold itself by it.
        del work, begun
