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


PRICE, SPOT_PRICE, LOT, WHOLE = 7, 8, 4, 8
"""Decimals that the list of contracts has, of which prices were 1 in the beginning, and those of spot."""


@pytest.mark.parametrize(
    ("path", "price", "amount"),
    [
        ("/api/v3/klines", SPOT_PRICE, WHOLE),
        ("/fapi/v1/klines", PRICE, LOT),
        ("/0/public/OHLC", PRICE, WHOLE),
    ],
)
async def test_binance_and_kraken_write_the_decimals_that_their_lists_of_markets_name(
    path: str, price: int, amount: int
) -> None:
    answer = await told(path, **PADDED[path])
    rows = answer if isinstance(answer, list) else answer["result"]["ADABTC"]
    at = 5 if isinstance(answer, list) else 6
    for row in rows:
        assert {len(text.partition(".")[2]) for text in row[1:5]} == {price}
        # A step is what orders have to keep to; what is traded may be finer.
        assert len(row[at].partition(".")[2]) >= amount


@pytest.mark.parametrize("path", PLAIN)
async def test_the_others_write_no_zeros_behind_a_point(path: str) -> None:
    found = numbers_of(await told(path, **PLAIN[path]))
    assert found and not any("." in text and text.endswith("0") for text in found)


@pytest.mark.parametrize(("volume", "mean", "count"), [(0.0, "0.00000000", 0), (2.5, "7.00000000", 3)])
def test_where_nobody_traded_kraken_tells_a_mean_of_zero(volume: float, mean: str, count: int) -> None:
    row = kraken._row(60, 7.0, 7.0, 7.0, 7.0, volume, 3, (8, 8))
    assert row[5:] == (mean, f"{volume:.8f}", count)


@pytest.mark.parametrize(
    ("value", "places", "written"), [(1234.0, 0, "1234"), (1234.5, 0, "1234.5"), (1234.0, 2, "1234.00")]
)
def test_a_number_without_decimals_has_no_point(value: float, places: int, written: str) -> None:
    assert padded(value, places) == written
