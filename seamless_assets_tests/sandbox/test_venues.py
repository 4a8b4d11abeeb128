"""Real, unmodified ccxt against every dialect of the local exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt.async_support as ccxt
import numpy as np
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.sandbox.server import DIALECTS, Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
SYMBOLS = {
    "binance": "BTC/USDT",
    "bybit": "BTC/USDT",
    "coinbase": "BTC/USD",
    "kraken": "BTC/USD",
    "okx": "BTC/USDT",
}
SWAPS = ("binance", "bybit", "okx")


def moved(urls: Any, base: str) -> Any:
    """ccxt's addresses on another host; the path stays."""
    if isinstance(urls, dict):
        return {name: moved(url, base) for name, url in urls.items()}
    return urlunsplit((*urlsplit(base)[:2], *urlsplit(urls)[2:]))


def client(name: str, url: str) -> Any:
    made = getattr(ccxt, name)({"enableRateLimit": False})
    made.urls["api"] = moved(made.urls["api"], url)
    return made


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(now=NOW) as running:
        yield running


@pytest.fixture(params=sorted(DIALECTS))
async def venue(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Any]:
    made = client(request.param, sandbox.url)
    yield made
    await made.close()


def expected(sandbox: Sandbox, symbol: str, frame: str, start: int, end: int) -> list[list[float]]:
    return [list(row) for row in sandbox.book.candles(symbol, Timeframe(frame), start, end).tolist()]


async def test_markets_and_clock(venue: Any) -> None:
    markets = await venue.load_markets()
    assert SYMBOLS[venue.id] in markets
    assert await venue.fetch_time() == pytest.approx(NOW * 1000, abs=1000)
    if venue.id in SWAPS:
        assert markets["BTC/USDT:USDT"]["swap"]


@pytest.mark.parametrize("frame", ["1m", "1h", "1d"])
async def test_a_page_holds_what_the_market_did(venue: Any, sandbox: Sandbox, frame: str) -> None:
    symbol, seconds = SYMBOLS[venue.id], Timeframe(frame).seconds or 0
    start = NOW - 5 * seconds - (NOW % seconds)
    rows = await venue.fetch_ohlcv(
        symbol, frame, since=start * 1000, limit=6, params={"until": (start + 5 * seconds) * 1000 - 1}
    )
    closed = [[row[0] // 1000, *row[1:]] for row in rows if start <= row[0] // 1000 < start + 5 * seconds]
    truth = expected(sandbox, symbol, frame, start, start + 5 * seconds)
    if venue.id == "kraken":
        closed = [row for row in closed if row[5] > 0]
    assert closed == truth and len(truth) >= 4


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT"])
@pytest.mark.parametrize("name", SWAPS)
async def test_swaps_have_candles_too(sandbox: Sandbox, name: str, symbol: str) -> None:
    made = client(name, sandbox.url)
    start = START + DAY
    rows = await made.fetch_ohlcv(
        symbol, "1m", since=start * 1000, limit=50, params={"until": (start + 3000) * 1000 - 1}
    )
    await made.close()
    assert [[row[0] // 1000, *row[1:]] for row in rows] == expected(
        sandbox, symbol, "1m", start, start + 3000
    )


async def test_trades_come_in_order(venue: Any) -> None:
    trades = await venue.fetch_trades(
        SYMBOLS[venue.id], since=(NOW - 600) * 1000, limit=20, params={"until": NOW * 1000}
    )
    times = [trade["timestamp"] for trade in trades]
    assert len(trades) == 20 and times == sorted(times)
    assert all(trade["price"] > 0 and trade["amount"] > 0 for trade in trades)


async def test_an_unknown_symbol_is_refused_as_the_venue_does(venue: Any) -> None:
    await venue.load_markets()
    venue.markets_by_id["NOPE"] = [{**venue.market(SYMBOLS[venue.id]), "id": "NOPE", "symbol": "NO/PE"}]
    venue.markets["NO/PE"] = venue.markets_by_id["NOPE"][0]
    with pytest.raises(ccxt.ExchangeError):
        await venue.fetch_ohlcv("NO/PE", "1m", since=START * 1000, limit=5)


async def test_kraken_forgets_and_fills(sandbox: Sandbox) -> None:
    kraken = client("kraken", sandbox.url)
    rows = await kraken.fetch_ohlcv("ADA/BTC", "1m", since=START * 1000)
    await kraken.close()
    assert rows[0][0] >= (NOW - 721 * 60) * 1000
    opens = [row[0] for row in rows]
    assert np.all(np.diff(opens) == 60_000)
    assert any(row[5] == 0 and row[1] == row[4] for row in rows)


@pytest.mark.parametrize(
    ("name", "page", "newest_first"),
    [("binance", 1000, False), ("bybit", 1000, True), ("okx", 300, True)],
)
async def test_pages_are_cut_at_the_venues_end(
    sandbox: Sandbox, name: str, page: int, newest_first: bool
) -> None:
    made = client(name, sandbox.url)
    start = START + DAY
    rows = await made.fetch_ohlcv(
        "BTC/USDT", "1m", since=start * 1000, limit=5000, params={"until": (start + 1200 * 60) * 1000 - 1}
    )
    await made.close()
    truth = expected(sandbox, "BTC/USDT", "1m", start, start + 1200 * 60)
    kept = truth[-page:] if newest_first else truth[:page]
    assert [row[0] // 1000 for row in rows] == [row[0] for row in kept]
