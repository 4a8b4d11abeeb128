"""After an incident of any length bars come back within ten minutes; bars that are none are left in peace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import UNANSWERED_S, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeUnavailable, RateLimited
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.testing import START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
WINDOW = Segment(START + 7_200, START + 10_800)
POLICY = Policy(retry_backoff_ms=1, max_attempts=1)
TEN_MINUTES = 600.0


def world(fault: Callable[[float], None]) -> InMemoryExchange:
    exchange = InMemoryExchange(random_walk(START, START + 14_400), ManualClock(WINDOW.end + 3_600))
    exchange.fault = lambda window, asked: fault(exchange.clock.now())
    return exchange


@pytest.mark.parametrize("lasts", [30.0, 600.0, 3_600.0, 3 * 3_600.0])
@pytest.mark.parametrize(
    "error", [ExchangeUnavailable("down", status=503), RateLimited("slower", retry_after=1.0)]
)
async def test_a_reader_has_its_bars_within_ten_minutes_of_the_end_of_an_incident(
    lasts: float, error: ExchangeUnavailable
) -> None:
    over = WINDOW.end + 3_600 + lasts

    def fault(now: float) -> None:
        if now < over:
            raise error

    exchange = world(fault)
    ports = in_memory_ports(exchange, policy=POLICY)
    clock = exchange.clock
    while (await backfill(ports, NODE, WINDOW)).coverage.missing:
        assert clock.now() < over + TEN_MINUTES
        await clock.sleep(5.0)
    # Meanwhile nobody hammers it: a look now and then, of a request or two.
    assert len(exchange.asked) <= 4 * (lasts / UNANSWERED_S + 2)


async def test_what_the_exchange_answered_in_vain_is_looked_at_ever_more_rarely() -> None:
    exchange = world(lambda now: None)
    # Trades in bars that are not sent: they are neither there nor proven absent.
    for ts in range(WINDOW.start + 600, WINDOW.start + 900, 60):
        exchange.trades = [*(exchange.trades or []), float(ts + 30)]
        del exchange.bars[ts]
    ports = in_memory_ports(exchange, policy=POLICY)
    for _ in range(400):
        await backfill(ports, NODE, WINDOW)
        await exchange.clock.sleep(60.0)
    looks = [fact for fact in facts_of(await ports.hot.load_facts(NODE, WINDOW)) if fact.is_look]
    assert 3 <= max(fact.attempts for fact in looks) <= 6
