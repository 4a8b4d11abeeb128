"""A read returns at its deadline, whatever hangs, and what it began goes on: on virtual time, to the tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.core.worlds.decision import Decision
from seamless_assets.errors import SeamlessSLAExceeded
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryArtifactStore,
    InMemoryExchange,
    InMemoryHotStore,
    InMemoryLeaseStore,
    VirtualClock,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
LIVE = ComputeContext(domain="live", max_lag=3_600.0)
SLA = SLAPolicy(
    max_wait_storage_ms=300,
    max_wait_backfill_ms=700,
    max_wait_live_ms=500,
    total_deadline_ms=1_500,
    max_sync_gap_bars=5,
)
Outcome = ReadResult | SeamlessSLAExceeded
LATE = START + DAY
"""When the virtual clock starts."""


class Slow:
    """Another port, each of whose awaited answers takes `delay` seconds of virtual time."""

    def __init__(self, port: Any, delay: float) -> None:
        self._port, self.delay = port, delay

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def late(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(self.delay)
            return await found(*arguments, **named)

        return late


def opened(slow: str = "", delay: float = 0.0) -> Ports:
    """A node whose exchange holds a day before `LATE`, over ports of which one may be slow."""
    clock = VirtualClock(LATE)
    exchange = InMemoryExchange(random_walk(START, LATE + 3_600), clock)
    parts: dict[str, Any] = {
        "source": exchange,
        "hot": InMemoryHotStore(),
        "artifacts": InMemoryArtifactStore(),
        "leases": InMemoryLeaseStore(clock),
    }
    if slow:
        parts[slow] = Slow(parts[slow], delay)
    ports = in_memory_ports(
        exchange, hot=parts["hot"], artifacts=parts["artifacts"], leases=parts["leases"], clock=clock
    )
    starts = {str(NODE): START}
    return replace(ports, source=parts["source"], reading=ReadSettings(starts=starts))


def asking(strategy: str, bars: int = 5, **sla: Any) -> ReadRequest:
    """A live read of the last `bars` minutes."""
    return ReadRequest.parse(
        NODE,
        LATE - bars * 60,
        LATE,
        context=LIVE,
        strategy=strategy,
        sla=replace(SLA, **sla),
        default_sla=SLA,
    )


def timed(work: Callable[[], Coroutine[Any, Any, ReadResult]]) -> tuple[Outcome, float]:
    """What a read came to, and the virtual milliseconds it took."""

    async def measure() -> tuple[Outcome, float]:
        began = asyncio.get_running_loop().time()
        try:
            result: Outcome = await work()
        except SeamlessSLAExceeded as error:
            result = error
        return result, round((asyncio.get_running_loop().time() - began) * 1000, 6)

    return run_on_virtual_time(measure)


@pytest.mark.parametrize(
    ("slow", "phase", "strategy", "took_ms"),
    [
        ("hot", "storage_wait", "FAIL_FAST", 300),
        ("artifacts", "storage_wait", "FAIL_FAST", 300),
        ("source", "live_wait", "SEAMLESS", 500),
        ("leases", "live_wait", "SEAMLESS", 500),
        ("source", "backfill_wait", "AUTO_BACKFILL", 700),
        ("leases", "backfill_wait", "AUTO_BACKFILL", 700),
    ],
)
@pytest.mark.parametrize("on_violation", ["FAIL_FAST", "PARTIAL_FILL", "HOLD"])
def test_what_hangs_is_cut_at_its_budget_to_the_tick(
    slow: str, phase: str, strategy: str, took_ms: float, on_violation: str
) -> None:
    ports = opened(slow, delay=3_600.0)
    result, took = timed(lambda: read(ports, asking(strategy, on_violation=on_violation)))
    assert took == took_ms
    if on_violation == "FAIL_FAST":
        assert isinstance(result, SeamlessSLAExceeded) and result.phase == phase
        assert (result.budget_ms, result.taken_ms) == (took_ms, pytest.approx(took_ms))
        return
    assert isinstance(result, ReadResult)
    # Every phase is told of, those too that it did not come to.
    phases = result.metadata.sla["phases"]
    assert list(phases) == ["storage_wait", "backfill_wait", "live_wait", "total"]
    assert all(set(told) == {"budget_ms", "taken_ms", "is_cut"} for told in phases.values())
    measured = phases[phase]
    assert (
        measured["is_cut"]
        and measured["budget_ms"] == took_ms
        and measured["taken_ms"] == pytest.approx(took_ms)
    )
    # Nothing is there, so both hold; the breach alone does so only where the policy says it.
    assert result.metadata.verdict == "HOLD"
    assert any(reason.startswith("sla_exceeded") for reason in result.metadata.reasons)


@pytest.mark.parametrize("slow", ["hot", "artifacts", "source", "leases"])
def test_the_total_cuts_what_every_phase_alone_would_allow(slow: str) -> None:
    ports = opened(slow, delay=3_600.0)
    wide = {"max_wait_storage_ms": 9_000, "max_wait_backfill_ms": 9_000, "max_wait_live_ms": 9_000}
    result, took = timed(lambda: read(ports, asking("AUTO_BACKFILL", total_deadline_ms=1_100, **wide)))
    assert took == 1_100 and isinstance(result, ReadResult)
    assert "total" in result.metadata.sla["violations"]


@pytest.mark.parametrize("slow", ["source", "leases"])
@pytest.mark.parametrize("on_violation", ["FAIL_FAST", "PARTIAL_FILL", "HOLD"])
def test_a_store_that_answers_is_not_named_for_the_fill_that_took_all_the_time(
    slow: str, on_violation: str
) -> None:
    # A real store takes a moment, which a second look has not where the fill used the total up.
    ports = opened(slow, delay=3_600.0)
    ports = replace(ports, hot=Slow(ports.hot, 0.05))
    sla = {"max_wait_storage_ms": 9_000, "max_wait_backfill_ms": 9_000, "total_deadline_ms": 1_100}
    result, took = timed(lambda: read(ports, asking("AUTO_BACKFILL", on_violation=on_violation, **sla)))
    assert took == 1_100
    if isinstance(result, SeamlessSLAExceeded):
        assert (result.phase, result.violations) == ("backfill_wait", ("backfill_wait", "total"))
        assert "total_deadline_ms of 1100" in str(result)
    else:
        assert result.metadata.sla["violations"] == ["backfill_wait", "total"]
    assert isinstance(result, SeamlessSLAExceeded) == (on_violation == "FAIL_FAST")


def test_the_world_service_that_took_all_the_time_is_named_and_not_the_store_after_it() -> None:
    class Silent:
        async def in_force(self, world_id: str, as_of: str | None) -> Decision:
            await asyncio.sleep(3_600)
            raise AssertionError("nobody waits so long")

    ports = replace(opened("hot", delay=0.05), decisions=Silent())
    result, took = timed(
        lambda: read(ports, asking("FAIL_FAST", total_deadline_ms=400, on_violation="FAIL_FAST"))
    )
    assert took == 400
    assert isinstance(result, SeamlessSLAExceeded) and result.phase == "live_wait"


def test_a_fill_that_a_read_did_not_wait_for_completes_and_serves_the_next() -> None:
    ports = opened("source", delay=2.0)

    async def work() -> tuple[ReadResult, ReadResult]:
        first = await read(ports, asking("AUTO_BACKFILL"))
        await asyncio.sleep(60)
        return first, await read(ports, asking("FAIL_FAST"))

    first, second = run_on_virtual_time(work)
    assert (first.metadata.rows, first.metadata.verdict) == (0, "HOLD")
    assert (second.metadata.rows, second.metadata.verdict) == (5, "PASS")


def test_a_cancelled_read_leaves_the_fill_to_the_other_and_one_fetch_serves_both() -> None:
    ports = opened("source", delay=0.1)

    async def work() -> tuple[ReadResult, int]:
        leaving = asyncio.ensure_future(read(ports, asking("AUTO_BACKFILL")))
        staying = asyncio.ensure_future(read(ports, asking("AUTO_BACKFILL")))
        await asyncio.sleep(0.15)
        leaving.cancel()
        result = await staying
        with pytest.raises(asyncio.CancelledError):
            await leaving
        exchange: Any = ports.source
        return result, len(exchange.asked)

    result, requests = run_on_virtual_time(work)
    assert result.metadata.rows == 5 and requests == 1


@pytest.mark.parametrize(
    ("strategy", "bars", "rows", "is_filled_later"),
    [
        ("FAIL_FAST", 5, 0, False),
        ("PARTIAL_FILL", 5, 0, True),
        ("AUTO_BACKFILL", 5, 5, True),
        ("AUTO_BACKFILL", 600, 600, True),
        ("SEAMLESS", 5, 5, True),
        # More bars than a read waits for are filled once it has answered.
        ("SEAMLESS", 600, 0, True),
    ],
)
def test_each_strategy_fills_when_it_says(strategy: str, bars: int, rows: int, is_filled_later: bool) -> None:
    ports = opened()

    async def work() -> tuple[int, int]:
        first = await read(ports, asking(strategy, bars))
        await asyncio.sleep(60)
        later = await read(ports, asking("FAIL_FAST", bars))
        return first.metadata.rows, later.metadata.rows

    assert run_on_virtual_time(work) == (rows, bars if is_filled_later else 0)


@pytest.mark.parametrize(("strategy", "rows"), [("FAIL_FAST", 0), ("PARTIAL_FILL", 600), ("SEAMLESS", 600)])
@pytest.mark.parametrize("delay", [0.01, 900.0])
def test_settings_that_wait_for_fills_wait_within_the_budgets(strategy: str, rows: int, delay: float) -> None:
    ports = opened("source", delay)
    ports = replace(ports, reading=replace(ports.reading, waits_for_fills=True))

    async def work() -> ReadResult:
        return await read(ports, asking(strategy, 600, on_violation="PARTIAL_FILL"))

    result = run_on_virtual_time(work)
    is_cut = delay > 1 and rows > 0
    assert result.metadata.rows == (0 if delay > 1 else rows)
    assert result.metadata.sla["phases"]["backfill_wait"]["is_cut"] is is_cut
