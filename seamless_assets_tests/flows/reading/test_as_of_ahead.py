"""An `as_of` of a machine whose clock is a little ahead: waited for, so that it reads the same for ever."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.errors import AsOfInFuture, SeamlessSLAExceeded
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    VirtualClock,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
NOW = START + 3 * DAY
SLA = SLAPolicy(total_deadline_ms=120_000, max_wait_storage_ms=120_000)
FIRST, SECOND = Segment(START, START + DAY), Segment(START + DAY, START + 2 * DAY)


def ports_at_noon() -> Ports:
    series = {NODE: random_walk(START, START + 2 * DAY)}
    return in_memory_ports(InMemoryExchange(series=series, clock=VirtualClock(NOW), listed=START))


def as_of_in(ports: Ports, seconds: float) -> str:
    return instant_text(int((ports.clock.now() + seconds) * 1_000_000))


async def read_at(ports: Ports, domain: str, as_of: str) -> ReadResult:
    """All that is released at or before `as_of`, as a read of the domain."""
    context = ComputeContext(
        domain=domain, as_of=as_of, **({"max_lag": 10 * DAY} if domain == "live" else {})
    )
    return await read(ports, ReadRequest.parse(NODE, START, None, context=context, default_sla=SLA))


@pytest.mark.parametrize("domain", ["backtest", "live"])
@pytest.mark.parametrize("ahead", [0.5, 30.0, 60.0])
def test_what_is_released_until_then_is_read_and_never_changes(domain: str, ahead: float) -> None:
    async def work() -> None:
        ports = ports_at_noon()
        await materialize(ports, NODE, FIRST)
        as_of, began = as_of_in(ports, ahead), ports.clock.now()
        reading = asyncio.ensure_future(read_at(ports, domain, as_of))
        await ports.clock.sleep(ahead / 2)
        await materialize(ports, NODE, SECOND)
        first = await reading
        assert ports.clock.now() == pytest.approx(began + ahead)
        assert first.bars.num_rows == 2 * 1_440
        await ports.clock.sleep(DAY)
        again = await read_at(ports, domain, as_of)
        assert again.bars.equals(first.bars)

    run_on_virtual_time(work)


def test_an_as_of_before_the_newest_release_is_read_at_once() -> None:
    async def work() -> None:
        ports = ports_at_noon()
        await materialize(ports, NODE, FIRST)
        newest = (await ports.artifacts.list_releases(NODE))[-1].as_of
        began = ports.clock.now()
        await read_at(ports, "backtest", newest)
        assert ports.clock.now() == began

    run_on_virtual_time(work)


def test_no_deadline_is_missed_for_it() -> None:
    async def work() -> None:
        ports = ports_at_noon()
        await materialize(ports, NODE, FIRST)
        context = ComputeContext(domain="backtest", as_of=as_of_in(ports, 30.0))
        sla = SLAPolicy(total_deadline_ms=2_000, on_violation="FAIL_FAST")
        began = ports.clock.now()
        with pytest.raises(SeamlessSLAExceeded):
            await read(ports, ReadRequest.parse(NODE, START, None, context=context, sla=sla, default_sla=SLA))
        assert ports.clock.now() == pytest.approx(began + 2.0)

    run_on_virtual_time(work)


@pytest.mark.parametrize("ahead", [60.001, 3_600.0, 365.0 * DAY])
def test_one_further_ahead_is_refused_at_once(ahead: float) -> None:
    async def work() -> None:
        ports = ports_at_noon()
        await materialize(ports, NODE, FIRST)
        began = ports.clock.now()
        with pytest.raises(AsOfInFuture, match="after now"):
            await read_at(ports, "backtest", as_of_in(ports, ahead))
        assert ports.clock.now() == began

    run_on_virtual_time(work)
