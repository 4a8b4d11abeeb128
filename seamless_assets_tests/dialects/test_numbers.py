"""Numbers as exchanges write them."""

from __future__ import annotations

from typing import Any

import pytest
from dialects.test_parameters import told
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.dialects import kraken
from seamless_assets.dialects.base import padded, text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_whole_without_an_exponent_and_read_the_same(value: float) -> None:
    written = text(value)
    assert float(written) == value and set(written) <= set("-.0123456789")
    assert "." not in written or not written.endswith("0"), "nothing stands there that says nothing"


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 10))
def test_a_padded_number_has_so_many_decimals_at_least_and_is_the_same(value: float, places: int) -> None:
    written = padded(value, places)
    assert float(written) == value and len(written.partition(".")[2]) >= places


def numbers_of(answer: Any) -> list[str]:
    """All texts of an answer that are numbers with a point or could be."""
    if isinstance(answer, dict):
        return [text for value in answer.values() for text in numbers_of(value)]
    if isinstance(answer, list | tuple):
        return [text for value in answer for text in numbers_of(value)]
    return [answer] if isinstance(answer, str) and answer.strip("-.0123456789") == "" and answer else []


PADDED = {
    "/api/v3/klines": {"symbol": "BTCUSDT", "interval": "1m"},
    "/fapi/v1/klines": {"symbol": "BTCUSDT", "interval": "1m"},
    "/0/public/OHLC": {"pair": "ADABTC", "interval": "1"},
}
PLAIN = {
    "/v5/market/kline": {"symbol": "BTCUSDT", "interval": "1", "category": "spot"},
    "/api/v5/market/candles": {"instId": "ADA-BTC", "bar": "1m"},
    "/api/v3/brokerage/market/products/{product}/candles": {
        "product": "BTC-USD",
        "granularity": "ONE_MINUTE",
        "start": "1736553000",
        "end": "1736553600",
    },
}


@pytest.mark.parametrize("path", PADDED)
async def test_binance_and_kraken_write_the_decimals_that_their_lists_of_markets_name(path: str) -> None:
    found = [text for text in numbers_of(await told(path, **PADDED[path])) if text != "0"]
    assert found and all(len(text.partition(".")[2]) == 8 for text in found if "." in text or len(text) < 10)


@pytest.mark.parametrize("path", PLAIN)
async def test_the_others_write_no_zeros_behind_a_point(path: str) -> None:
    found = numbers_of(await told(path, **PLAIN[path]))
    assert found and not any("." in text and text.endswith("0") for text in found)


@pytest.mark.parametrize(("volume", "mean", "count"), [(0.0, "0.00000000", 0), (2.5, "7.00000000", 3)])
def test_where_nobody_traded_kraken_tells_a_mean_of_zero(volume: float, mean: str, count: int) -> None:
    row = kraken._row(60, 7.0, 7.0, 7.0, 7.0, volume, 3)
    assert row[5:] == (mean, f"{volume:.8f}", count)
