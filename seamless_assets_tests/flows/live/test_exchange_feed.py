"""What feeds of one exchange share: its clock is reckoned on while nobody can ask for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.live import LiveMarket

from seamless_assets.errors import BudgetUnavailable, ExchangeUnavailable, SeamlessError
from seamless_assets.flows.live.exchange_feed import CLOCK_AGE_S, ExchangeFeed
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
