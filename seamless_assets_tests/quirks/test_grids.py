"""Venues whose bars open at other times than ours: nothing of them is stored, nothing is proven by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from quirks.conftest import NOW, YOUNG, Stage

import seamless_assets as sa
from seamless_assets.errors import MisalignedTimeframe
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.generator import Generator
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import Replay
from seamless_assets.testing import DAY, START

HOUR = 3_600
Staged = Callable[..., Stage]
VENUES = {"binance": "BTC/USDT", "bybit": "BTC/USDT", "coinbase": "BTC/USD", "okx": "BTC/USDT"}
SINGAPORE = {"1d": -8 * HOUR, "1w": -8 * HOUR, "1M": -8 * HOUR}


def shifted(offsets: dict[str, int]) -> list[Market]:
    return [replace(market, offsets=offsets) for market in YOUNG]


@pytest.mark.parametrize(
    ("frame", "offset", "message"),
    [
        ("1d", -8 * HOUR, "its 1d bars open at 16:00 UTC, ours at 00:00 UTC"),
        ("1d", 30 * 60, "its 1d bars open at 00:30 UTC"),
        ("1w", -8 * HOUR, "its 1w bars open on Sunday at 16:00 UTC, ours on Monday at 00:00 UTC"),
        ("1w", 3 * DAY, "its 1w bars open on Thursday at 00:00 UTC"),
        ("1w", -DAY, "its 1w bars open on Sunday at 00:00 UTC"),
    ],
)
@pytest.mark.parametrize("venue", ["binance", "bybit", "okx"])
def test_bars_of_another_grid_are_refused_and_leave_nothing_behind(
    staged: Staged, venue: str, frame: str, offset: int, message: str
) -> None:
    symbol = VENUES[venue]
    stage = staged({venue: [symbol]}, timeframes=(frame,), markets=shifted({frame: offset}))
    node = f"ohlcv:{venue}:{symbol}:{frame}"
    start, end = START - 100 * DAY, START - 2 * DAY
    with pytest.raises(MisalignedTimeframe, match=message) as refused:
        stage.backfill(node, start, end)
    assert refused.value.node_id == node and "30m" in refused.value.choices
    with pytest.raises(MisalignedTimeframe, match=message):
        stage.pipeline.materialize(node, start, end)
    assert set(stage.reasons(node, start, end)) == {"missing"}
    assert stage.pipeline.coverage(node, start, end).present == 0
    assert stage.pipeline.ledger(node, start, end) == [] and stage.pipeline.releases(node) == []


@pytest.mark.parametrize("days", [1, 2, 3])
@pytest.mark.parametrize("venue", ["binance", "coinbase"])
def test_the_newest_bars_are_refused_like_the_old_ones(staged: Staged, venue: str, days: int) -> None:
    """The newest of them are still forming, though the day in which they opened is over."""
    symbol = VENUES[venue]
    stage = staged(
        {venue: [symbol]}, timeframes=("1d",), markets=shifted({"1d": -8 * HOUR}), now=NOW + 2 * HOUR
    )
    with pytest.raises(MisalignedTimeframe):
        stage.backfill(f"ohlcv:{venue}:{symbol}:1d", NOW - days * DAY, NOW)


@pytest.mark.parametrize("venue", VENUES)
def test_a_day_that_opens_a_second_late_is_the_same_day(staged: Staged, venue: str) -> None:
    symbol = VENUES[venue]
    stage = staged({venue: [symbol]}, timeframes=("1d",), markets=shifted({"1d": 1}), now=NOW + HOUR)
    node = f"ohlcv:{venue}:{symbol}:1d"
    report = stage.pipeline.materialize(node, START, NOW)
    sealed = report.partitions[0].sealed
    assert report.released and sealed is not None and sealed.flags["misaligned_ts"] == 8
    truth = stage.truth(symbol, "1d", START, NOW - 2 * DAY)
    stored = stage.pipeline.read(node, START, NOW - 2 * DAY).to_arrow().column("ts").to_pylist()
    assert stored == [ts - 1 for ts in truth] and len(stored) == 8


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_days_of_another_grid_prove_nothing_of_our_minutes(staged: Staged, venue: str) -> None:
    """Nobody trades from one 16:00 to another: the exchange's days of then are not there, but ours traded."""
    symbol, quiet = "BTC/USDT", (START + 3 * DAY + 16 * HOUR, START + 5 * DAY + 16 * HOUR)
    minutes = Generator(7).minutes(Market(symbol, 60_000.0), START - 5 * DAY, NOW, NOW)
    traded = (minutes["ts"] < quiet[0]) | (minutes["ts"] >= quiet[1])
    replay = Replay()
    replay.add(symbol, "1m", minutes[traded])
    stage = staged({venue: [symbol]}, markets=[Market(symbol, 60_000.0, offsets=SINGAPORE)], replay=replay)
    node, lost = f"ohlcv:{venue}:{symbol}:1m", (START + 3 * DAY, quiet[0])
    path = {"binance": "interval=1m&", "bybit": "interval=1&"}[venue]
    stage.exchange.faults.add(Fault("hide", path=path, times=None, start=lost[0], end=lost[1]))
    stage.exchange.faults.add(Fault("empty", path="rade", times=None))
    stage.backfill(node, START + 2 * DAY, START + 7 * DAY)
    truth = stage.truth(symbol, "1m", *lost)
    assert stage.reasons(node, *lost)["missing"] >= len(truth) > 900
    assert stage.reasons(node, *quiet) == {"no_trades": 2 * 1440}


@pytest.mark.parametrize("age", [100 * DAY, 9 * DAY])
@pytest.mark.parametrize("frame", ["1m", "1h"])
@pytest.mark.parametrize("venue", ["binance", "bybit", "okx"])
def test_a_listing_is_found_by_finer_bars_where_the_coarse_ones_are_on_another_grid(
    staged: Staged, venue: str, frame: str, age: int
) -> None:
    listed = NOW - age + 9 * HOUR + 17 * 60
    market = Market("NEW/USDT", 2.0, listed=listed, offsets=SINGAPORE)
    stage = staged({venue: ["NEW/USDT"]}, timeframes=(frame,), markets=[market])
    node = f"ohlcv:{venue}:NEW/USDT:{frame}"
    start, end = listed // DAY * DAY - DAY, listed // DAY * DAY + DAY
    stage.backfill(node, start, end)
    first = stage.truth("NEW/USDT", frame, start, end)[0]
    gaps = [gap for gap in stage.pipeline.coverage(node, start, end).gaps if gap.reason != "no_trades"]
    assert [tuple(gap) for gap in gaps] == [(start, first, "pre_listing")]
    assert sa.Timeframe(frame).floor(listed) == first


def test_the_local_exchange_makes_its_bars_of_the_minutes_they_really_hold() -> None:
    market = Market("BTC/USDT", 60_000.0, offsets={"1d": -8 * HOUR})
    book = Book(SandboxClock(NOW), markets=[market])
    bars = book.candles("BTC/USDT", sa.Timeframe("1d"), START, START + 3 * DAY)
    assert bars["ts"].tolist() == [START + n * DAY + 16 * HOUR for n in range(3)]
    for bar in bars:
        minutes = book.candles("BTC/USDT", sa.Timeframe("1m"), int(bar["ts"]), int(bar["ts"]) + DAY)
        assert bar["open"] == minutes["open"][0] and bar["close"] == minutes["close"][-1]
        assert np.isclose(bar["volume"], minutes["volume"].sum())
