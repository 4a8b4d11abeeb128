"""Real, unmodified ccxt sees no difference between an exchange and the service that speaks as it does."""

from __future__ import annotations

import math
from typing import Any

import ccxt
import ccxt.async_support
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service.dialects.conftest import BEGIN, DECLARED, NOW
from support.dialects import SYMBOLS, Rig, client

CAPS = {"binance": 1000, "bybit": 1000, "coinbase": 350, "kraken": 720, "okx": 300}
SECONDS = {"1m": 60, "1h": 3_600}
FAST = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def questions(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Arguments of `fetch_ohlcv`: anywhere on and off the grid, with odd limits, with and without an end."""
    frame = draw(st.sampled_from(sorted(SECONDS)))
    asked: dict[str, Any] = {"symbol": draw(st.sampled_from(SYMBOLS[name])), "timeframe": frame}
    since = draw(st.none() | st.integers(BEGIN * 1_000, (NOW + 600) * 1_000))
    if since is not None:
        asked["since"] = since
        # Some of the venues have no such thing, and ccxt asks them without it.
        if draw(st.booleans()):
            # Coinbase refuses windows that are longer than its pages.
            bars = CAPS[name] - 1 if name == "coinbase" else 400
            asked["params"] = {"until": since + draw(st.integers(0, bars * SECONDS[frame] * 1_000))}
    if since is None or draw(st.booleans()):
        asked["limit"] = draw(st.integers(1, CAPS[name] + 50))
    return asked


def settled(rows: list[list[float]], frame: str) -> list[list[float]]:
    return [row for row in rows if row[0] // 1_000 + SECONDS[frame] <= NOW]


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_pages_are_those_of_the_exchange(rig: Rig, name: str) -> None:
    ask_anything(rig, name, FAST)


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_pages_are_those_of_the_exchange_whatever_is_asked(rig: Rig, name: str) -> None:
    ask_anything(rig, name, settings(FAST, max_examples=1_000))


def ask_anything(rig: Rig, name: str, how: settings) -> None:
    there, here = (client(name, url, path, ccxt) for url, path in both(rig, name))

    @how
    @given(questions(name))
    def equal(asked: dict[str, Any]) -> None:
        page = there.fetch_ohlcv(**asked)
        rows = settled(page, asked["timeframe"])
        truth = [row for row in rows if row[0] >= DECLARED * 1_000]
        told = here.fetch_ohlcv(**asked)
        assert told == settled(told, asked["timeframe"])
        if "since" not in asked:
            # The newest so many: where a venue counts the bar that forms, older ones are told in its place.
            assert len(told) <= asked["limit"]
            oldest = max(told[0][0], truth[0][0]) if told and truth else math.inf
            told, truth = ([row for row in rows if row[0] >= oldest] for rows in (told, truth))
        elif len(page) > len(rows):
            # So it is in a full page up to a time to come.
            assert len(told) - len(truth) <= len(page) - len(rows)
            told = told[-len(truth) :] if truth else []
        assert told == truth

    equal()


def both(rig: Rig, name: str) -> list[tuple[str, str]]:
    return [(rig.exchange.url, ""), (rig.url, f"/{name}")]


@pytest.mark.parametrize("name", sorted(SYMBOLS))
async def test_markets_and_clock_are_those_that_are_declared(rig: Rig, name: str) -> None:
    there, here = [client(name, url, path) for url, path in both(rig, name)]
    try:
        theirs, ours = await there.load_markets(), await here.load_markets()
        assert set(ours) == set(SYMBOLS[name])
        for symbol, market in ours.items():
            assert {key: market[key] for key in ("id", "base", "quote", "swap", "active")} == {
                key: theirs[symbol][key] for key in ("id", "base", "quote", "swap", "active")
            }
        assert await here.fetch_time() == pytest.approx(NOW * 1_000, abs=1_000)
        rows = await here.fetch_ohlcv(SYMBOLS[name][0], "1m", since=(NOW - 3_600) * 1_000, limit=20)
        assert rows == await there.fetch_ohlcv(SYMBOLS[name][0], "1m", since=(NOW - 3_600) * 1_000, limit=20)
        told = {key.lower(): value for key, value in here.last_response_headers.items()}
        assert told["x-seamless-verdict"] == "PASS" and told["x-seamless-fingerprint"] == "none"
        assert told["x-seamless-as-of"]
    finally:
        await there.close()
        await here.close()
