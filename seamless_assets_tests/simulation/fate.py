"""What can go wrong, and when: every call of a port passes a choice point before and after its effect."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, fields
from random import Random
from typing import Any, TypeVar

from seamless_assets.errors import SeamlessError
from seamless_assets_tests.simulation.loop import OWNER, SimLoop

T = TypeVar("T")

EVERYWHERE = frozenset({"crash", "cancel", "stall", "jump", "expire", "freeze"})
"""Mishaps that no effect is needed for."""
MOST_MISHAPS = 200
MOST_LATENCIES = 5.0
"""No way takes longer than so many times the usual latency, where it does not hang."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each mishap is at one choice point, and how long calls and stalls take, in seconds.

    `crash`: the worker vanishes without clean-up. `cancel`: one of its journeys is cancelled. `stall`: the
    call hangs. `freeze`: the whole worker stands still for a while. `jump`: its clock is set forward or
    back. `refuse`: the call fails before its effect. `lose`: the effect stands, the answer is lost.
    `expire`: a lease somewhere runs out at once.
    """

    crash: float = 0.0
    cancel: float = 0.0
    stall: float = 0.0
    jump: float = 0.0
    refuse: float = 0.0
    lose: float = 0.0
    expire: float = 0.0
    freeze: float = 0.0
    latency: float = 0.05
    longest_stall: float = 60.0
    largest_jump: float = 300.0

    def scaled(self, factor: float) -> dict[str, float]:
        """The odds by name, times `factor`."""
        return {field.name: getattr(self, field.name) * factor for field in fields(self)[:8]}


class Trace:
    """What happened, as a running hash and the last lines of it."""

    def __init__(self, kept: int | None) -> None:
        self._hash = hashlib.sha256()
        self.lines: deque[str] = deque(maxlen=kept)

    def add(self, line: str) -> None:
        """Append one line."""
        self._hash.update(line.encode())
        self.lines.append(line)

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()


class Worker:
    """One process of the cluster, from its start to its crash: its clock, and the journeys it is on."""

    def __init__(self, loop: SimLoop, slot: int, name: str, rng: Random, skew: float) -> None:
        self.loop = loop
        self.slot = slot
        self.name = name
        self.rng = rng
        self.skew = skew
        self.is_alive = True
        self.journeys: list[asyncio.Task[Any]] = []

    def start(self, coro: Any) -> asyncio.Task[Any]:
        """Run `coro` as a task of this worker."""
        context = copy_context()
        context.run(OWNER.set, self)
        task: asyncio.Task[Any] = self.loop.create_task(coro, context=context)
        return task

    def crash(self) -> None:
        """Vanish: nothing of it runs any more."""
        self.is_alive = False
        self.loop.kill(self)


class Fate:
    """Draws what befalls each call from a seed: `MOST_MISHAPS` at most, and none after `calm_down`."""

    def __init__(self, loop: SimLoop, rng: Random, odds: Odds, trace: Trace) -> None:
        self._loop = loop
        self._rng = rng
        self._odds = odds
        self._table = odds.scaled(1.0)
        self._trace = trace
        self.befallen = 0
        self.on_crash: Callable[[Worker], None] = lambda worker: None
        self.expire_lease: Callable[[Random], None] = lambda rng: None

    def calm_down(self) -> None:
        """Let nothing more go wrong."""
        self._table = {}

    async def before(self, wire: Wire, call: str) -> None:
        """The choice point before the effect of `call`."""
        await self._pass(wire, f"{call}?", "refuse")

    async def after(self, wire: Wire, call: str) -> None:
        """The choice point between the effect of `call` and its answer."""
        await self._pass(wire, f"{call}!", "lose")

    async def _pass(self, wire: Wire, call: str, failure: str) -> None:
        worker = wire.worker
        mishap = self._draw({failure, *EVERYWHERE} - wire.spared)
        self._trace.add(f"{self._loop.time():.6f} {worker.name} {call} {mishap}\n")
        delay = self.delay() * wire.slowness
        if mishap == "crash":
            worker.crash()
            self.on_crash(worker)
            await self._loop.create_future()
        elif mishap == "cancel":
            self._cancel(worker)
        elif mishap == "stall":
            delay = self._rng.uniform(0, self._odds.longest_stall)
        elif mishap == "jump":
            worker.skew = self._rng.uniform(-1, 1) * self._odds.largest_jump
        elif mishap == "expire":
            self.expire_lease(self._rng)
        elif mishap == "freeze":
            self._loop.freeze(worker, self._loop.time() + self._rng.uniform(0, self._odds.longest_stall))
        await asyncio.sleep(delay)
        if mishap == failure:
            raise wire.down(f"{call} failed: {mishap}")

    def delay(self) -> float:
        """How long one way of a call takes, bounded so that calm runs are calm."""
        return min(self._rng.expovariate(1 / self._odds.latency), MOST_LATENCIES * self._odds.latency)

    def _draw(self, possible: set[str]) -> str:
        if not self._table:
            return ""
        left = self._rng.random()
        for name, chance in self._table.items():
            if name not in possible:
                continue
            left -= chance
            if left < 0:
                self.befallen += 1
                if self.befallen >= MOST_MISHAPS:
                    self.calm_down()
                return name
        return ""

    def _cancel(self, worker: Worker) -> None:
        under_way = [journey for journey in worker.journeys if not journey.done()]
        if under_way:
            self._rng.choice(under_way).cancel()


class Wire:
    """How one worker reaches one port. `down` is the error that the port raises where it fails.

    `slowness` multiplies its latency; the mishaps in `spared` never befall its calls.
    """

    def __init__(
        self,
        worker: Worker,
        fate: Fate,
        port: str,
        down: type[SeamlessError],
        slowness: float = 1.0,
        spared: frozenset[str] = frozenset(),
    ) -> None:
        self.worker = worker
        self.down = down
        self.slowness = slowness
        self.spared = spared
        self._fate = fate
        self._port = port

    async def __call__(self, call: str, effect: Callable[[], T]) -> T:
        """Do `effect` between two choice points; it runs whole or not at all."""
        await self.pause(call)
        done = effect()
        await self._fate.after(self, f"{self._port}.{call}")
        return done

    async def look(self, call: str, effect: Callable[[], T]) -> T:
        """A question that changes nothing: one choice point does, between what is seen and its answer."""
        if not self.worker.is_alive:
            raise GeneratorExit
        seen = effect()
        await self._fate.after(self, f"{self._port}.{call}")
        return seen

    async def pause(self, call: str) -> None:
        """The first of the two choice points alone."""
        if not self.worker.is_alive:
            raise GeneratorExit
        await self._fate.before(self, f"{self._port}.{call}")


class WorkerClock:
    """The clock of one worker: its skew changes what it reads, never how long a wait takes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def now(self) -> float:
        return self._wire.worker.loop.time() + self._wire.worker.skew

    async def sleep(self, seconds: float) -> None:
        await self._wire.pause("sleep")
        await asyncio.sleep(max(0.0, seconds))
