"""Fault injection: every call of a port passes a point before and after its effect where faults strike."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from random import Random
from typing import TypeVar

from seamless_assets.errors import SeamlessError
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.scheduler import SeededLoop

T = TypeVar("T")

EVERYWHERE = frozenset({"crash", "cancel", "stall", "jump", "expire", "freeze"})
"""Faults that strike whether or not a call has an effect."""
MAX_FAULTS = 200
MAX_LATENCIES = 5.0
"""No way takes longer than so many times the usual latency, where it does not hang."""


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How likely each fault is at one point, and how long calls and stalls take, in seconds.

    `crash`: the process vanishes without clean-up. `cancel`: one of its journeys is cancelled. `stall`: the
    call hangs. `freeze`: the whole process stands still for a while. `jump`: its clock is set forward or
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

    @property
    def is_faulty(self) -> bool:
        """Whether anything goes wrong but slowness."""
        return any(self.chances.values())

    @property
    def exchange_answers(self) -> bool:
        """Whether an exchange that is asked answers within seconds."""
        return self.latency <= 1.0 and not (self.refuse or self.lose or self.stall)

    @property
    def chances(self) -> dict[str, float]:
        """The chance of each fault by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)[:8]}


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


class FaultInjector:
    """Draws what strikes each call from a seed: `MAX_FAULTS` at most, and none after `stop`."""

    def __init__(self, loop: SeededLoop, rng: Random, rates: FaultRates, trace: Trace) -> None:
        self._loop = loop
        self._rng = rng
        self._rates = rates
        self._chances = rates.chances
        self._trace = trace
        self.injected = 0
        self.on_crash: Callable[[Process], None] = lambda process: None
        self.expire_lease: Callable[[Random], None] = lambda rng: None

    def stop(self) -> None:
        """Let nothing more go wrong."""
        self._chances = {}

    async def before(self, channel: Channel, call: str) -> None:
        """The point before the effect of `call`."""
        await self._pass(channel, f"{call}?", "refuse")

    async def after(self, channel: Channel, call: str) -> None:
        """The point between the effect of `call` and its answer."""
        await self._pass(channel, f"{call}!", "lose")

    async def _pass(self, channel: Channel, call: str, failure: str) -> None:
        process = channel.process
        fault = self._draw(failure, channel.spared)
        self._trace.add(f"{self._loop.time():.6f} {process.name} {call} {fault}\n")
        delay = self.delay() * channel.slowness
        if fault == "crash":
            process.crash()
            self.on_crash(process)
            await self._loop.create_future()
        elif fault == "cancel":
            self._cancel(process)
        elif fault == "stall":
            delay = self._rng.uniform(0, self._rates.longest_stall)
        elif fault == "jump":
            process.skew = self._rng.uniform(-1, 1) * self._rates.largest_jump
        elif fault == "expire":
            self.expire_lease(self._rng)
        elif fault == "freeze":
            self._loop.freeze(process, self._loop.time() + self._rng.uniform(0, self._rates.longest_stall))
        await asyncio.sleep(delay)
        if fault == failure:
            raise channel.down(f"{call} failed: {fault}")

    def delay(self) -> float:
        """How long one way of a call takes, bounded so that calm runs are calm."""
        if not self._rates.latency:
            return 0.0
        return min(self._rng.expovariate(1 / self._rates.latency), MAX_LATENCIES * self._rates.latency)

    def _draw(self, failure: str, spared: frozenset[str]) -> str:
        if not self._chances:
            return ""
        left = self._rng.random()
        for name, chance in self._chances.items():
            if name in spared or (name != failure and name not in EVERYWHERE):
                continue
            left -= chance
            if left < 0:
                self.injected += 1
                if self.injected >= MAX_FAULTS:
                    self.stop()
                return name
        return ""

    def _cancel(self, process: Process) -> None:
        under_way = [journey for journey in process.journeys if not journey.done()]
        if under_way:
            self._rng.choice(under_way).cancel()


class Channel:
    """How one process reaches one port. `down` is the error that the port raises where it fails.

    `slowness` multiplies its latency; the faults in `spared` never strike its calls.
    """

    def __init__(
        self,
        process: Process,
        injector: FaultInjector,
        port: str,
        down: type[SeamlessError],
        slowness: float = 1.0,
        spared: frozenset[str] = frozenset(),
    ) -> None:
        self.process = process
        self.down = down
        self.slowness = slowness
        self.spared = spared
        self._injector = injector
        self._port = port

    async def call(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        """Do `effect` between two points; it takes effect whole or not at all."""
        await self.pause(name)
        done = await effect()
        await self._injector.after(self, f"{self._port}.{name}")
        return done

    async def ask(self, name: str, question: Callable[[], Awaitable[T]]) -> T:
        """A question that changes nothing: one point does, between what is seen and its answer."""
        if not self.process.is_alive:
            raise GeneratorExit
        seen = await question()
        await self._injector.after(self, f"{self._port}.{name}")
        return seen

    async def pause(self, name: str) -> None:
        """The first of the two points alone."""
        if not self.process.is_alive:
            raise GeneratorExit
        await self._injector.before(self, f"{self._port}.{name}")


class ProcessClock:
    """The clock of one process, as its flows ask it; an error of it makes no wait longer or shorter."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def now(self) -> float:
        """What it shows."""
        return self._channel.process.now()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._channel.pause("sleep")
        await asyncio.sleep(max(0.0, seconds))
