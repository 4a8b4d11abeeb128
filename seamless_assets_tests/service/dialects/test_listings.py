"""Lists of markets are the exchange's own: field for field, after a restart, and as they were known then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import ccxt
import httpx
import pytest
from service.dialects.conftest import NOW
from support.dialects import Rig, client, running

from seamless_assets.adapters.ccxt import memory, source
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app
from seamless_assets.service.dialects import listings
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.testing import DAY, START

SYMBOLS = {
    "binance": ("BTC/USDT", "ADA/BTC", "SOL/USDT:USDT"),
    "bybit": ("ETH/USDT", "XRP/ETH", "BTC/USDT:USDT"),
    "coinbase": ("ADA/BTC", "ETH/EUR"),
    "kraken": ("ADA/BTC", "SOL/EUR"),
    "okx": ("ADA/BTC", "BTC/USDT:USDT", "ETH/USDT:USDT"),
}
OF_NOW = {"price"}
"""What a product of coinbase says of trading just now."""
DAY_BEFORE = "2025-01-10"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    made = Sandbox(now=NOW)
    with made.running():
        yield made


@pytest.fixture(scope="module")
def lists(exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("lists")
    with running(folder, exchange, SYMBOLS, DAY_BEFORE, ("1h",)) as rig:
        yield rig


def listed(name: str, url: str, prefix: str = "") -> dict[str, Any]:
    """What ccxt makes of a list of markets."""
    return dict(client(name, url, prefix, ccxt).load_markets())


def terms(market: dict[str, Any]) -> dict[str, Any]:
    """A market but for what was traded of it just now."""
    info = {key: value for key, value in market["info"].items() if key not in OF_NOW}
    return {**market, "info": info}


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_markets_are_those_of_the_exchange_field_for_field(lists: Rig, name: str) -> None:
    theirs, ours = listed(name, lists.exchange.url), listed(name, lists.url, f"/{name}")
    assert set(ours) == set(SYMBOLS[name])
    assert {symbol: terms(ours[symbol]) for symbol in ours} == {
        symbol: terms(theirs[symbol]) for symbol in ours
    }
    steps = {(market["precision"]["price"], market["contractSize"]) for market in ours.values()}
    assert len(steps) == len(ours), "no two of these are alike"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("binance", "/fapi/v1/klines?symbol=SOLUSDT&interval=1h&limit=3"),
        ("kraken", "/0/public/OHLC?pair=SOLEUR&interval=60"),
        ("okx", "/api/v5/market/candles?instId=ETH-USDT-SWAP&bar=1H&limit=3"),
    ],
)
def test_numbers_of_candles_are_written_as_the_list_says(lists: Rig, name: str, path: str) -> None:
    listed(name, lists.url, f"/{name}")

    def rows(url: str) -> dict[int, list[str]]:
        answer = httpx.get(url).json()
        found = answer.get("data") or answer["result"]["SOLEUR"] if isinstance(answer, dict) else answer
        return {int(row[0]): [value for value in row[1:] if isinstance(value, str)] for row in found}

    theirs, ours = rows(f"{lists.exchange.url}{path}"), rows(f"{lists.url}/{name}{path}")
    both = theirs.keys() & ours.keys()
    assert len(both) >= 2 and {at: ours[at] for at in both} == {at: theirs[at] for at in both}


def test_lists_outlive_the_service_and_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Sandbox(now=NOW)

    def service(folder: Path) -> Any:
        return running(folder, exchange, SYMBOLS, DAY_BEFORE, ("1h",))

    with exchange.running():
        with service(tmp_path) as rig:
            before = {name: listed(name, rig.url, f"/{name}") for name in SYMBOLS}
        exchange.faults.add(Fault("status", times=None, code=503))
        monkeypatch.setattr(source, "LISTINGS_AGE_S", 0.0)
        with service(tmp_path) as rig:
            assert {name: listed(name, rig.url, f"/{name}") for name in SYMBOLS} == before
        # Of one that was never heard nothing is told.
        with service(tmp_path / "new") as rig:
            for name in SYMBOLS:
                with pytest.raises(ccxt.OperationFailed, match="no market list"):
                    listed(name, rig.url, f"/{name}")


def test_a_world_of_the_past_has_the_list_of_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LISTINGS_AGE_S", 0.0)
    monkeypatch.setattr(memory, "LISTINGS_APART_S", 0.0)
    symbol, exchange = "BTC/USDT:USDT", Sandbox(now=NOW)
    with ExitStack() as stack:
        with exchange.running():
            rig = stack.enter_context(running(tmp_path, exchange, {"okx": (symbol,)}, DAY_BEFORE, ("1h",)))
            node = f"ohlcv:okx:{symbol}:1h"
            rig.pipeline.materialize(node, START + 9 * DAY, START + 10 * DAY)
            as_of = rig.pipeline.releases(node)[-1].as_of
            before = listed("okx", rig.url, "/okx")
        stack.enter_context(Sandbox(port=exchange.port, now=NOW, markets=[Market(symbol, 600.0)]).running())
        after = listed("okx", rig.url, "/okx")
        assert after == listed("okx", exchange.url) and after != before
        assert (before[symbol]["contractSize"], after[symbol]["contractSize"]) == (0.01, 1.0)
        assert listed("okx", rig.url, f"/as-of/{as_of}/okx") == before


def test_contracts_of_candles_are_those_of_the_list_that_is_told_though_one_was_kept_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTINGS_AGE_S", 0.0)
    monkeypatch.setattr(listings, "KEPT_S", 0.0)
    symbol, exchange = "BTC/USDT:USDT", Sandbox(now=NOW)
    with ExitStack() as stack:
        with exchange.running():
            rig = stack.enter_context(running(tmp_path, exchange, {"okx": (symbol,)}, DAY_BEFORE, ("1h",)))
            assert listed("okx", rig.url, "/okx")[symbol]["contractSize"] == 0.01
        stack.enter_context(Sandbox(port=exchange.port, now=NOW, markets=[Market(symbol, 600.0)]).running())
        assert listed("okx", rig.url, "/okx")[symbol]["contractSize"] == 1.0
        query = {"instId": "BTC-USDT-SWAP", "bar": "1H", "limit": "1"}
        (row,) = httpx.get(f"{rig.url}/okx/api/v5/market/candles", params=query).json()["data"]
        assert row[5] == row[6]


def test_derived_nodes_of_a_venue_that_is_not_in_the_settings_have_candles_and_a_list(
    exchange: Sandbox, tmp_path: Path
) -> None:
    leg, node = "ohlcv:bybit:BTC/USDT:1h", "ohlcv:binance:XYZ/USDT:1h"
    made = {"node": node, "synthetic": {"legs": {leg: 1.0}}}
    declared = {"bybit": ("BTC/USDT",)}
    with running(tmp_path, exchange, declared, DAY_BEFORE, ("1h",), derived=(made,)) as rig:
        for one in (leg, node):
            rig.pipeline.materialize(one, START + 9 * DAY, START + 10 * DAY)
        world = f"/as-of/{rig.pipeline.releases(node)[-1].as_of}"
        query = {"symbol": "XYZUSDT", "interval": "1h", "limit": "2"}
        rows = httpx.get(f"{rig.url}{world}/binance/api/v3/klines", params=query).json()
        assert len(rows) == 2
        for prefix in ("", world):
            told = httpx.get(f"{rig.url}{prefix}/binance/api/v3/exchangeInfo").json()
            assert [item["symbol"] for item in told["symbols"]] == ["XYZUSDT"]


async def test_a_service_that_ends_closes_what_it_knows_of_each_venue(
    lists: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[DeclaredData] = []

    async def noted(data: DeclaredData) -> None:
        closed.append(data)

    async def scrape() -> str:
        return ""

    monkeypatch.setattr(DeclaredData, "close", noted)
    app = service_app(lists.pipeline, MachineLeases(tmp_path / "leases.sqlite"), scrape)
    async with app.router.lifespan_context(app):
        assert closed == []
    assert len(closed) == len(SYMBOLS)


def test_markets_that_are_gone_from_the_list_are_no_longer_traded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTINGS_AGE_S", 0.0)
    exchange, own = Sandbox(now=NOW), {name: symbols[:1] for name, symbols in SYMBOLS.items()}
    with exchange.running(), running(tmp_path, exchange, own, DAY_BEFORE, ("1h",)) as rig:
        before = {name: listed(name, rig.url, f"/{name}")[symbol] for name, (symbol,) in own.items()}
        markets = exchange.book.markets
        for (symbol,) in own.values():
            markets[symbol] = replace(markets[symbol], delisted=NOW - 60, afterwards="unlisted")
        for name, (symbol,) in own.items():
            after = listed(name, rig.url, f"/{name}")[symbol]
            assert before[name]["active"] and not after["active"]
            assert {**after, "active": True, "info": None} == {**before[name], "info": None}
