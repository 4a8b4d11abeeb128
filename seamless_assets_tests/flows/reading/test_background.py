"""Wanted fills outlive whoever wanted them: on record, taken over, tried again a few times."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from seamless_assets.aio.priority import is_urgent
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.core.sharing.events import CoordinationEvent, FillEvent
from seamless_assets.core.sharing.fills import MAX_ATTEMPTS
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import LOOK_EVERY_S, drain_fills, keep_draining
from seamless_assets.flows.reading.read import read
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    InMemoryFillQueue,
    InMemoryHotStore,
    InMemoryLeaseStore,
    VirtualClock,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
NOW = START + DAY
WINDOW = Segment(NOW - 3_600, NOW)
TTL_S = 30.0
SLA = SLAPolicy(total_deadline_ms=1_000, max_wait_storage_ms=300, max_wait_backfill_ms=700)


class SlowExchange(InMemoryExchange):
    """Each page takes `delay` seconds of virtual time."""

    delay = 0.0

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        self.asked.append(window)
        await asyncio.sleep(self.delay)
        page = await super().fetch_candles(node, window)
        self.asked.pop()
        return page


class Cluster:
    """Processes that share hot store, leases and queue, over one exchange; each `opened` anew."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOW)
        self.exchange = SlowExchange(random_walk(START, NOW + 7_200), self.clock)
        self.queue = InMemoryFillQueue(self.clock)
        self.shared: dict[str, Any] = {"hot": InMemoryHotStore(), "leases": InMemoryLeaseStore(self.clock)}

    def opened(self, worker: str = "a", exchanges: str = "binance") -> Ports:
        ports = in_memory_ports(
            self.exchange,
            clock=self.clock,
            fill_queue=self.queue,
            policy=Policy(retry_backoff_ms=10, lease_ttl_ms=TTL_S * 1000, max_attempts=1),
            reading=ReadSettings(starts={str(NODE): START}, exchanges=frozenset({exchanges})),
            worker=worker,
            **self.shared,
        )
        return replace(ports, rng=Random(worker))

    async def missing(self) -> int:
        bars = await self.shared["hot"].load_bars(NODE, WINDOW)
        return 60 - int(bars.num_rows)


def asking(strategy: str = "PARTIAL_FILL") -> ReadRequest:
    context = ComputeContext(domain="live", max_lag=1e6)
    return ReadRequest.parse(NODE, *WINDOW, context=context, strategy=strategy, sla=SLA, default_sla=SLA)


def fill_events(ports: Ports) -> list[FillEvent]:
    observer: Any = ports.observer
    return [event for event in observer.events if isinstance(event, FillEvent)]


async def die(ports: Ports) -> None:
    """End the process without a word: its tasks go and no queue hears of it."""
    silent: Any = ports.fill_queue
    silent._queue = InMemoryFillQueue(VirtualClock(NOW))
    await ports.fills.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", ["PARTIAL_FILL", "SEAMLESS", "AUTO_BACKFILL"])
def test_what_a_dead_reader_wanted_is_filled_by_the_next_once(strategy: str) -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 5.0
        first, second = cluster.opened("a"), cluster.opened("b")
        result = await read(first, asking(strategy))
        assert result.metadata.rows == 0
        # It is on record by the time that the reader has its answer.
        (wanted,) = cluster.queue.wanted
        assert wanted.covers(NODE, WINDOW) and wanted.attempts == 1
        await die(first)
        cluster.exchange.delay = 0.0
        assert await drain_fills(second) == []
        await asyncio.sleep(TTL_S + 1)
        asked = len(cluster.exchange.asked)
        drained = await drain_fills(second)
        assert [(one.node_id, one.problems) for one in drained] == [(str(NODE), ())]
        assert await cluster.missing() == 0 and cluster.queue.wanted == ()
        assert len(cluster.exchange.asked) == asked + 1
        assert [event.kind for event in fill_events(second)] == ["take_over"]
        assert await drain_fills(second) == []

    run_on_virtual_time(main)


def test_any_pipeline_that_reads_and_may_fill_takes_over_by_itself() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 5.0
        first, second = cluster.opened("a"), cluster.opened("b")
        await read(first, asking())
        await die(first)
        cluster.exchange.delay = 0.0
        other = ReadRequest.parse(
            NODE, START, START + 60, context=asking().context, strategy="PARTIAL_FILL", default_sla=SLA
        )
        await read(second, replace(other, strategy="FAIL_FAST"))
        await asyncio.sleep(10 * TTL_S)
        assert await cluster.missing() == 60
        # One read is enough, though what the dead one held is anybody's only later.
        await read(cluster.opened("c"), other)
        await asyncio.sleep(2 * TTL_S)
        assert await cluster.missing() == 0 and cluster.queue.wanted == ()

    run_on_virtual_time(main)


def test_who_lives_keeps_its_fill_however_long_that_takes_and_one_fetch_serves_all() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 5 * TTL_S
        first, second = cluster.opened("a"), cluster.opened("b")
        await read(first, asking())
        for _ in range(20):
            assert await drain_fills(second) == []
            await asyncio.sleep(TTL_S / 2)
        assert await cluster.missing() == 0 and cluster.queue.wanted == ()
        assert len(cluster.exchange.asked) == 1

    run_on_virtual_time(main)


def test_a_pipeline_that_is_closed_gives_its_fills_back_at_once() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 5.0
        first, second = cluster.opened("a"), cluster.opened("b")
        await read(first, asking())
        await first.fills.close()  # type: ignore[attr-defined]
        assert cluster.queue.wanted != ()
        assert [one.problems for one in await drain_fills(second)] == [()]
        assert await cluster.missing() == 0

    run_on_virtual_time(main)


def test_what_comes_to_nothing_is_tried_again_a_few_times_and_given_up_aloud() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.is_away = True
        ports = cluster.opened()
        await read(ports, asking())
        for _ in range(200):
            await asyncio.sleep(60)
            await drain_fills(ports)
        kinds = [event.kind for event in fill_events(ports)]
        assert kinds.count("take_over") == MAX_ATTEMPTS - 1
        assert kinds.count("postpone") == MAX_ATTEMPTS - 1 and kinds[-1] == "give_up"
        assert fill_events(ports)[-1].reason and cluster.queue.wanted == ()
        # The next reader may want it again.
        cluster.exchange.is_away = False
        await read(ports, asking())
        await asyncio.sleep(TTL_S)
        assert await cluster.missing() == 0 and cluster.queue.wanted == ()

    run_on_virtual_time(main)


def test_a_fill_that_kills_whoever_begins_it_is_not_begun_for_ever() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 1e9
        first = cluster.opened("first")
        await read(first, asking())
        await die(first)
        for number in range(2, MAX_ATTEMPTS + 1):
            await asyncio.sleep(TTL_S + 1)
            victim = cluster.opened(f"victim {number}")
            draining = asyncio.create_task(drain_fills(victim))
            await asyncio.sleep(1.0)
            assert [one.attempts for one in cluster.queue.wanted] == [number]
            silent: Any = victim.fill_queue
            silent._queue = InMemoryFillQueue(cluster.clock)
            draining.cancel()
            await asyncio.wait({draining})
        await asyncio.sleep(TTL_S + 1)
        last = cluster.opened("last")
        (given_up,) = await drain_fills(last)
        assert "none came to its end" in given_up.problems[0] and cluster.queue.wanted == ()
        assert [event.kind for event in fill_events(last)] == ["give_up"]

    run_on_virtual_time(main)


def test_nobody_fills_for_an_exchange_that_is_not_in_its_settings() -> None:
    async def main() -> None:
        cluster = Cluster()
        first = cluster.opened("a")
        cluster.exchange.delay = 5.0
        await read(first, asking())
        await first.fills.close()  # type: ignore[attr-defined]
        assert await drain_fills(cluster.opened("b", exchanges="kraken")) == []
        assert len(cluster.queue.wanted) == 1

    run_on_virtual_time(main)


@pytest.mark.parametrize("strategy", ["PARTIAL_FILL", "AUTO_BACKFILL"])
def test_without_a_queue_fills_go_on_and_it_is_said_once(strategy: str) -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.queue.is_away = True
        ports = cluster.opened()
        for _ in range(3):
            await read(ports, asking(strategy))
            await asyncio.sleep(TTL_S)
        assert await cluster.missing() == 0
        observer: Any = ports.observer
        changes = [event for event in observer.events if isinstance(event, CoordinationEvent)]
        assert [(event.service, event.is_available) for event in changes] == [("fill_queue", False)]

    run_on_virtual_time(main)


def test_a_queue_that_hangs_cuts_the_read_and_not_the_fill() -> None:
    async def main() -> None:
        cluster = Cluster()
        ports = cluster.opened()

        async def hang(*_: object) -> None:
            await asyncio.sleep(600)

        cluster.queue.add = hang  # type: ignore[method-assign]
        began = asyncio.get_running_loop().time()
        result = await read(ports, asking())
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.7)
        assert result.metadata.sla["violations"] == ["backfill_wait"]
        await asyncio.sleep(1_000)
        assert await cluster.missing() == 0

    run_on_virtual_time(main)


def test_a_fill_is_urgent_while_a_reader_waits_for_it_and_not_else() -> None:
    async def main() -> None:
        cluster = Cluster()
        ports = cluster.opened()
        seen: list[bool] = []
        fetch = cluster.exchange.fetch_candles

        async def watched(*asked: Any) -> Any:
            await asyncio.sleep(1.0)
            seen.append(is_urgent())
            return await fetch(*asked)

        cluster.exchange.fetch_candles = watched  # type: ignore[method-assign]
        await read(ports, asking("AUTO_BACKFILL"))
        await asyncio.sleep(10)
        assert seen == [True]
        for later in ("PARTIAL_FILL", "AUTO_BACKFILL"):
            cluster.shared["hot"].__init__()
            seen.clear()
            await read(ports, asking("PARTIAL_FILL"))
            if later == "AUTO_BACKFILL":
                await read(ports, asking(later))
            await asyncio.sleep(10)
            assert seen == [later == "AUTO_BACKFILL"]

    run_on_virtual_time(main)


def test_two_readers_of_one_gap_in_many_processes_cause_one_fetch() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.exchange.delay = 0.2
        everyone = [cluster.opened(f"w{n}") for n in range(10)]
        sla = SLAPolicy(total_deadline_ms=60_000, max_wait_backfill_ms=50_000)
        patient = replace(asking("AUTO_BACKFILL"), sla=sla)
        results = await asyncio.gather(*(read(ports, patient) for ports in everyone for _ in range(2)))
        assert {result.metadata.verdict for result in results} == {"PASS"}
        assert len(cluster.exchange.asked) == 1 and cluster.queue.wanted == ()

    run_on_virtual_time(main)


def test_who_keeps_draining_takes_over_whatever_is_left_whenever_that_is() -> None:
    async def main() -> None:
        cluster = Cluster()
        living = cluster.opened("service")
        draining = asyncio.create_task(keep_draining(living))
        for minute in range(3):
            cluster.queue.is_away = minute == 1
            # Without a record nobody can take it over; what is on record when the queue is back is.
            await asyncio.sleep(10 * LOOK_EVERY_S)
            cluster.queue.is_away = False
            cluster.shared["hot"].bars.clear()
            cluster.exchange.delay = 5.0
            dying = cluster.opened(f"reader {minute}")
            await read(dying, asking())
            await die(dying)
            cluster.exchange.delay = 0.0
            await asyncio.sleep(TTL_S + 2 * LOOK_EVERY_S)
            assert await cluster.missing() == 0 and cluster.queue.wanted == ()
        assert [event.kind for event in fill_events(living)] == ["take_over"] * 3
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining

    run_on_virtual_time(main)


def test_who_stops_draining_gives_back_what_it_took() -> None:
    async def main() -> None:
        cluster = Cluster()
        first, second = cluster.opened("a"), cluster.opened("b")
        cluster.exchange.delay = 5.0
        await read(first, asking())
        await die(first)
        await asyncio.sleep(TTL_S)
        draining = asyncio.create_task(keep_draining(second))
        await asyncio.sleep(1.0)
        draining.cancel()
        await asyncio.wait({draining})
        assert cluster.queue.wanted[0].is_due(cluster.clock.now())

    run_on_virtual_time(main)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_fill_that_is_cancelled_while_it_is_put_on_record_is_anybodys_at_once(is_recorded: bool) -> None:
    async def main() -> None:
        cluster = Cluster()
        first, second = cluster.opened("a"), cluster.opened("b")
        add = cluster.queue.add

        async def slow(*args: Any) -> None:
            if is_recorded:
                await add(*args)
            await asyncio.sleep(5.0)

        cluster.queue.add = slow  # type: ignore[method-assign]
        reading = asyncio.create_task(read(first, asking()))
        await asyncio.sleep(0.1)
        await first.fills.close()  # type: ignore[attr-defined]
        assert (await reading).metadata.verdict == "HOLD"
        assert [one.problems for one in await drain_fills(second)] == [()] * is_recorded

    run_on_virtual_time(main)
