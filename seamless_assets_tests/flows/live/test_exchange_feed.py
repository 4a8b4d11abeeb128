"""What feeds of one exchange share: its clock is reckoned on while nobody can ask for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support.live import LiveMarket

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import BudgetUnavailable, ExchangeRefused, ExchangeUnavailable, SeamlessError
from seamless_assets.flows.live.exchange_feed import CLOCK_AGE_S, ExchangeFeed
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import run_on_virtual_time


@dataclass
class AwaySource:
    """A source that gives no clock but the error, once there is one."""

    source: Any
    error: SeamlessError | None = None

    async def exchange_now(self, exchange: str) -> float:
        if self.error is not None:
            raise self.error
        now: float = await self.source.exchange_now(exchange)
        return now


@dataclass
class CountedSource:
    """A source that takes so long to give the clock, and notes when it was asked."""

    source: Any
    takes_s: float = 0.0
    ahead: float = 0.0
    asked_at: list[float] = field(default_factory=list)

    async def exchange_now(self, exchange: str) -> float:
        now: float = await self.source.exchange_now(exchange) + self.ahead
        self.asked_at.append(now)
        await asyncio.sleep(self.takes_s)
        return now


def counted(market: LiveMarket, takes_s: float = 0.0) -> tuple[CountedSource, Ports]:
    """The ports of a process of that market, whose source is counted."""
    process = market.process("one")
    source = CountedSource(process.source, takes_s)
    return source, replace(process, source=source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [ExchangeUnavailable("away", status=503), BudgetUnavailable("no redis")],
    ids=lambda error: type(error).__name__,
)
def test_a_clock_that_was_told_once_is_reckoned_on_while_it_is_away(error: SeamlessError) -> None:
    market = LiveMarket()
    process = market.process("one")
    source = AwaySource(process.source)
    ports = replace(process, source=source)  # type: ignore[arg-type]

    async def work() -> None:
        feed = ExchangeFeed("binance")
        await feed.now(ports)
        source.error = error
        await asyncio.sleep(3 * CLOCK_AGE_S)
        assert await feed.now(ports) == pytest.approx(market.clock.now())
        with pytest.raises(type(error)):
            await ExchangeFeed("binance").now(ports)

    run_on_virtual_time(work)


@pytest.mark.parametrize("begun_before", [1.2, 1.9, 2.9, 40.0])
def test_the_clock_is_asked_once_for_all_feeds_shortly_before_a_close(begun_before: float) -> None:
    market, frame = LiveMarket(), Timeframe("1m")
    source, ports = counted(market)

    async def work() -> None:
        feed, close = ExchangeFeed("binance"), frame.ceil(int(market.clock.now()) + 120)
        await market.clock.sleep(close - begun_before - market.clock.now())
        async with feed.heeding_closes(ports, frame), feed.heeding_closes(ports, frame):
            for closed in (close, close + 60):
                await market.clock.sleep(closed + 0.4 - market.clock.now())
                assert feed.reckoned_now() == pytest.approx(market.clock.now())
                assert len([at for at in source.asked_at if at > closed - 1.5]) == 1
        asked = len(source.asked_at)
        await market.clock.sleep(120)
        assert len(source.asked_at) == asked

    run_on_virtual_time(work)


def test_a_close_that_a_clock_was_set_nearer_to_is_heeded_once_anybody_has_asked() -> None:
    market, frame = LiveMarket(), Timeframe("1m")
    source, ports = counted(market)

    async def work() -> None:
        feed, close = ExchangeFeed("binance"), frame.ceil(int(market.clock.now()) + 120)
        await market.clock.sleep(close - 35 - market.clock.now())
        async with feed.heeding_closes(ports, frame):
            await market.clock.sleep(5)
            source.ahead = 26.0
            await feed.now(ports)
            await market.clock.sleep(4.4)
            assert feed.reckoned_now() == pytest.approx(close + 0.4)
            assert len([at for at in source.asked_at if at > close - 1.5]) == 1

    run_on_virtual_time(work)


def test_an_exchange_that_refuses_to_tell_its_time_for_a_while_is_asked_again_before_a_close() -> None:
    market = LiveMarket()
    process, frame = market.process("one"), Timeframe("1m")
    source = AwaySource(process.source)
    ports = replace(process, source=source)  # type: ignore[arg-type]

    async def work() -> None:
        feed = ExchangeFeed("binance")
        await feed.now(ports)
        async with feed.heeding_closes(ports, frame):
            source.error = ExchangeRefused("not from here", status=403)
            await market.clock.sleep(130)
            source.error = None
            close = frame.ceil(int(market.clock.now()) + 120)
            await market.clock.sleep(close + 0.4 - market.clock.now())
            assert feed.reckoned_now() == pytest.approx(market.clock.now())

    run_on_virtual_time(work)


def test_feeds_that_want_to_know_the_time_at_once_ask_once() -> None:
    source, ports = counted(LiveMarket(), takes_s=0.1)

    async def work() -> None:
        feed = ExchangeFeed("binance")
        told = await asyncio.gather(*(feed.now(ports) for _ in range(50)))
        assert len(source.asked_at) == len(set(told)) == 1

    run_on_virtual_time(work)


@pytest.mark.parametrize(("takes_s", "slack"), [(0.0, 0.02), (0.1, 0.1), (3.0, 0.2)])
def test_a_clock_is_known_as_well_as_its_answer_was_quick(takes_s: float, slack: float) -> None:
    _, ports = counted(LiveMarket(), takes_s)

    async def work() -> None:
        feed = ExchangeFeed("binance")
        await feed.now(ports)
        assert feed.slack == pytest.approx(slack)

    run_on_virtual_time(work)
