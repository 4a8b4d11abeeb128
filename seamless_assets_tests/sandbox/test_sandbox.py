"""The local exchange itself: determinism, its clock, replay, and faults steered over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow.parquet as pq
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidInput
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import Generator, aggregate
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

MARKET = Market("ADA/BTC", 0.00001, quiet=0.14)
LATER = START + 400 * DAY


def asked(url: str, method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, method=method, data=data), timeout=10) as answer:
        return json.loads(answer.read())


def test_any_minute_is_the_same_however_one_comes_to_it() -> None:
    whole = Generator(3).minutes(MARKET, START, START + DAY, LATER)
    parts = [Generator(3).minutes(MARKET, START + at, START + at + 3600, LATER) for at in range(0, DAY, 3600)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, Generator(4).minutes(MARKET, START, START + DAY, LATER))


def test_bars_are_sound_and_some_minutes_are_quiet() -> None:
    bars = Generator(3).minutes(MARKET, START, START + 10 * DAY, LATER)
    assert 0.80 < len(bars) / 14_400 < 0.92
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    assert (bars["low"] > 0).all() and (bars["volume"] > 0).all()


def test_an_outage_takes_the_same_minutes_from_all_symbols() -> None:
    generator = Generator(3, outage_minutes=30)
    busy = [Market(name, 10.0) for name in ("A/B", "C/D")]
    held = [set(generator.minutes(m, START, START + 30 * DAY, LATER)["ts"].tolist()) for m in busy]
    lacking = set(range(START, START + 30 * DAY, 60)) - held[0]
    assert held[0] == held[1] and 30 <= len(lacking) <= 60


def test_nothing_trades_before_the_listing() -> None:
    listed = Market("NEW/USDT", 1.0, listed=START + 7200)
    bars = Generator(3).minutes(listed, START, START + DAY, LATER)
    assert bars["ts"][0] == START + 7200


def test_a_bar_is_corrected_shortly_after_it_closed() -> None:
    busy = Market("A/B", 10.0)
    early = Generator(3).minutes(busy, START, START + 60, START + 61)
    late = Generator(3).minutes(busy, START, START + 60, START + 600)
    assert early["volume"][0] < late["volume"][0]
    assert early["close"][0] == late["close"][0]


@pytest.mark.parametrize("frame", ["5m", "1h", "1d", "1w", "1M"])
def test_coarser_bars_are_made_of_the_finer_ones(frame: str) -> None:
    timeframe = Timeframe(frame)
    minutes = Generator(3).minutes(MARKET, START - 40 * DAY, START + 40 * DAY, LATER)
    for bar in aggregate(minutes, timeframe)[1:-1]:
        opened = int(bar["ts"])
        low, high = np.searchsorted(minutes["ts"], [opened, timeframe.shift(opened, 1)])
        part = minutes[low:high]
        assert (bar["open"], bar["close"]) == (part["open"][0], part["close"][-1])
        assert (bar["high"], bar["low"]) == (part["high"].max(), part["low"].min())
        assert bar["volume"] == pytest.approx(part["volume"].sum())


def test_the_forming_bar_is_served_as_real_venues_do() -> None:
    book = Book(SandboxClock(START + 90), markets=[Market("A/B", 10.0)])
    assert book.candles("A/B", Timeframe("1m"), START, START + 600)["ts"].tolist() == [START, START + 60]
    assert book.candles("A/B", Timeframe("1h"), START, START + 3600)["ts"].tolist() == [START]


@pytest.mark.parametrize(
    ("symbol", "frame", "name"),
    [("BTC/USD", "1m", "perp_BTC-USD_1m"), ("WAX/BTC", "5m", "bittrex_WAX-BTC_5m")],
)
def test_a_replay_is_the_file(market_data: Path, symbol: str, frame: str, name: str) -> None:
    path = market_data / f"{name}.parquet"
    replay = Replay()
    replay.add_file(f"{symbol}:{frame}={path}")
    book = Book(SandboxClock(), replay=replay)
    table = pq.read_table(path)
    served = book.candles(symbol, Timeframe(frame), 0, 2**31)
    for column in ("ts", "open", "high", "low", "close", "volume"):
        assert served[column].tolist() == table[column].to_pylist()


def test_a_replay_that_cannot_be_names_the_argument() -> None:
    with pytest.raises(InvalidInput, match="SYMBOL:TIMEFRAME=FILE"):
        Replay().add_file("BTC/USD")
    with pytest.raises(InvalidInput, match="nowhere"):
        Replay().add_file("BTC/USD:1m=nowhere.parquet")


def test_it_is_steered_over_http() -> None:
    with Sandbox().running() as sandbox:
        assert "binance" in asked(f"{sandbox.url}/_sandbox/health")["exchanges"]
        assert asked(f"{sandbox.url}/_sandbox/clock", "PUT", {"now": START}) == {"now": START}
        assert asked(f"{sandbox.url}/api/v3/time") == {"serverTime": START * 1000}
        asked(f"{sandbox.url}/_sandbox/faults", "POST", {"kind": "status", "code": 429, "retry_after": 7})
        with pytest.raises(HTTPError) as refused:
            asked(f"{sandbox.url}/api/v3/time")
        with refused.value as answer:
            assert (answer.code, answer.headers["Retry-After"]) == (429, "7")
        asked(f"{sandbox.url}/api/v3/time")
        counted = asked(f"{sandbox.url}/_sandbox/requests")
        assert [(r["exchange"], r["status"]) for r in counted] == [
            ("binance", 200),
            ("binance", 429),
            ("binance", 200),
        ]


@pytest.mark.parametrize("body", [{"kind": "earthquake"}, {"kind": "status", "colour": 1}, [1]])
def test_a_fault_that_does_not_exist_is_refused_with_the_reason(body: object) -> None:
    with Sandbox().running() as sandbox, pytest.raises(HTTPError) as refused:
        asked(f"{sandbox.url}/_sandbox/faults", "POST", body)
    with refused.value as answer:
        assert answer.code == 400


def test_a_rate_limit_is_kept_and_answered() -> None:
    with Sandbox(rate_limit=3).running() as sandbox:
        for _ in range(3):
            asked(f"{sandbox.url}/api/v3/time")
        with pytest.raises(HTTPError) as refused:
            asked(f"{sandbox.url}/api/v3/time")
        with refused.value as answer:
            assert answer.code == 429 and float(answer.headers["Retry-After"]) > 0
