"""What each venue makes of the parameters of a request: each is used, or refused in its own words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from seamless_assets.dialects.base import Refusal
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import InvalidInput, NotServed
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.book_data import BookData
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.market import Market

NOW = 1_736_553_630
SYMBOLS = ("BTC/USDT", "BTC/USD", "ADA/BTC", "ETH/USDT:USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-251226")
DATA = BookData(
    Book(SandboxClock(NOW), markets=[Market(symbol, 1.0, listed=NOW - 40 * 86_400) for symbol in SYMBOLS])
)
HANDLERS = {route.path: route.handler for venue in VENUES.values() for route in venue.routes(DATA)}
SPOT, BYBIT, OKX, KRAKEN = "/api/v3", "/v5/market", "/api/v5", "/0/public"
PRODUCTS = "/api/v3/brokerage/market/products"


async def told(path: str, **query: str) -> Any:
    """What a venue answers; what it refuses as its status and body."""
    try:
        return await HANDLERS[path](query)
    except Refusal as refusal:
        return refusal.status, refusal.body


def fault(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal."""
    assert isinstance(answer, tuple), answer
    status, body = answer
    code = body.get("code") or body.get("retCode") or body.get("error")
    return status, code[0] if isinstance(code, list) else str(code)


CANDLES = {"symbol": "BTCUSDT", "interval": "1m", "limit": "3"}


@pytest.mark.parametrize("zone", ["", "0", "+0", "0:00", "-00:00", "+00:00"])
async def test_binance_tells_candles_in_utc(zone: str) -> None:
    assert await told(f"{SPOT}/klines", **CANDLES, timeZone=zone) == await told(f"{SPOT}/klines", **CANDLES)


@pytest.mark.parametrize("zone", ["8", "-1:00", "05:45", "00:30", "UTC"])
async def test_binance_tells_none_of_other_zones(zone: str) -> None:
    with pytest.raises(NotServed):
        await told(f"{SPOT}/klines", **CANDLES, timeZone=zone)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {**CANDLES, "frame": "1m"}, "-1104"),
        ("klines", {"symbl": "BTCUSDT"}, "-1104"),
        ("aggTrades", {"symbol": "BTCUSDT", "since": "1"}, "-1104"),
        ("exchangeInfo", {"limit": "5"}, "-1104"),
        ("exchangeInfo", {"symbol": "NOPE"}, "-1121"),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NOPE"]'}, "-1121"),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, "-1100"),
        ("exchangeInfo", {"symbols": "[1]"}, "-1100"),
        ("exchangeInfo", {"symbols": "[" * 20_000}, "-1100"),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, "-1128"),
        ("exchangeInfo", {"symbol": "BTCUSDT", "permissions": "SPOT"}, "-1128"),
    ],
)
async def test_spot_of_binance_refuses_what_it_does_not_read(
    path: str, query: dict[str, str], code: str
) -> None:
    assert fault(await told(f"{SPOT}/{path}", **query)) == (400, code)


async def test_trades_of_binance_are_found_by_time_alone() -> None:
    with pytest.raises(NotServed):
        await told(f"{SPOT}/aggTrades", symbol="BTCUSDT", fromId="7")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["BTCUSDT", "BTCUSD", "ADABTC"]),
        ({"symbol": "ADABTC"}, ["ADABTC"]),
        ({"symbols": '["ADABTC","BTCUSD"]'}, ["ADABTC", "BTCUSD"]),
        ({"permissions": "MARGIN"}, []),
        ({"permissions": '["MARGIN","SPOT"]', "symbolStatus": "TRADING"}, ["BTCUSDT", "BTCUSD", "ADABTC"]),
        ({"symbolStatus": "HALT", "showPermissionSets": "false"}, []),
    ],
)
async def test_binance_lists_the_markets_that_are_asked_for(query: dict[str, str], found: list[str]) -> None:
    answer = await told(f"{SPOT}/exchangeInfo", **query)
    assert [item["symbol"] for item in answer["symbols"]] == found


async def test_pings_of_binance_are_answered_with_nothing() -> None:
    assert await told(f"{SPOT}/ping") == await told("/fapi/v1/ping") == {}


async def test_spot_of_binance_writes_eight_decimals() -> None:
    (row, *_) = await told(f"{SPOT}/klines", **CANDLES)
    written = [row[at] for at in (1, 2, 3, 4, 5, 7, 9, 10)]
    assert all(len(number.partition(".")[2]) >= 8 for number in written)
    assert float(row[7]) == round(float(row[4]) * float(row[5]), 8)


async def test_candles_of_bybit_are_those_of_linear_markets_where_no_category_is_told() -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1", "limit": "2"}
    plain = await told(f"{BYBIT}/kline", **asked)
    assert plain["result"]["category"] == "linear"
    assert plain == await told(f"{BYBIT}/kline", **asked, category="linear")
    assert (
        plain["result"]["list"] != (await told(f"{BYBIT}/kline", **asked, category="spot"))["result"]["list"]
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("kline", {"category": "nope", "symbol": "BTCUSDT", "interval": "1"}),
        ("kline", {"category": "inverse", "symbol": "BTCUSDT", "interval": "1"}),
        ("recent-trade", {"symbol": "BTCUSDT"}),
        ("instruments-info", {}),
        ("instruments-info", {"category": "Spot"}),
        ("instruments-info", {"category": "linear", "symbol": "NOPE"}),
        ("instruments-info", {"category": "linear", "cursor": "NOPE"}),
    ],
)
async def test_bybit_refuses_what_it_has_not(path: str, query: dict[str, str]) -> None:
    assert fault(await told(f"{BYBIT}/{path}", **query)) == (200, "10001")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"category": "linear"}, ["ETHUSDT", "BTCUSDT", "BTCUSDT-26DEC25"]),
        ({"category": "linear", "baseCoin": "BTC"}, ["BTCUSDT", "BTCUSDT-26DEC25"]),
        ({"category": "linear", "status": "PreLaunch"}, []),
        ({"category": "linear", "symbol": "ETHUSDT"}, ["ETHUSDT"]),
        ({"category": "inverse"}, []),
        ({"category": "spot", "symbol": "NOPE"}, []),
        ({"category": "spot", "limit": "1"}, ["BTCUSDT", "BTCUSD", "ADABTC"]),
    ],
)
async def test_bybit_lists_the_markets_that_are_asked_for(query: dict[str, str], found: list[str]) -> None:
    answer = await told(f"{BYBIT}/instruments-info", **query)
    assert [item["symbol"] for item in answer["result"]["list"]] == found
    assert answer["result"]["nextPageCursor"] == ""


@pytest.mark.parametrize("size", [1, 2, 3, 4])
async def test_pages_of_bybits_list_lead_through_all_of_it(size: int) -> None:
    whole = (await told(f"{BYBIT}/instruments-info", category="linear"))["result"]["list"]
    found, cursor = [], ""
    for _ in range(-(-len(whole) // size)):
        asked = {"category": "linear", "limit": str(size), "cursor": cursor}
        result = (await told(f"{BYBIT}/instruments-info", **asked))["result"]
        assert len(result["list"]) <= size
        found += result["list"]
        cursor = result["nextPageCursor"]
    assert found == whole and cursor == ""


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("market/candles", {}, (400, "50014")),
        ("market/candles", {"instId": "NOPE"}, (200, "51001")),
        ("market/candles", {"instId": "BTC-USDT", "bar": "7m"}, (400, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "bar": "1D"}, (400, "51000")),
        ("market/history-candles", {"instId": "BTC-USDT", "after": "soon"}, (400, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "before": "1e5"}, (400, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "limit": "many"}, (400, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "limit": "9" * 40}, (400, "51000")),
        ("market/trades", {}, (400, "50014")),
        ("public/instruments", {}, (400, "50014")),
        ("public/instruments", {"instType": "spot"}, (400, "51000")),
        ("public/instruments", {"instType": "SPOT", "instId": "NOPE"}, (200, "51001")),
    ],
)
async def test_okx_says_what_is_wrong(path: str, query: dict[str, str], expected: tuple[int, str]) -> None:
    assert fault(await told(f"{OKX}/{path}", **query)) == expected


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"instType": "SPOT"}, ["BTC-USDT", "BTC-USD", "ADA-BTC"]),
        ({"instType": "SWAP", "instFamily": "ETH-USDT"}, ["ETH-USDT-SWAP"]),
        ({"instType": "SWAP", "uly": "BTC-USDT"}, ["BTC-USDT-SWAP"]),
        ({"instType": "SPOT", "instId": "BTC-USDT"}, ["BTC-USDT"]),
        ({"instType": "OPTION"}, []),
    ],
)
async def test_okx_lists_the_markets_that_are_asked_for(query: dict[str, str], found: list[str]) -> None:
    assert [item["instId"] for item in (await told(f"{OKX}/public/instruments", **query))["data"]] == found


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("BTCUSD", "BTCUSD"),
        ("BTC/USD", "BTCUSD"),
        ("XBTUSD", "XXBTZUSD"),
        ("XBT/USD", "XXBTZUSD"),
        ("XXBTZUSD", "XXBTZUSD"),
        ("ADABTC", "ADABTC"),
        ("ADAXBT", "ADAXBT"),
        ("XBTUSDT", "XBTUSDT"),
    ],
)
async def test_kraken_knows_the_old_names_of_markets(asked: str, key: str) -> None:
    answer = await told(f"{KRAKEN}/OHLC", pair=asked, interval="60")
    assert list(answer["result"]) == [key, "last"] and len(answer["result"][key]) == 720
    assert list((await told(f"{KRAKEN}/AssetPairs", pair=asked))["result"]) == [key]


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        ("OHLC", {}, "EGeneral:Invalid arguments"),
        ("OHLC", {"pair": "NOPE"}, "EQuery:Unknown asset pair"),
        ("OHLC", {"pair": "BTCUSD", "asset_class": "tokenized_asset"}, "EQuery:Unknown asset pair"),
        ("OHLC", {"pair": "BTCUSD", "interval": "360"}, "EGeneral:Invalid arguments"),
        ("Trades", {}, "EGeneral:Invalid arguments"),
        ("AssetPairs", {"pair": "BTCUSD,NOPE"}, "EQuery:Unknown asset pair"),
        ("Assets", {"asset": "XXBT,NOPE"}, "EQuery:Unknown asset"),
    ],
)
async def test_kraken_says_what_is_wrong(path: str, query: dict[str, str], error: str) -> None:
    assert fault(await told(f"{KRAKEN}/{path}", **query)) == (200, error)


async def test_kraken_lists_what_is_asked_for_at_its_clock() -> None:
    assert list((await told(f"{KRAKEN}/Assets", asset="XXBT,ZUSD,ADA"))["result"]) == ["XXBT", "ZUSD", "ADA"]
    assert list((await told(f"{KRAKEN}/AssetPairs"))["result"]) == ["BTCUSDT", "BTCUSD", "ADABTC"]
    with pytest.raises(NotServed):
        await told(f"{KRAKEN}/AssetPairs", info="fees")
    clock = (await told(f"{KRAKEN}/Time"))["result"]
    assert clock == {"unixtime": NOW, "rfc1123": "Sat, 11 Jan 25 00:00:30 +0000"}
    assert (await told(f"{KRAKEN}/SystemStatus"))["result"]["timestamp"] == "2025-01-11T00:00:30Z"


async def test_a_client_of_kraken_that_asks_from_the_last_on_has_each_candle_as_it_closed() -> None:
    first = (await told(f"{KRAKEN}/OHLC", pair="BTCUSD"))["result"]
    # The newest one forms, and `since` is exclusive.
    assert first["BTCUSD"][-1][0] == NOW // 60 * 60
    assert first["last"] == first["BTCUSD"][-2][0] == NOW // 60 * 60 - 60
    again = (await told(f"{KRAKEN}/OHLC", pair="BTCUSD", since=str(first["last"])))["result"]
    assert again["BTCUSD"] == first["BTCUSD"][-1:] and again["last"] == first["last"]
    since = str(first["BTCUSD"][-5][0] - 1)
    more = (await told(f"{KRAKEN}/OHLC", pair="BTCUSD", since=since))["result"]
    assert more["BTCUSD"] == first["BTCUSD"][-5:] and more["last"] == first["last"]
    none = (await told(f"{KRAKEN}/OHLC", pair="BTCUSD", since=str(NOW + 600)))["result"]
    assert none == {"BTCUSD": [], "last": NOW + 600}


async def test_coinbase_tells_its_clock_in_both_forms() -> None:
    assert await told("/api/v3/brokerage/time") == {
        "iso": "2025-01-11T00:00:30.000000Z",
        "epochSeconds": str(NOW),
        "epochMillis": f"{NOW}000",
    }
    assert await told("/v2/time") == {"data": {"iso": "2025-01-11T00:00:30Z", "epoch": NOW}}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["BTC-USDT", "BTC-USD", "ADA-BTC"]),
        ({"limit": "2"}, ["BTC-USDT", "BTC-USD"]),
        ({"limit": "2", "offset": "2"}, ["ADA-BTC"]),
        ({"offset": "9"}, []),
        ({"product_ids": "BTC-USD"}, ["BTC-USD"]),
        ({"product_ids": "NOPE"}, []),
        ({"product_type": "FUTURE"}, []),
    ],
)
async def test_coinbase_lists_the_products_that_are_asked_for(
    query: dict[str, str], found: list[str]
) -> None:
    answer = await told(PRODUCTS, **query)
    assert [item["product_id"] for item in answer["products"]] == found
    assert answer["num_products"] == len(found)


async def test_coinbase_tells_of_one_product_and_of_so_many_candles() -> None:
    assert (await told(f"{PRODUCTS}/{{product}}", product="BTC-USD"))["product_id"] == "BTC-USD"
    assert fault(await told(f"{PRODUCTS}/{{product}}", product="NOPE")) == (404, "NOT_FOUND")
    asked = {"product": "BTC-USD", "granularity": "ONE_MINUTE", "start": str(NOW - 600), "end": str(NOW)}
    whole = (await told(f"{PRODUCTS}/{{product}}/candles", **asked))["candles"]
    assert len(whole) == 10
    assert (await told(f"{PRODUCTS}/{{product}}/candles", **asked, limit="3"))["candles"] == whole[:3]
    assert fault(await told(PRODUCTS, limit="-1")) == (400, "INVALID_ARGUMENT")


FAR = ["0", "-1", "1", "253402300800000", "9" * 15, "9" * 18]


@pytest.mark.parametrize("at", FAR)
@pytest.mark.parametrize("frame", ["1", "W", "M"])
async def test_bounds_far_away_are_answered_or_refused(at: str, frame: str) -> None:
    names = {"1": ("1m", "1m"), "W": ("1w", "1Wutc"), "M": ("1M", "1Mutc")}
    for begin, end in ((at, ""), ("", at), (at, at)):
        bounds = {"start": begin, "end": end}
        pages = {
            f"{BYBIT}/kline": {"symbol": "BTCUSDT", "interval": frame, **bounds},
            f"{OKX}/market/history-candles": {"instId": "BTC-USDT", "bar": names[frame][1]}
            | {"before": begin, "after": end},
            f"{SPOT}/klines": {"symbol": "BTCUSDT", "interval": names[frame][0]}
            | {"startTime": begin, "endTime": end},
            f"{KRAKEN}/OHLC": {"pair": "BTCUSD", "since": begin},
            f"{PRODUCTS}/{{product}}/candles": {"product": "BTC-USD", "granularity": "ONE_DAY", **bounds},
        }
        for path, query in pages.items():
            # No calendar knows some of the months.
            with suppress(InvalidInput):
                await told(path, **query, **({} if path.startswith(KRAKEN) else {"limit": "1"}))


@pytest.mark.parametrize("odd", ["1_0", " 5", "5 ", "\uff15", "0x5", "nan", "inf", "-", ".", "1e", "9" * 40])
async def test_what_python_alone_takes_for_a_number_is_none(odd: str) -> None:
    query = {"category": "spot", "symbol": "BTCUSDT", "interval": "1", "limit": odd}
    with pytest.raises(InvalidInput, match="limit is"):
        await told(f"{BYBIT}/kline", **query)


@pytest.mark.parametrize(("name", "in_base"), [("BTC-USDT", False), ("BTC-USDT-SWAP", True)])
async def test_okx_counts_in_its_currency_the_quote_of_spot_and_the_base_of_swaps(
    name: str, in_base: bool
) -> None:
    rows = (await told(f"{OKX}/market/candles", instId=name))["data"]
    assert rows
    for _, _, _, _, close, volume, currency, quote, _ in rows:
        if in_base:
            # Contracts of a hundred.
            assert float(volume) == round(float(currency) / 100, 8)
            assert float(quote) == float(currency) * float(close)
        else:
            assert currency == quote and float(quote) == float(volume) * float(close)
