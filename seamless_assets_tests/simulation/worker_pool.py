"""The processes of a run: each does its share of the workload; one that crashed is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any

from seamless_assets.errors import SeamlessError
from seamless_assets_tests.simulation.faults import FaultInjector
from seamless_assets_tests.simulation.process import Machine, Process
from seamless_assets_tests.simulation.scheduler import SeededLoop

RESTART_S = 20.0
REST_S = 60.0
WIND_DOWN_S = 120.0
MAX_SKEW_S = 2.0


class WorkerPool:
    """`size` processes at once, each of which does `share`; what goes wrong with it goes to `violations`."""

    def __init__(
        self,
        loop: SeededLoop,
        rng: Random,
        injector: FaultInjector,
        machine: Callable[[int], Machine],
        size: int,
        share: Callable[[Process], Coroutine[Any, Any, None]],
        violations: list[str],
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._machine = machine
        self._size = size
        self._share = share
        self._violations = violations
        self._started = 0
        self._done: set[int] = set()
        self.crashed: set[str] = set()
        injector.on_crash = self._restart

    def start(self) -> None:
        """Start every process."""
        for slot in range(self._size):
            self._start(slot)

    def is_done(self) -> bool:
        """Whether every process has done its share."""
        return len(self._done) == self._size

    async def retry(self, process: Process, journey: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Go on a journey until it returns True; a cancelled or failed one is begun anew."""
        while True:
            task = process.start(journey())
            process.journeys.append(task)
            await asyncio.wait([task])
            process.journeys.remove(task)
            if not task.cancelled():
                error = task.exception()
                if error is None and task.result():
                    return
                if error is not None and not isinstance(error, SeamlessError):
                    self._violations.append(f"a journey of {process.name} died of {error!r}")
            await asyncio.sleep(process.rng.uniform(0, REST_S))

    def _start(self, slot: int) -> None:
        self._started += 1
        name = f"w{slot}.{self._started}"
        skew = self._rng.uniform(-MAX_SKEW_S, MAX_SKEW_S)
        process = Process(self._loop, self._machine(slot), slot, name, Random(self._rng.random()), skew)
        process.start(self._work(process)).add_done_callback(self._look)

    async def _work(self, process: Process) -> None:
        await self._share(process)
        others = [task for task in self._loop.pending(process) if task is not asyncio.current_task()]
        if others:
            _, left = await asyncio.wait(others, timeout=WIND_DOWN_S)
            self._violations += [f"{process.name} left {task.get_coro()} behind" for task in left]
        self._done.add(process.slot)

    def _look(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self._violations.append(f"a process died of {error!r}")

    def _restart(self, process: Process) -> None:
        self.crashed.add(process.name)
        after = self._rng.uniform(0, RESTART_S)
        self._loop.call_later(after, self._start, process.slot, context=Context())
