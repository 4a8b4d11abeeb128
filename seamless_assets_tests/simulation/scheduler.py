"""The scheduler: an event loop on virtual time that runs many simulated processes in one seeded order.

Inside a process callbacks run in the order in which they were registered, as asyncio promises; whose turn
it is among processes with something to do is drawn from the seed. No I/O, no threads: what is handed to an
executor runs at once.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from inspect import iscoroutine
from random import Random
from typing import Any

PROCESS: ContextVar[object] = ContextVar("process", default=None)
"""The process on whose behalf code runs; whatever it starts belongs to the same process."""
MOST_CLEANINGS = 100
"""Of one task that was left, one for each time at which its clean-up waits for something."""


class Stalled(AssertionError):
    """Nothing is left to happen, and the run is not over: somebody waits for what will never come."""


class SeededLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in a seeded order; `time()` is virtual epoch seconds and leaps to the next timer."""

    def __init__(self, rng: Random, start: float) -> None:
        self._rng = rng
        self._time = start
        self._ready: dict[object, deque[asyncio.Handle]] = {}
        self._timers: list[tuple[float, int, object, asyncio.TimerHandle]] = []
        self._registered = 0
        self._tasks: dict[object, list[asyncio.Task[Any]]] = {}
        self._dead: set[object] = set()
        self._frozen: dict[object, float] = {}
        self.unhandled: list[str] = []

    def time(self) -> float:
        """Virtual epoch seconds."""
        return self._time

    def run_until(self, is_over: Callable[[], bool], deadline: float) -> None:
        """Let things happen until `is_over`. Raises `Stalled` at `deadline` or where nothing is left."""
        hooks = sys.get_asyncgen_hooks()
        # A crash lets go of generators that are half way through, and none of them may clean up.
        sys.set_asyncgen_hooks(finalizer=lambda generator: None)
        asyncio._set_running_loop(self)
        try:
            while not is_over():
                self._step(deadline)
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def kill(self, process: object) -> None:
        """From now on nothing of `process` runs, not even its clean-up."""
        self._dead.add(process)
        self._ready.pop(process, None)

    def freeze(self, process: object, until: float) -> None:
        """Nothing of `process` runs before `until`; then it goes on as if no time had passed."""
        self._frozen[process] = max(until, self._frozen.get(process, until))
        self.call_at(self._frozen[process], self._thaw, process, context=Context())

    def _thaw(self, process: object) -> None:
        if self._frozen.get(process, self._time) <= self._time:
            self._frozen.pop(process, None)

    def pending(self, process: object) -> list[asyncio.Task[Any]]:
        """The process's tasks that are not done, oldest first."""
        return [task for task in self._tasks.get(process, []) if not task.done()]

    def abandon(self) -> None:
        """Let go of every task that was left; what their clean-up does or raises is nobody's business."""
        asyncio._set_running_loop(self)
        try:
            while self._tasks:
                process, tasks = self._tasks.popitem()
                self.kill(process)
                for task in tasks:
                    _close(task)
        finally:
            asyncio._set_running_loop(None)
            self._ready.clear()
            self._timers.clear()

    def _step(self, deadline: float) -> None:
        able = [one for one, handles in self._ready.items() if handles and one not in self._frozen]
        if not able:
            self._leap(deadline)
            return
        process = able[0] if len(able) == 1 else self._rng.choice(able)
        handle = self._ready[process].popleft()
        if not handle.cancelled():
            handle._run()

    def _leap(self, deadline: float) -> None:
        while self._timers:
            when, _, process, timer = heapq.heappop(self._timers)
            if timer.cancelled() or process in self._dead:
                continue
            if when > deadline:
                raise Stalled(f"the run is not over at its deadline {deadline}")
            self._time = max(self._time, when)
            self._ready.setdefault(process, deque()).append(timer)
            return
        raise Stalled(f"nothing is left to happen at {self._time}, and the run is not over")

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        process = context.get(PROCESS)
        if process not in self._dead:
            self._ready.setdefault(process, deque()).append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._registered += 1
        heapq.heappush(self._timers, (when, self._registered, context.get(PROCESS), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        context = copy_context() if context is None else context
        task = asyncio.Task(coro, loop=self, name=name or "", context=context)
        owned = self._tasks.setdefault(context.get(PROCESS), [])
        owned.append(task)
        if len(owned) > 200:
            owned[:] = [known for known in owned if not known.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001
            done.set_exception(error)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""


def _close(task: asyncio.Task[Any]) -> None:
    """End a task's coroutine; the ports of the dead raise `GeneratorExit`, so clean-up ends at once."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    if task.done():
        if not task.cancelled():
            task.exception()
        return
    whole: Any = task.get_coro()
    for _ in range(MOST_CLEANINGS):
        # One that is awaited still when its caller is closed has no one to hear what its clean-up raises.
        innermost = _innermost(whole)
        try:
            innermost.close()
        except BaseException:  # noqa: BLE001
            continue
        if innermost is whole:
            return


def _innermost(coroutine: Any) -> Any:
    """What a coroutine awaits, and that awaits, as far as it has not ended."""
    awaited = coroutine.cr_await
    while iscoroutine(awaited) and awaited.cr_frame is not None:
        coroutine, awaited = awaited, awaited.cr_await
    return coroutine
