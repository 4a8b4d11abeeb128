"""The workers of a run: each does its shift, and one that crashed is started again as another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any

from seamless_assets.errors import SeamlessError
from seamless_assets_tests.simulation.fate import Fate, Worker
from seamless_assets_tests.simulation.loop import SimLoop

RESTART_S = 20.0
REST_S = 60.0
WIND_DOWN_S = 120.0
MOST_SKEW_S = 2.0


class Crew:
    """`size` workers at once. `shift` is all that one of them has to do; its faults go to `faults`."""

    def __init__(
        self,
        loop: SimLoop,
        rng: Random,
        fate: Fate,
        size: int,
        shift: Callable[[Worker], Coroutine[Any, Any, None]],
        faults: list[str],
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._size = size
        self._shift = shift
        self._faults = faults
        self._hired = 0
        self._done: set[int] = set()
        self.crashed: set[str] = set()
        fate.on_crash = self._replace

    def start(self) -> None:
        """Let every worker begin."""
        for slot in range(self._size):
            self._hire(slot)

    def is_done(self) -> bool:
        """Whether every shift came to its end."""
        return len(self._done) == self._size

    async def insist(self, worker: Worker, journey: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Go on a journey until it returns True; a cancelled or failed one is begun anew."""
        while True:
            task = worker.start(journey())
            worker.journeys.append(task)
            await asyncio.wait([task])
            worker.journeys.remove(task)
            if not task.cancelled():
                error = task.exception()
                if error is None and task.result():
                    return
                if error is not None and not isinstance(error, SeamlessError):
                    self._faults.append(f"a journey of {worker.name} died of {error!r}")
            await asyncio.sleep(worker.rng.uniform(0, REST_S))

    def _hire(self, slot: int) -> None:
        self._hired += 1
        name = f"w{slot}.{self._hired}"
        skew = self._rng.uniform(-MOST_SKEW_S, MOST_SKEW_S)
        worker = Worker(self._loop, slot, name, Random(self._rng.random()), skew)
        worker.start(self._work(worker)).add_done_callback(self._look)

    async def _work(self, worker: Worker) -> None:
        await self._shift(worker)
        others = [task for task in self._loop.pending(worker) if task is not asyncio.current_task()]
        if others:
            _, left = await asyncio.wait(others, timeout=WIND_DOWN_S)
            self._faults += [f"{worker.name} left {task.get_coro()} behind" for task in left]
        self._done.add(worker.slot)

    def _look(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self._faults.append(f"a shift died of {error!r}")

    def _replace(self, worker: Worker) -> None:
        self.crashed.add(worker.name)
        self._loop.call_later(self._rng.uniform(0, RESTART_S), self._hire, worker.slot, context=Context())
