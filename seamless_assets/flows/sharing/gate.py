"""The gate that every request to an exchange passes: a shared rate budget, and what holds while it is away.

With a budget of the cluster: that; and while it cannot be reached, a minimum interval of this process and one
pace without bursts for this machine. Without: one budget for this machine. A minimum interval that the
settings name holds always.

A request that nobody waits for takes a place in a second bucket first, which holds what is not reserved: so
much of it never comes to the budget itself that the urgent wait there, and the bound is the budget's alone.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from seamless_assets.aio.priority import UrgentFirst, is_urgent, risen
from seamless_assets.aio.shield import acquire_shielded, shielded
from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.events import DroppedRequest
from seamless_assets.core.sharing.token_bucket import Budget, Place
from seamless_assets.errors import BudgetUnavailable, RateLimited
from seamless_assets.flows.ports import BudgetStore, Clock, Observer
from seamless_assets.flows.sharing.outage import LONGEST_PROBE_S, Outage
from seamless_assets.flows.sharing.process_budget import ProcessBudget
from seamless_assets.flows.sharing.retry import LONGEST_WAIT_S

OUTAGE_MARK = "#outage"
UNRESERVED_MARK = "#unreserved"


class RateGate:
    """Admits requests; satisfies the exchange client's `Gate`."""

    def __init__(
        self, clock: Clock, observer: Observer, machine: BudgetStore, shared: BudgetStore | None = None
    ) -> None:
        self._clock, self._observer = clock, observer
        self._machine, self._shared = machine, shared
        self._process = ProcessBudget(clock)
        self._outage = Outage("rate_limiter", clock, observer)
        self._turns: defaultdict[str, UrgentFirst] = defaultdict(UrgentFirst)
        self._leaving: defaultdict[str, UrgentFirst] = defaultdict(UrgentFirst)
        self._left_at: dict[str, float] = {}
        self._emptied: dict[str, int] = {}
        self._born: dict[str, float] = {}
        self._past: dict[str, float] = {}
        self._unshared: dict[str, _CoolDown] = {}

    async def acquire(self, key: str, budget: Budget, cost: float) -> None:
        """Wait until a request of `cost` tokens under `key` may go out; the urgent go before the rest.

        A caller that is cancelled gives its place back. Raises `RateLimited` while a ban lasts that is too
        long to be waited out, `BudgetUnavailable` where this machine's own budget is all and cannot be used.
        """
        began = self._clock.now()
        try:
            if budget.reserved_share and not is_urgent():
                await self._hold_back(key, budget, cost)
            await self._admit(key, budget, cost)
        except (asyncio.CancelledError, RateLimited) as error:
            waited_ms, reason = max(0.0, self._clock.now() - began) * 1000, str(error) or "cancelled"
            self._observer.notify(DroppedRequest(key, waited_ms, reason))
            raise

    async def _hold_back(self, key: str, budget: Budget, cost: float) -> None:
        """Wait for a turn in what is not reserved, as long as nobody waits for the request."""
        waiting = asyncio.ensure_future(self._unreserved(key + UNRESERVED_MARK, budget.unreserved, cost))
        rising = asyncio.ensure_future(risen())
        try:
            await asyncio.wait({waiting, rising}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            rising.cancel()
            await shielded(asyncio.ensure_future(asyncio.wait({waiting, rising})))

    async def _unreserved(self, key: str, unreserved: Budget, cost: float) -> None:
        if self._shared is None:
            await self._through(self._machine, key, unreserved, cost)
            return
        if not self._outage.is_on:
            try:
                await self._through(self._shared, key, unreserved, cost)
            except BudgetUnavailable as error:
                self._outage.begin(error)
            else:
                return
        with suppress(BudgetUnavailable):
            await self._through(self._machine, key + OUTAGE_MARK, _machine_pace(unreserved), cost)

    async def _admit(self, key: str, budget: Budget, cost: float) -> None:
        if not budget.min_interval_ms:
            await self._budgeted(key, budget, cost)
            return
        # One at a time: who waited for the budget meanwhile would leave together with others.
        async with self._leaving[key]:
            await self._clock.sleep(self._pause_left(key, budget.min_interval_ms / 1000))
            await self._budgeted(key, budget, cost)
            self._left_at[key] = self._clock.now()

    def _pause_left(self, key: str, pause: float) -> float:
        """Seconds until the minimum interval since the last request is over, also by a clock that was set."""
        return pause - min(pause, max(0.0, self._clock.now() - self._left_at.get(key, -math.inf)))

    async def _budgeted(self, key: str, budget: Budget, cost: float) -> None:
        if self._shared is None:
            await self._through(self._machine, key, budget, cost)
            return
        while True:
            if await self._is_there(self._shared, key, budget):
                try:
                    await self._through(self._shared, key, budget, cost)
                except BudgetUnavailable as error:
                    self._outage.begin(error)
                else:
                    return
            elif await self._goes_past(self._shared, key, budget, cost):
                return

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Let nothing through under `key` for `seconds`, in every worker that shares the budget."""
        if budget.reserved_share:
            # Else all that is held back would come out meanwhile, and stand before the urgent afterwards.
            with suppress(BudgetUnavailable):
                store = self._machine if self._shared is None else self._shared
                await store.cool_down(key + UNRESERVED_MARK, budget.unreserved, seconds)
        if self._shared is None:
            await self._machine.cool_down(key, budget, seconds)
            return
        await self._process.cool_down(key, _process_pace(budget), seconds)
        with suppress(BudgetUnavailable):
            await self._machine.cool_down(key + OUTAGE_MARK, _machine_pace(budget), seconds)
        asked = _CoolDown(self._clock.now(), min(seconds, arithmetic.LONGEST_COOL_DOWN_S))
        self._unshared[key] = asked.or_longer(self._unshared.get(key))
        await self._is_there(self._shared, key, budget)

    async def _through(
        self, store: BudgetStore, key: str, budget: Budget, cost: float, ahead: float = 0.0
    ) -> None:
        """Take a place in `store` and wait for its turn, and `ahead` seconds more.

        Who wakes late, from a process that was stopped or starved, has missed that turn: requests that
        should have gone out one by one would go out together.
        """
        place = await self._place(store, key, budget, cost)
        place = replace(place, wait=place.wait + ahead)
        try:
            while place.wait > 0:
                if place.cooling > LONGEST_WAIT_S:
                    raise _banned(key, place.cooling)
                began = self._clock.now()
                await self._clock.sleep(place.wait)
                late = self._clock.now() - began - place.wait
                kept = await store.moved(key, budget, place) if late <= budget.tolerance_s else None
                place = kept or await self._place(store, key, budget, cost)
        except (asyncio.CancelledError, RateLimited):
            await shielded(asyncio.ensure_future(_give_back(store, key, budget, place)))
            raise

    async def _place(self, store: BudgetStore, key: str, budget: Budget, cost: float) -> Place:
        taking = asyncio.ensure_future(store.take(key, budget, cost))
        place = await acquire_shielded(taking, partial(_give_back, store, key, budget))
        if store is self._shared:
            self._born[key] = place.born
            self._outage.end()
        return place

    async def _goes_past(self, shared: BudgetStore, key: str, budget: Budget, cost: float) -> bool:
        """Wait for this machine's own pace; False where the shared budget is back before that is over."""
        waiting = asyncio.ensure_future(self._own_pace(key, budget, cost))
        try:
            while not waiting.done():
                tick = asyncio.ensure_future(self._clock.sleep(LONGEST_PROBE_S))
                try:
                    await asyncio.wait({waiting, tick}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    tick.cancel()
                if await self._is_there(shared, key, budget):
                    return False
            waiting.result()
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})
        self._past[key] = self._past.get(key, 0.0) + cost
        return True

    async def _own_pace(self, key: str, budget: Budget, cost: float) -> None:
        """Wait for the pace of this machine, then for that of this process, one request at a time."""
        pace, pace_key = _machine_pace(budget), key + OUTAGE_MARK
        async with self._turns[key]:
            # Without this machine's file, the pace of this process remains.
            with suppress(BudgetUnavailable):
                if self._emptied.get(key) != self._outage.number:
                    # The shared bucket may have let a burst through just before it was lost.
                    self._emptied[key] = self._outage.number
                    await self._machine.settle(pace_key, pace, pace.burst, None)
                # A heavy request is paid for before it goes out: the shared bucket never hears of a debt.
                ahead = max(0.0, cost - pace.burst) / pace.tokens_per_second
                await self._through(self._machine, pace_key, pace, cost, ahead)
            await self._through(self._process, key, _process_pace(budget), cost)

    async def _is_there(self, shared: BudgetStore, key: str, budget: Budget) -> bool:
        """Whether the shared budget can be asked; what it missed is handed to it first."""
        if not self._outage.may_ask():
            return False
        past, unshared = self._past.pop(key, 0.0), self._unshared.pop(key, None)
        try:
            if past or self._outage.is_on:
                await shared.settle(key, budget, past, self._born.get(key))
                past = 0.0
                self._outage.end()
            if unshared is not None and (seconds := unshared.left_at(self._clock.now())) > 0:
                await shared.cool_down(key, budget, seconds)
        except (BudgetUnavailable, asyncio.CancelledError) as error:
            # Handed over by whoever asks next; who was cancelled must not take it away.
            self._past[key] = self._past.get(key, 0.0) + past
            if unshared is not None:
                self._unshared[key] = unshared.or_longer(self._unshared.get(key))
            if isinstance(error, asyncio.CancelledError):
                raise
            self._outage.begin(error)
            return False
        return True


@dataclass(frozen=True, slots=True)
class _CoolDown:
    """Seconds without requests that an exchange asked for, and when."""

    asked_at: float
    seconds: float

    def left_at(self, now: float) -> float:
        """What is left of it; never more than was asked for, whatever the clock was set to meanwhile."""
        return self.seconds - max(0.0, now - self.asked_at)

    def or_longer(self, other: _CoolDown | None) -> _CoolDown:
        """This one, or the other if that ends later."""
        if other is None or other.left_at(self.asked_at) <= self.seconds:
            return self
        return other


async def _give_back(store: BudgetStore, key: str, budget: Budget, place: Place) -> None:
    # A store that is away has lost the place, or keeps it for nobody.
    with suppress(BudgetUnavailable):
        await store.give_back(key, budget, place)


def _banned(key: str, seconds: float) -> RateLimited:
    return RateLimited(
        f"{key}: the exchange asked for {seconds:.0f} s more without requests; try again then",
        status=None,
        retry_after=seconds,
    )


def _process_pace(budget: Budget) -> Budget:
    """One request each minimum interval; no limit but a formal one where that is 0."""
    interval_ms = budget.min_interval_ms
    pause = 1000 / budget.tokens_per_second if interval_ms is None else interval_ms
    return Budget(1, max(pause, 1e-3), 1)


def _machine_pace(budget: Budget) -> Budget:
    return replace(budget, burst=min(1.0, budget.burst))
