"""What the venues' own lists say of markets goes before what is made here of a market's name."""

from __future__ import annotations

from typing import Any

import pytest
from dialects.test_parameters import DATA, NOW

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.base import Refusal
from seamless_assets.dialects.bybit import market_name
from seamless_assets.dialects.streams.base import Candle, Topic, Update
from seamless_assets.dialects.venues import VENUES
from seamless_assets.sandbox.book_data import BookData
from seamless_assets.sandbox.market import Market

PERPETUAL, MINUTE = "BTC/USDT:USDT", Timeframe("1m")
OLD = Listing(
    "XXBTZUSD",
    {"altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD", "pair_decimals": 1}
    | {"lot_decimals": 8, "status": "online"},
    {"XXBT": {"altname": "XBT", "decimals": 10}, "ZUSD": {"altname": "USD", "decimals": 4}},
)
SPOT = Listing(
    "BTCUSDT",
    {"symbol": "BTCUSDT", "status": "TRADING", "permissions": [], "permissionSets": [["SPOT", "TRD_GRP_4"]]},
)
SWAP = Listing(
    "BTC-USDT-SWAP", {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ctVal": "0.01", "ctMult": "1"}
)
OTHER = Listing("1BTCUSDT", {"symbol": "1BTCUSDT", "status": "Trading", "baseCoin": "1BTC"})


class Told(BookData):
    """The data of a venue that says these things of its markets."""

    def __init__(self, **listings: Listing) -> None:
        super().__init__(DATA._book)
        self._said = {name.replace("_", "/").replace("/S", ":USDT"): one for name, one in listings.items()}
        self.looks = 0

    async def listings(self) -> Any:
        return {symbol: self._said.get(symbol) for symbol in self.markets}

    async def listings_at_hand(self) -> Any:
        self.looks += 1
        return self._said

    def known(self, symbol: str) -> Any:
        return self._said.get(symbol)


async def asked(data: BookData, venue: str, path: str, **query: str) -> Any:
    handlers = {route.path: route.handler for route in VENUES[venue].routes(data)}
    return await handlers[path](query)


@pytest.mark.parametrize("name", ["XBTUSD", "XXBTZUSD", "XBT/USD"])
async def test_pairs_of_kraken_answer_under_the_name_that_its_list_has(name: str) -> None:
    data = Told(BTC_USD=OLD)
    answer = (await asked(data, "kraken", "/0/public/OHLC", pair=name, since=str(NOW - 300)))["result"]
    assert list(answer) == ["XXBTZUSD", "last"]
    assert (await asked(data, "kraken", "/0/public/AssetPairs", pair=name))["result"] == {
        "XXBTZUSD": OLD.entry
    }


@pytest.mark.parametrize("name", ["XADA", "ADAX", "ADA/X"])
async def test_kraken_knows_every_name_that_its_list_has_of_a_pair(name: str) -> None:
    said = Listing("XADA", {"altname": "ADAX", "wsname": "ADA/X", "pair_decimals": 8, "lot_decimals": 8})
    answer = await asked(Told(ADA_BTC=said), "kraken", "/0/public/OHLC", pair=name, since=str(NOW - 300))
    assert list(answer["result"]) == ["XADA", "last"]


async def test_assets_of_kraken_are_those_of_its_list() -> None:
    data = Told(BTC_USD=OLD)
    assets = (await asked(data, "kraken", "/0/public/Assets"))["result"]
    assert {name: assets[name] for name in OLD.assets} == OLD.assets and "ADA" in assets
    short = (await asked(data, "kraken", "/0/public/Assets", asset="XBT,ADA"))["result"]
    assert list(short) == ["XXBT", "ADA"]


async def test_what_the_list_of_kraken_says_of_an_asset_goes_before_what_is_made_for_another_pair() -> None:
    said = {"ADA": {"altname": "ADA", "decimals": 9}, "BTC": {"altname": "BTC", "decimals": 7}}
    data = Told(ADA_BTC=Listing("ADABTC", {"altname": "ADABTC"}, said))
    assert "BTC/USD" in data.markets, "a pair of which the list says nothing"
    for query in ({}, {"asset": "ADA,BTC"}):
        assets = (await asked(data, "kraken", "/0/public/Assets", **query))["result"]
        assert {name: assets[name] for name in said} == said


async def test_a_page_of_kraken_looks_at_the_list_as_often_as_it_reads_it_however_many_pairs_there_are() -> (
    None
):
    data = Told(BTC_USD=OLD)
    await asked(data, "kraken", "/0/public/OHLC", pair="XBTUSD", since=str(NOW - 300))
    assert data.looks == len(["its name", "its decimals"]) < len(data.markets)


@pytest.mark.parametrize(
    ("query", "is_listed"),
    [
        ({}, True),
        ({"permissions": "SPOT"}, True),
        ({"permissions": "TRD_GRP_4"}, True),
        ({"permissions": '["MARGIN","TRD_GRP_5"]'}, False),
        ({"permissions": "MARGIN"}, False),
        ({"symbolStatus": "HALT"}, False),
    ],
)
async def test_permissions_of_binance_are_told_in_sets(query: dict[str, str], is_listed: bool) -> None:
    info = await asked(Told(BTC_USDT=SPOT), "binance", "/api/v3/exchangeInfo", **query)
    found = [item for item in info["symbols"] if item["symbol"] == "BTCUSDT"]
    assert found == ([SPOT.entry] if is_listed else [])


async def test_sets_of_permissions_are_left_out_where_that_is_asked_for() -> None:
    query = {"showPermissionSets": "false", "permissions": "SPOT"}
    info = await asked(Told(BTC_USDT=SPOT), "binance", "/api/v3/exchangeInfo", **query)
    assert all("permissionSets" not in item for item in info["symbols"])


@pytest.mark.parametrize(
    ("size", "multiplier", "contracts"), [("0.01", "1", 100.0), ("", "", 1.0), ("0", "1", 1.0)]
)
async def test_contracts_of_okx_are_of_the_size_that_its_list_says(
    size: str, multiplier: str, contracts: float
) -> None:
    said = Listing(SWAP.name, {**SWAP.entry, "ctVal": size, "ctMult": multiplier})
    answer = await asked(Told(BTC_USDT_S=said), "okx", "/api/v5/market/candles", instId=SWAP.name, limit="3")
    assert answer["data"]
    for row in answer["data"]:
        assert float(row[5]) == round(float(row[6]) * contracts, 8)


async def test_a_market_is_found_by_the_name_that_the_list_has() -> None:
    data, query = Told(BTC_USDT=OTHER), {"category": "spot", "interval": "1", "limit": "2"}
    for name in ("1BTCUSDT", "BTCUSDT"):
        answer = await asked(data, "bybit", "/v5/market/kline", symbol=name, **query)
        assert answer["result"]["symbol"] == name and len(answer["result"]["list"]) == 2
    with pytest.raises(Refusal):
        await asked(data, "bybit", "/v5/market/kline", symbol="2BTCUSDT", **query)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BTC/USDC:USDC", "BTCPERP"),
        ("BTC/USDC:USDC-251226", "BTC-26DEC25"),
        ("BTC/USDC", "BTCUSDC"),
        ("BTC/USDT:USDT", "BTCUSDT"),
        ("BTC/USDT:USDT-251226", "BTCUSDT-26DEC25"),
    ],
)
def test_contracts_of_bybit_in_usdc_leave_it_out_of_their_names(symbol: str, name: str) -> None:
    assert market_name(Market(symbol, 1.0)) == name


def streamed(venue: str, path: str, topic: Topic, **listings: Listing) -> Any:
    """What a channel tells of a candle of a market of which the venue's list says these things."""
    (route,) = [route for route in VENUES[venue].streams(Told(**listings)) if route.path == path]
    candle = Candle(NOW - 90, NOW - 30, 7.5, 8.0, 7.25, 7.5, 2.5, 3, is_closed=True)
    return route.open({}).encode(Update(topic, NOW, (candle,)))


@pytest.mark.parametrize(("size", "contracts"), [("0.01", "250"), ("100", "0.025")])
def test_channels_of_okx_count_contracts_of_the_size_that_its_list_says(size: str, contracts: str) -> None:
    said, topic = (
        Listing(SWAP.name, {**SWAP.entry, "ctVal": size}),
        Topic(f"candle1m:{SWAP.name}", PERPETUAL, MINUTE),
    )
    (row,) = streamed("okx", "/ws/v5/business", topic, BTC_USDT_S=said)["data"]
    assert row[5:7] == [contracts, "2.5"]


def test_channels_of_binance_write_the_decimals_of_the_list_of_contracts() -> None:
    said = Listing("BTCUSDT", {"symbol": "BTCUSDT", "pricePrecision": 2, "quantityPrecision": 3})
    topic = Topic("btcusdt@kline_1m", PERPETUAL, MINUTE)
    told = streamed("binance", "/market/ws", topic, BTC_USDT_S=said)["k"]
    assert [told[name] for name in "ohlcvq"] == ["7.50", "8.00", "7.25", "7.50", "2.500", "18.75000"]
