"""The newest bar of a live read: asked for within `live_wait`, and again soon where it came late."""

from __future__ import annotations

from typing import Any

import pytest

from seamless_assets.core.live.events import Bar
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read
from seamless_assets.testing import (
    START,
    InMemoryExchange,
    ManualClock,
    VirtualClock,
    bars_table,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
NOW = START + 3_600
LIVE = ComputeContext(domain="live", max_lag=90)
SLA = SLAPolicy(
    total_deadline_ms=20_000, max_wait_live_ms=10_000, max_sync_gap_bars=50, on_violation="PARTIAL_FILL"
)


async def read_live(ports: Ports) -> ReadResult:
    request = ReadRequest.parse(
        NODE, NOW - 1_200, None, context=LIVE, strategy="SEAMLESS", sla=None, default_sla=SLA
    )
    return await read(ports, request)


def market(after: float) -> tuple[InMemoryExchange, Ports]:
    exchange = InMemoryExchange(
        series={NODE: random_walk(START, START + 7_200)}, clock=VirtualClock(NOW + after), listed=START
    )
    return exchange, in_memory_ports(exchange, policy=Policy())


@pytest.mark.parametrize("lateness", [2.0, 5.0, 20.0])
def test_a_bar_that_is_served_late_is_there_at_the_next_look_after_it(lateness: float) -> None:
    exchange, ports = market(0.1)
    newest = exchange.series[NODE].pop(NOW - 60)

    async def work() -> None:
        first = await read_live(ports)
        assert first.metadata.coverage_bounds == (NOW - 1_200, NOW - 60)
        asked = len(exchange.asked)
        await read_live(ports)
        assert len(exchange.asked) == asked, "a look in vain is not repeated at once"
        await exchange.clock.sleep(lateness)
        exchange.series[NODE][NOW - 60] = newest
        # Whatever was looked for in vain until now, half a minute later it is asked for again.
        bounds: Any = None
        while bounds != (NOW - 1_200, NOW) and exchange.clock.now() < NOW + 60:
            await exchange.clock.sleep(1.0)
            bounds = (await read_live(ports)).metadata.coverage_bounds
        assert exchange.clock.now() <= NOW + lateness + 15 and bounds == (NOW - 1_200, NOW)

    run_on_virtual_time(work)


def test_a_read_and_a_subscription_share_what_closes_without_a_seam() -> None:
    exchange, ports = market(10.0)

    async def work() -> None:
        request = StreamRequest.parse([NODE], NOW - 1_200, NOW + 600, None, 120.0)
        emitted = {}
        async for event in subscribe(ports, request):
            if isinstance(event, Bar):
                emitted[event.ts] = event.values
                if event.ts < NOW:
                    continue
                asked = len(exchange.asked)
                result = await read_live(ports)
                table = result.to_arrow().to_pydict()
                rows = {row[0]: row[1:] for row in zip(*table.values(), strict=True)}
                assert rows == emitted and result.metadata.verdict == "PASS"
                assert len(exchange.asked) == asked, "what the stream stored is not asked for again"

    run_on_virtual_time(work)


@pytest.mark.parametrize("strategy", ["SEAMLESS", "AUTO_BACKFILL"])
async def test_a_live_read_of_a_derived_node_begins_no_fill(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = InMemoryExchange(series={NODE: random_walk(START, NOW)}, clock=ManualClock(NOW), listed=START)
    ports = in_memory_ports(exchange, policy=Policy(derived=frozenset({NODE})))
    begun: list[Any] = []
    start = type(ports.fills).start
    monkeypatch.setattr(
        type(ports.fills), "start", lambda *args, **more: begun.append(args) or start(*args, **more)
    )
    for context in (LIVE, None):
        request = ReadRequest.parse(
            NODE, NOW - 1_200, NOW, context=context, strategy=strategy, sla=None, default_sla=SLA
        )
        if context is None:
            with pytest.raises(ExchangeRefused, match="is derived of other nodes"):
                await read(ports, request)
        else:
            assert (await read(ports, request)).metadata.rows == 0
    assert begun == [] and exchange.asked == []


@pytest.mark.parametrize(
    ("ahead", "is_asked", "staleness"),
    [
        *((ahead, True, 10.0) for ahead in (-86_400.0, -600.0, 600.0, 86_400.0)),
        # Clocks that differ by less than seconds are taken for the same.
        *((ahead, True, 10.0 - ahead) for ahead in (-4.0, 0.0, 4.0)),
        *((ahead, False, 10.0 - ahead) for ahead in (-86_400.0, -600.0, 0.0)),
    ],
)
def test_staleness_goes_by_the_exchanges_clock_once_that_was_asked(
    ahead: float, is_asked: bool, staleness: float
) -> None:
    """Its clock is so far ahead of ours, and shows ten seconds after the last bar closed."""
    exchange, _ = market(10.0)
    exchange.clock = VirtualClock(NOW + 10 - ahead)
    exchange.clock_skew = lambda _: ahead if is_asked else 0.0  # type: ignore[method-assign]
    ports = in_memory_ports(exchange, policy=Policy())
    request = ReadRequest.parse(
        NODE, NOW - 1_200, None, context=LIVE, strategy="FAIL_FAST", sla=None, default_sla=SLA
    )

    async def work() -> ReadResult:
        bars = {ts: row for ts, row in exchange.series[NODE].items() if ts < NOW}
        await ports.hot.write_bars(NODE, bars_table(bars), (), recorded_at=0.0)
        return await read(ports, request)

    metadata = run_on_virtual_time(work).metadata
    assert metadata.staleness_seconds == pytest.approx(staleness, abs=0.1)
    assert metadata.verdict == ("PASS" if staleness < 90 else "HOLD")
