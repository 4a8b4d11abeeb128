"""What feeds of one exchange share: its clock is reckoned on while nobody can ask for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.live import LiveMarket

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import BudgetUnavailable, ExchangeUnavailable, SeamlessError
from seamless_assets.flows.live.exchange_feed import (
    CLOCK_AGE_S,
    CLOCK_BEFORE_CLOSE_S,
    ExchangeFeed,
    next_before_close,
)
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


@pytest.mark.parametrize("asked_before", [1.2, 1.9, 2.9, 40.0])
def test_what_a_mark_is_held_against_was_asked_for_before_it_comes(asked_before: float) -> None:
    market, frame = LiveMarket(), Timeframe.parse("1m")
    ports = market.process("one")

    async def work() -> None:
        feed, close = ExchangeFeed("binance"), frame.ceil(int(market.clock.now()) + 120)
        await market.clock.sleep(close - asked_before - market.clock.now())
        now = await feed.now_before_close(ports, frame)
        assert next_before_close(frame, now) == close - CLOCK_BEFORE_CLOSE_S
        await market.clock.sleep(next_before_close(frame, now) - now)
        now = await feed.now_before_close(ports, frame)
        assert next_before_close(frame, now) == close + 60 - CLOCK_BEFORE_CLOSE_S
        await market.clock.sleep(close + 0.4 - now)
        assert feed.reckoned_now() == pytest.approx(market.clock.now())

    run_on_virtual_time(work)
