"""Simulated machines and the processes on them, each with a clock that may be wrong."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from random import Random
from typing import Any

from seamless_assets_tests.simulation.scheduler import PROCESS, SeededLoop


class Machine:
    """What the processes of one machine have in common: how far its clock is off, in seconds."""

    def __init__(self, loop: SeededLoop) -> None:
        self.clock_error = 0.0
        self._loop = loop

    def now(self) -> float:
        """What its clock shows."""
        return self._loop.time() + self.clock_error

    async def sleep(self, seconds: float) -> None:
        """Wait; a wrong clock makes no wait longer or shorter."""
        await asyncio.sleep(seconds)


class Process:
    """A process from its start to its crash: its tasks, and the skew of its clock against the machine's."""

    def __init__(
        self, loop: SeededLoop, machine: Machine, slot: int, name: str, rng: Random, skew: float = 0.0
    ) -> None:
        self.loop = loop
        self.machine = machine
        self.slot = slot
        self.name = name
        self.rng = rng
        self.skew = skew
        self.is_alive = True
        self.journeys: list[asyncio.Task[Any]] = []

    def now(self) -> float:
        """What its clock shows."""
        return self.machine.now() + self.skew

    def start(self, coro: Any) -> asyncio.Task[Any]:
        """Run `coro` as a task of this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        task: asyncio.Task[Any] = self.loop.create_task(coro, context=context)
        return task

    def crash(self) -> None:
        """Vanish: nothing of it runs any more."""
        self.is_alive = False
        self.loop.kill(self)
