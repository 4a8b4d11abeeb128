"""What happens on the market: closes and trades on any grid, of made-up and of recorded series."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.streams.base import Topic, Update
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import BAR, trades_of
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import TRADE, Replay
from seamless_assets.sandbox.streams.market_events import MarketEvents

NOW = 1_736_553_600
DAY, HOUR, MINUTE = 86_400, 3_600, 60
MARKETS = [
    Market("A/B", 100.0),
    Market("QUIET/B", 100.0, quiet=0.5),
    Market("EAST/B", 100.0, offsets={"1d": -28_800, "1w": -28_800}),
    Market("GONE/B", 100.0, delisted=NOW + 600),
]
FRAMES = ("1m", "3m", "1h", "4h", "1d", "3d", "1w", "1M")


def book(replay: Replay | None = None) -> Book:
    return Book(SandboxClock(NOW), markets=MARKETS, replay=replay)


def happened(events: MarketEvents, topic: Topic, start: int, end: int) -> tuple[list[Update], list[Update]]:
    """Closes and the rest of `[start, end]`, by minutes."""
    minutes = range(start, end + 1, MINUTE)
    closes = [close for minute in minutes if (close := events.close(topic, minute))]
    return closes, [update for minute in minutes[:-1] for update in events.trading(topic, minute)]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("symbol", ["A/B", "QUIET/B", "EAST/B"])
def test_a_bar_closes_once_where_its_successor_opens(symbol: str, frame: str) -> None:
    timeframe, known = Timeframe(frame), book()
    topic, events = Topic(frame, symbol, timeframe), MarketEvents(known)
    offset = known.markets[symbol].offsets.get(frame, 0)
    # The first minute from here that is traded in.
    traded = int(known.as_of(NOW + HOUR).candles(symbol, Timeframe("1m"), NOW, NOW + HOUR)["ts"][0])
    opened = timeframe.floor(traded - offset) + offset
    end = timeframe.shift(opened - offset, 1) + offset
    near = range(end - 2 * MINUTE, end + 3 * MINUTE, MINUTE)
    if frame != "1m":
        assert [at for at in near if events.close(topic, at)] == [end]
    close = events.close(topic, end)
    assert close is not None
    (candle,) = close.candles
    (truth,) = known.as_of(end).candles(symbol, timeframe, opened, opened + 1)
    assert (candle.ts, candle.open, candle.high, candle.low, candle.close, candle.volume) == tuple(
        truth.tolist()
    )
    assert candle.end == end and candle.is_closed


@pytest.mark.parametrize("frame", ["1m", "5m", "1h"])
def test_what_forms_a_bar_ends_as_the_bar(frame: str) -> None:
    events, topic = MarketEvents(book()), Topic(frame, "A/B", Timeframe(frame))
    closes, forming = happened(events, topic, NOW, NOW + 2 * HOUR)
    last = {update.candles[0].ts: update.candles[0] for update in forming}
    assert len(closes) == 2 * HOUR // (Timeframe(frame).seconds or 1) + 1
    for close in closes[1:]:
        (closed,) = close.candles
        formed = last[closed.ts]
        assert (formed.open, formed.high, formed.low, formed.close) == (
            closed.open,
            closed.high,
            closed.low,
            closed.close,
        )
        assert formed.volume == closed.volume and not formed.is_closed and formed.trades == closed.trades
    for earlier, later in itertools.pairwise(forming):
        one, other = earlier.candles[0], later.candles[0]
        if one.ts == other.ts:
            assert one.high <= other.high and one.low >= other.low and one.volume < other.volume


def test_nothing_happens_in_minutes_without_trades_nor_after_the_end() -> None:
    events, known = MarketEvents(book()), book()
    for symbol, end in (("QUIET/B", NOW + HOUR), ("GONE/B", NOW + HOUR)):
        topic = Topic("trades", symbol)
        closes, trades = happened(events, topic, NOW, end)
        bars = known.as_of(end).candles(symbol, Timeframe("1m"), NOW, end)
        assert {int(update.at) // MINUTE * MINUTE for update in trades} == set(bars["ts"].tolist())
        assert {int(close.at) - MINUTE for close in closes if close.at > NOW} == set(bars["ts"].tolist())
    assert max(bars["ts"]) < NOW + 600


def test_before_a_listing_and_in_bars_without_volume_nobody_trades() -> None:
    young = Market("YOUNG/B", 100.0, listed=NOW + HOUR, has_zero_row=True)
    replay, flat = Replay(), recorded(MINUTE, 60)
    flat["volume"][10:20] = 0.0
    replay.add("REC/B", "1m", flat)
    events = MarketEvents(Book(SandboxClock(NOW), markets=[young], replay=replay))
    closes, trades = happened(events, Topic("t", "YOUNG/B"), NOW, NOW + 2 * HOUR)
    assert min(update.at for update in [*closes, *trades]) >= NOW + HOUR
    closes, trades = happened(events, Topic("t", "REC/B"), NOW, NOW + HOUR)
    assert not any(NOW + 600 <= update.at < NOW + 1_200 for update in trades) and len(trades) == 200
    assert len(closes) == 60


def recorded(step: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    bars = np.empty(count, dtype=BAR)
    bars["ts"] = NOW + step * np.arange(count)
    bars["open"], bars["close"] = 100 + rng.random(count), 100 + rng.random(count)
    bars["high"] = np.maximum(bars["open"], bars["close"]) + 1
    bars["low"] = np.minimum(bars["open"], bars["close"]) - 1
    bars["volume"] = np.round(1 + rng.random(count), 4)
    return bars


@pytest.mark.parametrize(
    ("series", "frame"), [("1m", "1m"), ("1m", "15m"), ("1h", "1h"), ("15m", "1h"), ("1h", "1d")]
)
def test_recorded_bars_form_and_close(series: str, frame: str) -> None:
    replay, step = Replay(), Timeframe(series).seconds or 0
    replay.add("REC/B", series, recorded(step, 2 * DAY // step))
    events, topic = MarketEvents(book(replay)), Topic(frame, "REC/B", Timeframe(frame))
    length = Timeframe(frame).seconds or 0
    end = NOW + max(length, 2 * HOUR) // length * length
    closes, forming = happened(events, topic, NOW, end)
    truth = book(replay).as_of(end).candles("REC/B", Timeframe(frame), NOW, end)
    told = [close.candles[0] for close in closes if close.at > NOW]
    assert [(c.ts, c.open, c.high, c.low, c.close, c.volume) for c in told] == truth.tolist()
    last = {update.candles[0].ts: update.candles[0] for update in forming}
    for ts, _, high, low, close, volume in truth.tolist():
        assert (last[ts].high, last[ts].low, last[ts].close) == (high, low, close)
        assert last[ts].volume == pytest.approx(volume)


def test_recorded_trades_come_each_once_however_many() -> None:
    replay = Replay()
    replay.add("REC/B", "1m", recorded(MINUTE, 10))
    trades = np.zeros(3_000, dtype=TRADE)
    trades["at"] = np.sort(NOW + np.round(np.random.default_rng(5).random(3_000) * 120))
    trades["price"], trades["amount"], trades["side"] = 100.0, 1.0, "buy"
    replay._trades["REC/B"] = trades
    events = MarketEvents(book(replay))
    _, told = happened(events, Topic("t", "REC/B"), NOW, NOW + 180)
    assert [update.trades[0].at for update in told] == trades["at"].tolist()
    latest = events.latest(Topic("t", "REC/B"), NOW + 60.0, 50)
    assert (
        latest is not None
        and [t.at for t in latest.trades] == trades["at"][trades["at"] <= NOW + 60][-50:].tolist()
    )


@pytest.mark.parametrize("frame", ["1m", "1h", "1d"])
def test_the_latest_candles_are_closed_but_for_the_last(frame: str) -> None:
    known, timeframe = book(), Timeframe(frame)
    events, topic, length = (
        MarketEvents(known),
        Topic(frame, "A/B", Timeframe(frame)),
        Timeframe(frame).seconds or 0,
    )
    at = NOW + 0.5 * length
    latest = events.latest(topic, at, 5)
    assert latest is not None and latest.is_snapshot
    assert [candle.ts for candle in latest.candles] == [NOW + step * length for step in range(-4, 1)]
    assert [candle.is_closed for candle in latest.candles] == [True] * 4 + [False]
    whole = known.as_of(NOW + length).candles("A/B", timeframe, NOW, NOW + 1)[0]
    assert 0.2 < latest.candles[-1].volume / whole["volume"] < 0.8
    stale = events.stale(topic, at, 7)
    assert stale is not None and stale.candles[-1].ts == NOW - 7 * length and not stale.candles[-1].is_closed


def test_a_correction_is_what_became_known_after_the_close() -> None:
    known = book()
    events, opened = MarketEvents(known), NOW + MINUTE
    (first,) = known.as_of(opened + 60).candles("A/B", Timeframe("1m"), opened, opened + 1)
    (later,) = known.as_of(opened + 200).candles("A/B", Timeframe("1m"), opened, opened + 1)
    again = events.corrected(Topic("1m", "A/B", Timeframe("1m")), opened, opened + 200.0)
    late = events.corrected(Topic("t", "A/B"), opened, opened + 200.0)
    assert again is not None and late is not None
    assert again.candles[0].volume == later["volume"] and again.candles[0].is_closed
    assert late.trades[0].amount == pytest.approx(later["volume"] - first["volume"])
    assert opened <= late.trades[0].at < opened + 60 and late.trades[0].price == later["close"]
    assert events.corrected(Topic("t", "A/B"), opened, opened + 70.0) is None
    assert len(trades_of(known.candles("A/B", Timeframe("1m"), NOW, NOW + 1))) == 4
