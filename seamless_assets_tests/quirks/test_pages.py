"""How pages are asked for and what comes back: quirks 4, 5, 7 to 11, 14, 16 to 18, 20, 22 and 26."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from quirks.conftest import NOW, Stage

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.errors import UnknownSymbol, UnsupportedTimeframe
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.testing import DAY, START

HOUR = 3_600
Staged = Callable[..., Stage]
VENUES = {"binance": "BTC/USDT", "bybit": "BTC/USDT", "coinbase": "BTC/USD", "okx": "BTC/USDT"}
CANDLES = {"binance": "klines", "bybit": "kline", "coinbase": "candles", "okx": "candles", "kraken": "OHLC"}
every_venue = pytest.mark.parametrize(("venue", "symbol"), VENUES.items())


@every_venue
def test_4_a_forming_bar_is_not_stored(staged: Staged, venue: str, symbol: str) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    opened = stage.truth(symbol, "1m", NOW - HOUR, NOW)[-1]
    stage.exchange.clock.set(opened + 59.5)
    stage.backfill(node, NOW - HOUR, NOW)
    assert opened not in stage.stored(node, NOW - HOUR, opened + 60)
    stage.exchange.clock.set(opened + 60)
    stage.backfill(node, NOW - HOUR, NOW)
    assert opened in stage.stored(node, NOW - HOUR, opened + 60)


def test_4_an_answer_that_comes_late_is_judged_by_when_it_was_asked(staged: Staged) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.exchange.clock.set(NOW + 59)
    stage.exchange.faults.add(Fault("delay", path="klines", seconds=0.5, times=1))
    serve = stage.exchange.book.candles

    def a_minute_later(*asked: int) -> object:
        stage.exchange.clock.set(NOW + 61)
        return serve(*asked)  # type: ignore[arg-type]

    stage.exchange.book.candles = a_minute_later  # type: ignore[method-assign,assignment]
    stage.backfill(node, NOW - HOUR, NOW + HOUR)
    assert NOW not in stage.stored(node, NOW - HOUR, NOW + 60)


def test_5_a_closed_bar_that_changes_is_a_revision(staged: Staged) -> None:
    """The local exchange counts late trades for ninety seconds after a bar closes."""
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.exchange.clock.set(NOW + 3_600)
    stage.backfill(node, NOW, NOW + 3_600)
    stage.exchange.clock.set(NOW + DAY)
    report = stage.pipeline.materialize(node, NOW, NOW + DAY)
    assert report.partitions[0].sealed is not None
    assert 1 <= report.partitions[0].sealed.flags["revised"] <= 2
    stored = stage.pipeline.read(node, NOW, NOW + 3_600).to_arrow().column("volume").to_pylist()
    assert (
        stored
        == stage.exchange.book.candles("BTC/USDT", sa.Timeframe("1m"), NOW, NOW + 3_600)["volume"].tolist()
    )


@pytest.mark.parametrize(("venue", "symbol"), [item for item in VENUES.items() if item[0] != "coinbase"])
def test_7_pages_that_ignore_the_window_leave_nothing_wrong(staged: Staged, venue: str, symbol: str) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    stage.exchange.faults.add(Fault("ignore_since", path=CANDLES[venue], times=2))
    report = stage.backfill(node, START, START + DAY)
    assert report.coverage.missing == 0
    assert stage.stored(node, START, START + DAY) == stage.truth(symbol, "1m", START, START + DAY)


@pytest.mark.parametrize(
    ("venue", "cap"), [("binance", 500), ("bybit", 200), ("okx", 100), ("coinbase", 100), ("binance", 25)]
)
def test_8_a_cap_that_lies_is_learned_and_remembered(
    staged: Staged, settings_for: Callable[..., Settings], venue: str, cap: int
) -> None:
    symbol, days = VENUES[venue], 2 if cap > 25 else 0.25
    stage, node, end = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m", START + int(days * DAY)
    stage.exchange.faults.add(Fault("short_page", path=CANDLES[venue], rows=cap, times=None))
    report = stage.backfill(node, START, end)
    assert report.coverage.missing == 0
    assert stage.stored(node, START, end) == stage.truth(symbol, "1m", START, end)
    first = stage.asked(CANDLES[venue])
    stage.pipeline.close()
    with sa.connect(stage.pipeline.settings) as again:
        report = again.backfill(node, START + 4 * DAY, START + 4 * DAY + int(days * DAY))
        assert report.coverage.missing == 0
    needed = days * 1440 / (cap - 1)
    assert stage.asked(CANDLES[venue]) - first <= 1.05 * needed + 4


@every_venue
def test_9_bounds_that_are_exclusive_lose_no_bar(staged: Staged, venue: str, symbol: str) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    stage.exchange.faults.add(Fault("edges", path=CANDLES[venue], times=None))
    report = stage.backfill(node, START, START + DAY)
    assert report.coverage.missing == 0
    assert stage.stored(node, START, START + DAY) == stage.truth(symbol, "1m", START, START + DAY)


BOUNDS = {
    "binance": ("startTime", "endTime", 1000),
    "bybit": ("start", "end", 1000),
    "coinbase": ("start", "end", 1),
    "okx": ("before", "after", 1000),
}


@every_venue
@pytest.mark.parametrize("frame", ["1m", "1d"])
def test_10_11_17_every_page_is_bounded_and_begins_on_the_grid(
    staged: Staged, venue: str, symbol: str, frame: str
) -> None:
    stage, node = staged({venue: [symbol]}, timeframes=(frame,)), f"ohlcv:{venue}:{symbol}:{frame}"
    stage.backfill(node, START + 17, START + 8 * DAY - 13)
    low, high, unit = BOUNDS[venue]
    queries = [parse_qs(r.query) for r in stage.exchange.requests if CANDLES[venue] in r.path]
    assert queries
    for query in queries:
        since = int(query[low][0]) + (venue == "okx")
        assert high in query and since % (sa.Timeframe(frame).seconds * unit) == 0


@pytest.mark.parametrize("kind", ["null_fields", "inverted", "zero_prices"])
@every_venue
def test_14_a_bar_that_cannot_be_is_not_stored_and_is_named(
    staged: Staged, venue: str, symbol: str, kind: str
) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    stage.exchange.faults.add(Fault(kind, path=CANDLES[venue], times=None))  # type: ignore[arg-type]
    stage.backfill(node, START, START + 4 * HOUR)
    truth = stage.truth(symbol, "1m", START, START + 4 * HOUR)
    stored = stage.stored(node, START, START + 4 * HOUR)
    assert 1 <= len(truth) - len(stored) <= 2 and set(stored) < set(truth)
    assert stage.reasons(node, START, START + 4 * HOUR)["missing"] == len(truth) - len(stored)


def test_16_markets_are_asked_for_once_for_all_processes(staged: Staged) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.backfill(node, START, START + HOUR)
    asked = stage.asked("exchangeInfo")
    stage.pipeline.close()
    with sa.connect(stage.pipeline.settings) as again:
        again.backfill(node, START + HOUR, START + 2 * HOUR)
        assert stage.asked("exchangeInfo") == asked
        with pytest.raises(UnknownSymbol, match="nearest: "):
            again.backfill("ohlcv:binance:BTC/USDX:1m", START, START + HOUR)
        with pytest.raises(UnsupportedTimeframe, match="it has 1s, 1m"):
            again.backfill("ohlcv:binance:BTC/USDT:7m", START, START + HOUR)


@pytest.mark.parametrize("venue", ["binance", "bybit", "okx"])
def test_18_swaps_are_not_their_spot(staged: Staged, venue: str) -> None:
    stage, node = staged({venue: ["BTC/USDT:USDT"]}), f"ohlcv:{venue}:BTC/USDT:USDT:1m"
    report = stage.backfill(node, START, START + 12 * HOUR)
    assert report.coverage.missing == 0
    assert stage.stored(node, START, START + 12 * HOUR) == stage.truth(
        "BTC/USDT:USDT", "1m", START, START + 12 * HOUR
    )


def test_18_a_dated_future_is_neither_swap_nor_spot(staged: Staged) -> None:
    symbols = ["BTC/USDT:USDT-251226", "BTC/USDT:USDT", "BTC/USDT"]
    markets = [Market(symbol, 60_000.0 + at, listed=START - DAY) for at, symbol in enumerate(symbols)]
    stage = staged({"bybit": symbols}, markets=markets)
    read = []
    for symbol in symbols:
        report = stage.pipeline.materialize(f"ohlcv:bybit:{symbol}:1m", START, START + DAY)
        assert report.released and report.coverage.missing == 0
        read.append(stage.pipeline.read(f"ohlcv:bybit:{symbol}:1m", START, START + DAY).to_arrow())
        truth = stage.exchange.book.candles(symbol, sa.Timeframe("1m"), START, START + DAY)
        assert read[-1].column("close").to_pylist() == truth["close"].tolist()
    assert len({table.column("close")[0].as_py() for table in read}) == 3


@pytest.mark.parametrize(
    ("venue", "frame"),
    [("okx", "6h"), ("okx", "1w"), ("binance", "1w"), ("binance", "1M"), ("bybit", "1M"), ("coinbase", "6h")],
)
def test_20_long_bars_keep_their_anchors(staged: Staged, venue: str, frame: str) -> None:
    symbol = VENUES[venue]
    stage, node = staged({venue: [symbol]}, timeframes=(frame,)), f"ohlcv:{venue}:{symbol}:{frame}"
    start, end = START - 200 * DAY, START
    report = stage.backfill(node, start, end)
    truth = stage.truth(symbol, frame, start, end)
    whole = [ts for ts in truth if sa.Timeframe(frame).shift(ts, 1) <= end]
    assert report.coverage.missing == 0 and report.coverage.present == len(whole) > 5


@pytest.mark.parametrize("ahead", [-90.0, 90.0])
def test_22_the_earlier_clock_decides(staged: Staged, ahead: float) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.exchange.clock.run_ahead(ahead)
    now = time.time() + min(ahead, 0.0)
    closed = int(now) // 60 * 60
    report = stage.backfill(node, closed - HOUR, closed + 10 * 60)
    assert closed - HOUR <= report.start
    assert 59 <= report.coverage.expected <= 61


@every_venue
def test_26_a_limit_that_counts_time_and_not_rows_loses_no_bar(
    staged: Staged, venue: str, symbol: str
) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    stage.exchange.faults.add(Fault("short_window", path=CANDLES[venue], rows=90, times=None))
    report = stage.backfill(node, START, START + DAY)
    assert report.coverage.missing == 0
    assert stage.stored(node, START, START + DAY) == stage.truth(symbol, "1m", START, START + DAY)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_26_an_upper_bound_that_is_ignored_adds_no_bar(staged: Staged, venue: str) -> None:
    symbol = VENUES[venue]
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    stage.exchange.faults.add(Fault("ignore_until", path=CANDLES[venue], times=None))
    report = stage.backfill(node, START, START + DAY)
    assert stage.stored(node, START, START + 2 * DAY) == stage.truth(symbol, "1m", START, START + DAY)
    assert report.coverage.missing == 0


def test_26_a_venue_that_sends_few_rows_is_asked_more_often(staged: Staged) -> None:
    stage, node = staged({"bybit": ["BTC/USDT"]}), "ohlcv:bybit:BTC/USDT:1h"
    stage.exchange.faults.add(Fault("short_page", path="kline", rows=25, times=None))
    report = stage.backfill(node, START, START + 9 * DAY)
    assert report.coverage.missing == 0 and report.coverage.present == 9 * 24
