"""Virtual time: an event loop that jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seamless_assets.core.sharing.lease import Lease, next_token
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable
from seamless_assets.testing.twins import START

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never waits: what would have been waited for is time that has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for something that will never happen")
        self.passed += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is virtual; nothing outside it may be waited for."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


class VirtualClock:
    """The flows' clock on a virtual loop."""

    def now(self) -> float:
        return START + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def on_virtual_time(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


@dataclass
class MemoryLeases:
    """A lease store in memory; `is_away` makes it unreachable, `delay` slow, after the work is done."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    is_away: bool = False
    delay: float = 0.0
    live: dict[str, Lease] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    ended: list[tuple[str, int, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        self._asked("claim")
        now, held = self.clock.now(), self.live.get(key)
        lease = None
        if held is not None and held.until > now:
            lease = held if held.holder == holder else None
        else:
            token = self.tokens[key] = next_token(self.tokens.get(key), now)
            lease = self.live[key] = Lease(key, token, holder, now + ttl)
        await asyncio.sleep(self.delay)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> Lease:
        self._asked("renew")
        self._own(lease)
        now = self.clock.now()
        renewed = self.live[lease.key] = Lease(lease.key, lease.token, lease.holder, now + ttl)
        await asyncio.sleep(self.delay)
        return renewed

    async def complete(self, lease: Lease) -> None:
        await self._end(lease, "completed")

    async def fail(self, lease: Lease, reason: str) -> None:
        await self._end(lease, reason)

    async def _end(self, lease: Lease, outcome: str) -> None:
        self._asked("end")
        self._own(lease)
        del self.live[lease.key]
        self.ended.append((lease.key, lease.token, outcome))
        await asyncio.sleep(self.delay)

    def _asked(self, what: str) -> None:
        self.calls.append(what)
        if self.is_away:
            raise LeaseStoreUnavailable("the lease store is away")

    def _own(self, lease: Lease) -> None:
        held = self.live.get(lease.key)
        if held is None or held.token != lease.token or held.until <= self.clock.now():
            raise LeaseLost("not held")
