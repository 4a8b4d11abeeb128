"""Why bars are not there: quirks 1 to 3, 6, 12, 13 and 19, on real ccxt against the local exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quirks.conftest import NOW, Stage

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.generator import BAR
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import Replay
from seamless_assets.testing import DAY, START

HOUR = 3_600
Staged = Callable[..., Stage]
QUIET = {"binance": "ADA/BTC", "bybit": "ADA/BTC", "coinbase": "XRP/USD", "okx": "XRP/USDT"}
HISTORIES = ("binance", "bybit")
"""Venues whose local dialect can delist a market."""


@pytest.mark.parametrize(("venue", "symbol"), QUIET.items())
def test_1_omitted_bars_are_no_trades_and_not_missing(staged: Staged, venue: str, symbol: str) -> None:
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    report = stage.backfill(node, START, START + 6 * HOUR)
    truth = stage.truth(symbol, "1m", START, START + 6 * HOUR)
    assert stage.stored(node, START, START + 6 * HOUR) == truth
    assert stage.reasons(node, START, START + 6 * HOUR) == {"no_trades": 360 - len(truth)}
    assert len(truth) < 360 and report.coverage.ratio == 1.0


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_1_flat_bars_are_kept_or_taken_as_proof(staged: Staged, policy: str) -> None:
    stage = staged({"kraken": ["ADA/BTC"]}, per_exchange={"flat_bars": policy})
    node, start = "ohlcv:kraken:ADA/BTC:1m", NOW - 6 * HOUR
    stage.backfill(node, start, NOW)
    traded = stage.truth("ADA/BTC", "1m", start, NOW)
    assert len(traded) < 360
    every = list(range(start, NOW, 60))
    assert stage.stored(node, start, NOW) == (every if policy == "keep" else traded)
    assert stage.reasons(node, start, NOW)["no_trades"] == (0 if policy == "keep" else 360 - len(traded))


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_1_and_5_a_bar_that_is_corrected_down_to_nothing_is_a_revision(staged: Staged, policy: str) -> None:
    stage = staged({"kraken": ["BTC/USD"]}, per_exchange={"flat_bars": policy})
    node, start, book = "ohlcv:kraken:BTC/USD:1m", NOW - 6 * HOUR, stage.exchange.book
    stage.backfill(node, start, NOW)
    opened = stage.truth("BTC/USD", "1m", start, NOW)[100]
    candles = book.candles

    def corrected(*args: Any) -> np.ndarray:
        bars = candles(*args).copy()
        at = bars["ts"] == opened
        bars["volume"][at] = 0
        for name in ("open", "high", "low"):
            bars[name][at] = bars["close"][at]
        return bars

    book.candles = corrected  # type: ignore[method-assign]
    report = stage.pipeline.materialize(node, start, NOW)
    sealed = report.partitions[0].sealed
    assert report.released and sealed is not None and sealed.flags["revised"] == 1
    (bar,) = stage.pipeline.read(node, opened, opened + 60).to_arrow().to_pylist()
    assert bar["volume"] == 0 and bar["open"] == bar["high"] == bar["low"] == bar["close"]
    assert not [fact for fact in stage.pipeline.ledger(node, opened, opened + 60) if fact.is_proof]


def test_5_a_bar_that_is_sent_no_more_is_not_denied(staged: Staged) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.backfill(node, NOW - DAY, NOW)
    opened = stage.truth("BTC/USDT", "1m", NOW - DAY, NOW)[700]
    stage.exchange.faults.add(Fault("hide", path="klines", start=opened, end=opened + 60, times=None))
    stage.pipeline.materialize(node, NOW - DAY, NOW)
    assert not [fact for fact in stage.pipeline.ledger(node, opened, opened + 60) if fact.is_proof]
    assert stage.pipeline.read(node, opened, opened + 60).metadata.rows == 1


@pytest.mark.parametrize("venue", ["binance", "okx", "coinbase"])
def test_2_an_empty_answer_proves_nothing(staged: Staged, venue: str) -> None:
    symbol = QUIET[venue]
    stage, node = staged({venue: [symbol]}), f"ohlcv:{venue}:{symbol}:1m"
    for part in ("klines", "candles", "rades", "ticker"):
        stage.exchange.faults.add(Fault("empty", path=part, times=None))
    stage.backfill(node, START, START + HOUR)
    assert stage.reasons(node, START, START + HOUR) == {"missing": 60}
    stage.exchange.faults.clear()
    # The next look is due later; a look anew is the operator's.
    stage.pipeline.materialize(node, START, START + HOUR)
    assert stage.stored(node, START, START + HOUR) == stage.truth(symbol, "1m", START, START + HOUR)


def test_2_what_stays_missing_is_looked_for_again_ever_more_rarely(staged: Staged) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    for part in ("klines", "aggTrades"):
        stage.exchange.faults.add(Fault("empty", path=part, times=None))
    stage.backfill(node, START, START + HOUR)
    asked = stage.asked("klines")
    assert stage.backfill(node, START, START + HOUR).fetched == ()
    assert stage.asked("klines") == asked


def first_outage(stage: Stage, symbol: str) -> tuple[int, int]:
    generator = stage.exchange.book.generator
    minutes = np.arange(START // 60, START // 60 + 30 * 1440)
    lost = minutes[generator._outage(minutes)] * 60
    opens = set(stage.truth(symbol, "1m", START, START + 30 * DAY))
    assert len(lost) and not opens & set(lost.tolist())
    return int(lost[0]), int(lost[-1]) + 60


def test_3_a_hole_that_many_symbols_share_is_an_outage(staged: Staged) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]
    stage = staged({"binance": symbols}, now=START + 40 * DAY)
    start, end = first_outage(stage, "BTC/USDT")
    window = start - 4 * HOUR, end + 4 * HOUR
    nodes = [f"ohlcv:binance:{symbol}:1m" for symbol in symbols]

    async def all_at_once() -> None:
        await asyncio.gather(*(stage.pipeline.aio.backfill(node, *window) for node in nodes))

    asyncio.run(all_at_once())
    for node in nodes:
        gaps = stage.pipeline.coverage(node, *window).gaps
        outages = [gap for gap in gaps if gap.reason == "outage"]
        assert [(max(gap.start, start), min(gap.end, end)) for gap in outages] == [(start, end)], node
        assert stage.reasons(node, *window)["missing"] == 0
    # Nothing was asked for it but the pages of each symbol.
    asked = [
        f"{request.path}?{request.query}" for request in stage.exchange.requests if "klines" in request.path
    ]
    assert len(asked) == len(set(asked))


def test_3_a_hole_of_one_symbol_alone_is_none(staged: Staged) -> None:
    stage = staged({"binance": ["BTC/USDT"]}, now=START + 40 * DAY)
    start, end = first_outage(stage, "BTC/USDT")
    gaps = stage.backfill("ohlcv:binance:BTC/USDT:1m", start - HOUR, end + HOUR).coverage.gaps
    assert {gap.reason for gap in gaps} == {"no_trades"}


@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_6_what_lies_out_of_reach_is_retention_and_asked_for_once(staged: Staged, venue: str) -> None:
    markets = [
        Market("BTC/USD", 60_000.0, listed=START - 60 * DAY, retention=720 if venue == "binance" else None)
    ]
    stage, node = staged({venue: ["BTC/USD"]}, markets=markets), f"ohlcv:{venue}:BTC/USD:1m"
    stage.backfill(node, NOW - 3 * DAY, NOW)
    assert stage.reasons(node, NOW - 3 * DAY, NOW)["retention"] == 3 * 1440 - 719
    assert len(stage.stored(node, NOW - 3 * DAY, NOW)) >= 715
    asked = len(stage.exchange.requests)
    stage.backfill(node, NOW - 3 * DAY, NOW)
    assert stage.asked("lines") + stage.asked("OHLC") <= asked
    assert stage.reasons(node, NOW - 3 * DAY, NOW)["missing"] == 0


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_6_pages_that_are_refused_for_their_age_are_retention(staged: Staged, venue: str) -> None:
    market = Market("BTC/USDT", 60_000.0, listed=START - 60 * DAY, retention=2_000, too_old="refused")
    stage, node = staged({venue: ["BTC/USDT"]}, markets=[market]), f"ohlcv:{venue}:BTC/USDT:1m"
    report = stage.backfill(node, NOW - 3 * DAY, NOW)
    # The oldest bars are about to go, and a few of them are not waited for.
    kept = 2_000 - 12
    assert report.problems == () and report.coverage.present >= kept
    assert stage.reasons(node, NOW - 3 * DAY, NOW) == {"retention": 3 * 1440 - report.coverage.present}
    stage.exchange.clock.set(NOW + 600)
    later = stage.backfill(node, NOW - 2 * DAY, NOW + 600)
    assert (later.problems, later.coverage.missing) == ((), 0)
    asked = stage.asked("lines")
    stage.backfill(node, NOW - 3 * DAY, NOW)
    assert stage.asked("lines") == asked


def test_6_a_refusal_that_age_does_not_explain_is_a_problem_and_loses_nothing_else(staged: Staged) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    within = f"startTime={str(NOW - DAY)[:5]}"
    body = {"code": -1100, "msg": "Illegal characters found in parameter 'startTime'."}
    stage.exchange.faults.add(Fault("status", code=400, body=body, symbol=within, path="klines", times=None))
    report = stage.backfill(node, NOW - 3 * DAY, NOW)
    assert report.coverage.missing > 0 and report.coverage.present > 1440
    assert report.problems and all("Illegal characters" in problem for problem in report.problems)
    looks = stage.pipeline.ledger(node, NOW - 3 * DAY, NOW)
    assert all("Illegal characters" in fact.evidence for fact in looks if fact.reason == "missing")


@pytest.mark.parametrize("frame", ["1m", "1h"])
def test_12_a_hole_of_a_month_is_stepped_across(staged: Staged, frame: str) -> None:
    rng = np.random.default_rng(3)
    opens = np.concatenate(
        (np.arange(START, START + 2 * DAY, 60), np.arange(START + 42 * DAY, START + 44 * DAY, 60))
    )
    bars = np.empty(len(opens), dtype=BAR)
    bars["ts"], bars["volume"] = opens, rng.random(len(opens)) + 0.1
    bars["open"] = bars["high"] = bars["low"] = bars["close"] = 5.0
    replay = Replay()
    replay.add("AAA/BBB", "1m", bars)
    stage, node = (
        staged({"binance": ["AAA/BBB"]}, replay=replay, now=START + 50 * DAY),
        f"ohlcv:binance:AAA/BBB:{frame}",
    )
    report = stage.backfill(node, START, START + 44 * DAY)
    assert report.coverage.missing == 0 and report.problems == ()
    assert stage.reasons(node, START, START + 44 * DAY) == {
        "no_trades": 40 * DAY // (60 if frame == "1m" else 3600)
    }


@pytest.mark.parametrize("venue", ["binance", "bybit", "okx", "coinbase"])
def test_13_the_listing_is_searched_once_and_remembered(staged: Staged, venue: str) -> None:
    symbol, listed = "NEW/USDT", START + 3 * DAY + 5 * HOUR + 17 * 60
    markets = [Market(symbol, 2.0, listed=listed), Market("BTC/USDT", 60_000.0)]
    stage, node = staged({venue: [symbol]}, markets=markets), f"ohlcv:{venue}:{symbol}:1m"
    report = stage.backfill(node, START, START + 4 * DAY)
    assert [tuple(gap) for gap in report.coverage.gaps] == [(START, listed, "pre_listing")]
    asked = len(stage.exchange.requests)
    stage.backfill(node, START - 20 * DAY, START)
    # Nothing but the clock, which stands still and so is asked each time.
    assert len(stage.exchange.requests) - asked <= 1
    assert stage.reasons(node, START - 20 * DAY, START) == {"pre_listing": 20 * 1440}


@pytest.mark.parametrize("length", [40, 400])
@pytest.mark.parametrize(
    ("venue", "symbol", "asked"),
    [
        ("coinbase", "BTC/USD", ("ticker", "start=", "end=")),
        ("okx", "BTC/USDT", ("history-trades", "type=2", "after=")),
    ],
    ids=["coinbase", "okx"],
)
def test_2_what_all_candles_hide_is_missing_where_trades_are_sent_with_an_end(
    staged: Staged, venue: str, symbol: str, asked: tuple[str, ...], length: int
) -> None:
    stage = staged({venue: [symbol]})
    gone = Segment(START + 6 * HOUR, START + 6 * HOUR + length * 60)
    stage.exchange.faults.add(
        Fault("hide", path="candles", start=gone.start - 86_399, end=gone.end, times=None)
    )
    node = f"ohlcv:{venue}:{symbol}:1m"
    stage.backfill(node, gone.start - 2 * DAY, START + DAY)
    assert stage.asked(*asked)
    assert stage.reasons(node, *gone) == {"missing": length}


def test_13_a_market_that_was_listed_again_has_the_past_it_had(staged: Staged) -> None:
    """The empty years between lie on pages of their own, and are not the time before the listing."""
    listed, gone, back = START - 2_400 * DAY, START - 1_600 * DAY, START - 500 * DAY
    stage = staged({"coinbase": ["XRP/USD"]}, markets=[Market("XRP/USD", 0.6, listed=listed)])
    stage.exchange.faults.add(Fault("hide", path="candles", start=gone, end=back, times=None))
    node = "ohlcv:coinbase:XRP/USD:1h"
    stage.pipeline.backfill(node, back - 10 * DAY, back + DAY)
    assert "pre_listing" not in stage.reasons(node, back - 10 * DAY, back)
    report = stage.pipeline.backfill(node, listed - 10 * DAY, listed + 10 * DAY)
    assert [tuple(gap) for gap in report.coverage.gaps] == [(listed - 10 * DAY, listed, "pre_listing")]
    assert report.coverage.present == 10 * 24


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_13_no_time_before_the_first_market_is_asked_for(staged: Staged, venue: str) -> None:
    listed = START - 700 * DAY
    markets = [Market("NEW/USDT", 2.0, listed=listed), Market("BTC/USDT", 60_000.0)]
    stage = staged({venue: ["NEW/USDT"]}, markets=markets, timeframes=("1M",))
    report = stage.backfill(f"ohlcv:{venue}:NEW/USDT:1M", START - 4_000 * DAY, START)
    assert {gap.reason for gap in report.coverage.gaps} == {"pre_listing"} and report.coverage.present == 23
    assert not stage.asked("=-")


def test_13_a_row_of_zeros_before_the_listing_is_no_bar(staged: Staged) -> None:
    listed = START + 2 * DAY
    markets = [Market("NEW/USDT", 2.0, listed=listed, has_zero_row=True)]
    stage, node = staged({"binance": ["NEW/USDT"]}, markets=markets), "ohlcv:binance:NEW/USDT:1m"
    report = stage.backfill(node, START, START + 3 * DAY)
    assert [tuple(gap) for gap in report.coverage.gaps] == [(START, listed, "pre_listing")]


@pytest.mark.parametrize("afterwards", ["halted", "unlisted", "refused"])
@pytest.mark.parametrize("venue", HISTORIES)
def test_19_a_delisted_symbol_keeps_its_past(staged: Staged, venue: str, afterwards: str) -> None:
    end = START + 2 * DAY
    market = Market("OLD/USDT", 2.0, listed=START - 90 * DAY, delisted=end, afterwards=afterwards)  # type: ignore[arg-type]
    stage = staged({venue: ["OLD/USDT"]}, markets=[market, Market("BTC/USDT", 60_000.0)], now=START + DAY)
    node = f"ohlcv:{venue}:OLD/USDT:1m"
    stage.backfill(node, START, START + DAY)
    stage.exchange.clock.set(START + 5 * DAY)
    report = stage.backfill(node, START, START + 4 * DAY)
    reasons = stage.reasons(node, START, START + 4 * DAY)
    # A venue that refuses the symbol no longer tells of the day between.
    known_until = START + DAY if afterwards == "refused" else end
    assert reasons == {"post_delisting": (START + 4 * DAY - known_until) // 60}
    assert report.problems == () and stage.stored(node, START, known_until) == list(
        range(START, known_until, 60)
    )


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_19_what_is_traded_again_is_asked_for_again(staged: Staged, venue: str) -> None:
    traded = Market("BTC/USDT", 60_000.0, listed=START - 90 * DAY)
    stage = staged({venue: ["BTC/USDT"]}, markets=[replace(traded, delisted=NOW - HOUR)])
    node = f"ohlcv:{venue}:BTC/USDT:1m"
    stage.backfill(node, NOW - 3 * HOUR, NOW)
    assert stage.reasons(node, NOW - 3 * HOUR, NOW) == {"post_delisting": 60}
    stage.exchange.book.markets["BTC/USDT"] = traded
    made = stage.exchange.book.generator.minutes

    def but_for_two_hours(*args: Any) -> np.ndarray:
        bars = made(*args)
        return bars[(bars["ts"] < NOW - HOUR) | (bars["ts"] >= NOW + HOUR)]

    stage.exchange.book.generator.minutes = but_for_two_hours  # type: ignore[method-assign]
    stage.exchange.clock.set(NOW + 25 * HOUR)
    report = stage.backfill(node, NOW - 3 * HOUR, NOW + 4 * HOUR)
    assert (report.coverage.missing, report.coverage.present) == (0, 5 * 60)


def test_19_a_market_list_that_lost_most_of_itself_is_not_believed(staged: Staged, tmp_path: Path) -> None:
    stage, node = staged({"binance": ["BTC/USDT"]}), "ohlcv:binance:BTC/USDT:1m"
    stage.backfill(node, NOW - HOUR, NOW)
    stage.exchange.faults.add(Fault("empty", path="exchangeInfo", times=None))
    stage.exchange.faults.add(Fault("hide", path="klines", start=NOW - HOUR / 2, end=2e9, times=None))
    stage.pipeline.materialize(node, NOW - DAY, NOW)
    assert "post_delisting" not in stage.reasons(node, NOW - DAY, NOW)
