"""Calls end, and say why, where the exchange stays away or the window was before any market."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ports import embedded_ports

from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import ExchangeWait
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeUnavailable, UnknownSymbol
from seamless_assets.flows.filling.backfill import CHUNKS_AT_ONCE, backfill, pieces
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.materialize import NO_MARKET, materialize
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
POLICY = Policy(retry_backoff_ms=10, max_attempts=3, lease_ttl_ms=float("inf"))
YEARS = Segment(START, START + 300 * DAY)
FLOWS = pytest.mark.parametrize("flow", [backfill, materialize])
Flow = type(backfill)


def away() -> ExchangeUnavailable:
    return ExchangeUnavailable("nobody is there")


def shut(exchange: InMemoryExchange, since: int, until: int = 10**9) -> None:
    """Let the exchange answer no request for candles from number `since` on, until `until`."""

    def fault(_: Segment, number: int) -> None:
        if since <= number < until:
            raise away()

    exchange.fault = fault


def waits(ports: Ports) -> list[ExchangeWait]:
    return [event for event in ports.observer.events if isinstance(event, ExchangeWait)]  # type: ignore[attr-defined]


@FLOWS
@pytest.mark.parametrize("answered", [0, 40])
async def test_an_exchange_that_went_away_is_not_asked_for_all_of_a_long_window(
    flow: Flow, answered: int
) -> None:
    exchange = InMemoryExchange(random_walk(START, START + 30 * DAY), ManualClock(time=YEARS.end + DAY))
    ports = in_memory_ports(exchange, policy=POLICY)
    assert len(pieces(ports, NODE, YEARS)) >= 6 * CHUNKS_AT_ONCE
    shut(exchange, answered + 1)
    report = await flow(ports, NODE, YEARS)
    # Those under way when it went, and as many until that is believed, each with its retries.
    assert len(exchange.asked) <= answered + 3 * 2 * CHUNKS_AT_ONCE * POLICY.max_attempts
    assert report.coverage.expected == 300 * 1440 and report.coverage.missing > 200 * 1440
    assert any("nobody is there" in problem for problem in report.problems)


@FLOWS
async def test_a_page_that_does_not_come_keeps_no_other_from_coming(flow: Flow) -> None:
    bars = random_walk(START, START + 24 * DAY)
    exchange = InMemoryExchange(bars, ManualClock(time=START + 25 * DAY))
    ports = in_memory_ports(exchange, policy=POLICY)
    chunks = pieces(ports, NODE, Segment(START, START + 24 * DAY))
    # Pages overlap at their edges, so it is the middle of a chunk that is not served.
    gone = [(chunk.bounds.start + chunk.bounds.end) // 2 for at, chunk in enumerate(chunks) if at % 3]

    def fault(window: Segment, _: int) -> None:
        if any(window.start <= ts < window.end for ts in gone):
            raise away()

    exchange.fault = fault
    report = await flow(ports, NODE, Segment(START, START + 24 * DAY))
    assert report.coverage.present >= len(bars) // 4
    assert report.coverage.missing


async def test_away_from_the_start_only_what_is_known_is_sealed(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY), ManualClock(time=YEARS.end + DAY))
    ports = embedded_ports(tmp_path, exchange, POLICY)
    known = Segment(START + DAY, START + 2 * DAY)
    await backfill(ports, NODE, known)
    exchange.is_away = True
    report = await materialize(ports, NODE, YEARS)
    sealed = [part for part in report.partitions if part.sealed]
    assert [part.partition.window for part in sealed if part.released] == [known]
    assert len(sealed) <= 3 and len(list((tmp_path / "artifacts").rglob("*.parquet"))) == len(sealed)
    assert not report.released and len(report.partitions) == 300
    assert all("ExchangeUnavailable" in type(part.away).__name__ for part in report.partitions)
    assert (report.coverage.expected, report.coverage.present) == (
        300 * 1440,
        sum(p.coverage.present for p in sealed),
    )
    first = report.partitions[-1]
    assert first.coverage.gaps == (Gap(*first.partition.window, MISSING),) and first.problems
    await ports.hot.close()


@FLOWS
async def test_who_waits_learns_for_what_before_each_wait(flow: Flow) -> None:
    exchange = InMemoryExchange({}, ManualClock(time=START + DAY), is_away=True)
    ports = in_memory_ports(exchange, policy=POLICY)
    asked_at = exchange.clock.now()
    await flow(ports, NODE, Segment(START, START + DAY))
    noted = waits(ports)
    assert [(wait.exchange, wait.attempt, wait.attempts) for wait in noted] == [
        ("binance", 1, 3),
        ("binance", 2, 3),
    ]
    assert all(wait.reason and wait.delay_s > 0 for wait in noted)
    assert sum(wait.delay_s for wait in noted) == pytest.approx(exchange.clock.now() - asked_at, rel=1e-3)


@FLOWS
@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("frame", ["1m", "1h", "1d", "1w", "1M"])
async def test_a_window_before_any_market_is_answered_without_a_question(
    flow: Flow, is_away: bool, frame: str
) -> None:
    node = NodeId.parse(f"ohlcv:binance:BTC/USDT:{frame}")
    exchange = InMemoryExchange(
        random_walk(START, START + DAY), ManualClock(time=START + DAY), is_away=is_away
    )
    ports = in_memory_ports(exchange, policy=POLICY)
    ancient = Segment(-2_000_000_000, OLDEST_MARKET - 40 * DAY)
    report = await flow(ports, node, ancient)
    assert exchange.asked == [] and waits(ports) == [] and ports.hot.facts == {}  # type: ignore[attr-defined]
    assert report.coverage.missing == report.coverage.present == 0
    if flow is backfill:
        assert {gap.reason for gap in report.coverage.gaps} == {"pre_listing"}
        assert report.coverage.absent == report.coverage.expected > 0
    else:
        assert report.partitions == () and report.problems == (NO_MARKET,) and not report.released


@FLOWS
async def test_what_was_before_any_market_is_no_part_of_what_is_asked_for(flow: Flow) -> None:
    node = NodeId.parse("ohlcv:binance:BTC/USDT:1w")
    week = node.timeframe.floor(OLDEST_MARKET)
    bars = random_walk(week, week + 300 * 7 * DAY, step=7 * DAY)
    exchange = InMemoryExchange(bars, ManualClock(time=week + 300 * 7 * DAY), listed=week)
    ports = in_memory_ports(exchange, policy=POLICY)
    report = await flow(ports, node, Segment(week - 3_000 * 7 * DAY, week + 300 * 7 * DAY))
    # Materializing leaves what may still change.
    assert 290 < report.coverage.present <= 300 and report.coverage.missing == 0
    assert all(asked.end > week - 400 * DAY for asked in exchange.asked)


@FLOWS
async def test_a_symbol_that_is_unknown_is_so_at_any_time(flow: Flow) -> None:
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + DAY)})
    ports = in_memory_ports(exchange, policy=POLICY)
    with pytest.raises(UnknownSymbol):
        await flow(ports, NodeId.parse("ohlcv:binance:NO/SUCH:1m"), Segment(0, 60))
