"""Fills that outlive the read that asked for them, and the process that began them.

Each is on record before its reader goes. Whoever fills it says again and again that it lives; who dies or is
closed leaves it to any other worker, a few times at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Never, TypeVar

from seamless_assets.aio.gather import gather
from seamless_assets.aio.priority import Urgency, on_its_own
from seamless_assets.aio.shield import shielded
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import FillEvent, FillEventKind
from seamless_assets.core.sharing.fills import MAX_ATTEMPTS, WantedFill, retry_delay_s
from seamless_assets.errors import ExchangeRefused, FillQueueUnavailable, InvalidInput, SeamlessError
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.ports import Ports

T = TypeVar("T")
Outcome = tuple[str, ...]
"""Why bars stay missing; empty where all went well."""
TAKEN_AT_ONCE = 4
LOOK_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class DrainedFill:
    """A wanted fill that was taken over: the window of a node, and why bars of it stay missing, if any do."""

    node_id: str
    start: int
    end: int
    problems: Outcome


@dataclass(frozen=True, slots=True)
class Running:
    """A fill under way; `recorded` is done once it is on record, or cannot be put there."""

    recorded: asyncio.Future[None]
    outcome: asyncio.Task[Outcome]
    urgency: Urgency


class BackgroundFills:
    """The fills of one process, each a task of its own; readers wait for it, and leave it running."""

    def __init__(self) -> None:
        self._running: dict[tuple[NodeId, Segment], Running] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked_at: float | None = None

    def start(self, ports: Ports, node: NodeId, segment: Segment, *, is_awaited: bool) -> Running:
        """Fill what is missing of a segment; the fill of just this that is under way is joined.

        One that `is_awaited` by a reader goes before work in the background.
        """
        key = (node, segment)
        running = self._running.get(key)
        if running is None:
            recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            urgency, context = on_its_own(is_urgent=is_awaited)
            task = asyncio.create_task(_record_and_fill(ports, node, segment, recorded), context=context)
            running = self._running[key] = Running(recorded, task, urgency)
            task.add_done_callback(lambda _: self._running.pop(key, None))
        elif is_awaited:
            running.urgency.rise()
        return running

    def look_after_others(self, ports: Ports) -> None:
        """Take over, beside all else, fills that nobody holds; seldom, however often it is called."""
        now = ports.clock.now()
        is_fresh = self._looked_at is not None and 0 <= now - self._looked_at < LOOK_EVERY_S
        if self._looking is None and not is_fresh:
            self._looked_at = now
            self._looking = _in_background(_look_after_others(ports))
            self._looking.add_done_callback(self._end_look)

    def _end_look(self, _: asyncio.Task[None]) -> None:
        self._looking = None

    async def close(self) -> None:
        """Cancel what is under way, and return when it is given back to others."""
        running: list[asyncio.Task[Any]] = [one.outcome for one in self._running.values()]
        running += [self._looking] if self._looking is not None else []
        for task in running:
            task.cancel()
        if running:
            await shielded(asyncio.ensure_future(asyncio.wait(running)))


async def drain_fills(ports: Ports) -> list[DrainedFill]:
    """Fill what is wanted and held by nobody, the oldest first, until nothing of that is left.

    Raises `FillQueueUnavailable`.
    """
    drained: list[DrainedFill] = []

    async def drain() -> None:
        while (wanted := await ports.fill_queue.take(ports.reading.exchanges, _hold_s(ports))) is not None:
            drained.append(await _fill_taken(ports, wanted))

    await _in_background(gather(drain() for _ in range(TAKEN_AT_ONCE)))
    return drained


async def keep_draining(ports: Ports) -> Never:
    """Drain fills from now on, for as long as the process lives; what cannot be asked for now is later."""
    while True:
        await _look_after_others(ports)
        await ports.clock.sleep(LOOK_EVERY_S)


async def _look_after_others(ports: Ports) -> None:
    """Drain for as long as anything is wanted: what others hold now may be left by them."""
    left: float | None = 0.0
    # That the queue is away is told by whoever keeps it, once; the next read looks again.
    with suppress(FillQueueUnavailable):
        while left is not None:
            await drain_fills(ports)
            left = await ports.fill_queue.next_due_in(ports.reading.exchanges)
            if left is not None:
                await ports.clock.sleep(min(max(left, 1.0), LOOK_EVERY_S))


async def _record_and_fill(
    ports: Ports, node: NodeId, segment: Segment, recorded: asyncio.Future[None]
) -> Outcome:
    """Problems stand in what is returned: nobody may be there to catch them."""
    try:
        await ports.fill_queue.add(node, segment, _hold_s(ports))
    except asyncio.CancelledError:
        # It may be on record by now, as ours.
        await _give_back(ports, node, segment)
        raise
    finally:
        recorded.set_result(None)
    return await _fill(ports, node, segment, attempts=1)


async def _fill_taken(ports: Ports, wanted: WantedFill) -> DrainedFill:
    node, segment, attempts = wanted.node, wanted.segment, wanted.attempts
    if attempts > MAX_ATTEMPTS:
        problems: Outcome = (f"{MAX_ATTEMPTS} workers began it and none came to its end",)
        await _settle(ports, node, segment, attempts, problems)
    else:
        _notify(ports, "take_over", node, segment, attempts)
        problems = await _fill(ports, node, segment, attempts)
    return DrainedFill(str(node), *segment, problems)


async def _fill(ports: Ports, node: NodeId, segment: Segment, attempts: int) -> Outcome:
    problems: Outcome
    try:
        async with _holding(ports, node, segment):
            problems = (await backfill(ports, node, segment)).problems
    except asyncio.CancelledError:
        await _give_back(ports, node, segment)
        raise
    except SeamlessError as error:
        problems = (f"{type(error).__name__}: {error}",)
        # Asked again, it would be refused again.
        attempts = MAX_ATTEMPTS if isinstance(error, (ExchangeRefused, InvalidInput)) else attempts
    await _settle(ports, node, segment, attempts, problems)
    return problems


async def _give_back(ports: Ports, node: NodeId, segment: Segment) -> None:
    """Leave a fill to whoever looks next."""
    await shielded(asyncio.ensure_future(ports.fill_queue.hold(node, segment, 0.0)))


async def _settle(ports: Ports, node: NodeId, segment: Segment, attempts: int, problems: Outcome) -> None:
    """Take it off the record where it is done or given up, else leave it for a later time."""
    if problems and attempts < MAX_ATTEMPTS:
        settling = ports.fill_queue.hold(node, segment, retry_delay_s(attempts))
    else:
        settling = ports.fill_queue.remove(node, segment)
    await shielded(asyncio.ensure_future(settling))
    if problems:
        kind: FillEventKind = "postpone" if attempts < MAX_ATTEMPTS else "give_up"
        _notify(ports, kind, node, segment, attempts, problems[0])


@asynccontextmanager
async def _holding(ports: Ports, node: NodeId, segment: Segment) -> AsyncIterator[None]:
    """Say again and again that whoever fills it lives."""

    async def keep() -> None:
        while True:
            await ports.clock.sleep(_hold_s(ports) / 3)
            await ports.fill_queue.hold(node, segment, _hold_s(ports))

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await shielded(asyncio.ensure_future(asyncio.wait({keeper})))


def _hold_s(ports: Ports) -> float:
    return ports.policy.lease_ttl_ms / 1000


def _in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.create_task(work, context=on_its_own(is_urgent=False)[1])


def _notify(
    ports: Ports, kind: FillEventKind, node: NodeId, segment: Segment, attempts: int, reason: str = ""
) -> None:
    event = FillEvent(kind, str(node), *segment, worker=ports.worker, attempts=attempts, reason=reason)
    ports.observer.notify(event)
