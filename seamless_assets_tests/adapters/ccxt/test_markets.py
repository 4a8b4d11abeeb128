"""The list of an exchange's markets, renewed for years: what was delisted is remembered, and no measure."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt.async_support as ccxt
import pytest

from seamless_assets.adapters.ccxt.client import dump_markets, new_client
from seamless_assets.adapters.ccxt.markets.lists import Markets
from seamless_assets.adapters.ccxt.markets.types import FETCHING, TYPES, MarketTypes
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import ExchangeUnavailable


class Client:
    """As much of a ccxt client as a market list needs; `listed` is what the exchange lists."""

    def __init__(self) -> None:
        self.id, self.options = "deribit", dict[str, Any]()
        self.markets, self.markets_by_id, self.gone = (
            dict[str, Any](),
            dict[str, list[Any]](),
            dict[str, Any](),
        )
        self.listed: list[str] = []
        self.currencies = dict[str, Any]()

    async def load_markets(self, reload: bool = False) -> None:
        assert reload
        self.set_markets([{"symbol": symbol, "id": symbol, "active": True} for symbol in self.listed])

    def set_markets(self, markets: list[Any], _: Any = None) -> None:
        self.markets = {market["symbol"]: market for market in markets}
        self.markets_by_id = {market["id"]: [market] for market in markets}


class Memory:
    async def load_markets(self, _: str) -> None:
        return None

    async def markets_loaded_at(self, _: str) -> None:
        return None

    async def store_markets(self, _: str, __: Any) -> None: ...

    async def take_turn(self, _: str, __: float, ___: int) -> bool:
        return True

    async def end_turn(self, _: str, __: int) -> None: ...


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def markets(client: Client) -> Markets:
    memory: Any = Memory()
    return Markets(client, memory, "deribit", ())


async def test_a_list_is_believed_however_many_markets_were_delisted_before(
    client: Client, markets: Markets
) -> None:
    # Options expire every day: a fifth goes, as many come.
    for day in range(40):
        client.listed = [f"OPTION-{number}" for number in range(20 * day, 20 * day + 100)]
        await markets.renew(-1.0)
        assert {symbol for symbol, market in client.markets.items() if market["active"]} == {*client.listed}
    assert "OPTION-0" in client.markets and not client.markets["OPTION-0"]["active"]


async def test_a_list_that_lost_most_of_its_markets_at_once_is_not_believed(
    client: Client, markets: Markets
) -> None:
    for day in range(10):
        client.listed = [f"OPTION-{number}" for number in range(20 * day, 20 * day + 100)]
        await markets.renew(-1.0)
    whole = dict(client.markets)
    for remnant in ([], client.listed[:49]):
        client.listed = remnant
        with pytest.raises(ExchangeUnavailable, match="not believed"):
            await markets.renew(-1.0)
        assert client.markets == whole


BTC = {
    "symbol": "BTC/USD",
    "id": "XXBTZUSD",
    "base": "BTC",
    "quote": "USD",
    "baseId": "XXBT",
    "quoteId": "ZUSD",
    "spot": True,
}


@pytest.mark.parametrize("listed", [None, []])
async def test_what_the_exchange_said_of_assets_outlives_a_renewal_that_fails(
    listed: list[Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate: Any = None
    client: Any = new_client("kraken", ClientSettings("kraken", Budget(1, 1, 1)), gate)
    memory: Any = Memory()
    said = {"BTC": {"id": "XXBT", "code": "BTC", "info": {"altname": "XBT", "decimals": 7}}}
    client.set_markets([BTC], said)
    before = dump_markets(client).assets["BTC"]

    async def fails(reload: bool) -> None:
        if listed is None:
            raise ccxt.ExchangeNotAvailable("down")
        client.set_markets(
            listed, {"BTC": {**said["BTC"], "info": {"decimals": 1}}, "ETH": {"id": "XETH", "code": "ETH"}}
        )

    monkeypatch.setattr(client, "load_markets", fails)
    with pytest.raises(ExchangeUnavailable):
        await Markets(client, memory, "kraken", ()).renew(-1.0)
    assert dump_markets(client).assets == {"BTC": before} and before["info"] == said["BTC"]["info"]
    await client.close()


LISTED = {
    "spot": ["BTC/USDT"],
    "linear": ["BTC/USDT:USDT", "BTC/USDT:USDT-251226"],
    "inverse": ["BTC/USD:BTC"],
    "option": ["BTC/USDT:USDT-251226-90000-C"],
}


class TypedClient(Client):
    """A client that lists each type of market by itself, as ccxt's of bybit does."""

    def __init__(self) -> None:
        super().__init__()
        self.options = {FETCHING: {TYPES: [*LISTED], "else": "kept"}}
        self.asked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.error: ccxt.BaseError | None = None
        self.may_answer.set()

    async def was_asked(self, times: int) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(self.asked) == times

    async def load_markets(self, reload: bool = False) -> None:
        types = self.options[FETCHING][TYPES]
        self.asked.append(types)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        self.listed = [symbol for name in types for symbol in LISTED[name]]
        await super().load_markets(reload)


def typed(*wanted: str, is_chosen: bool = False) -> tuple[TypedClient, Markets]:
    memory: Any = Memory()
    client = TypedClient()
    types = MarketTypes(client, wanted, is_chosen=is_chosen)
    return client, Markets(client, memory, "bybit", (), types)


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        (("BTC/USDT",), ["spot"]),
        (("ETH/USDT:USDT",), ["linear"]),
        (("ETH/USDC:USDC-260327", "ETH/BTC"), ["spot", "linear"]),
        (("ETH/USD:ETH",), ["inverse"]),
        (("ETH/USDT:USDT-251226-4000-P",), ["option"]),
        ((), [*LISTED]),
    ],
)
async def test_lists_are_asked_for_in_which_wanted_symbols_can_stand(
    wanted: tuple[str, ...], types: list[str]
) -> None:
    client, markets = typed(*wanted)
    await markets.load()
    assert client.asked == [types] and client.options[FETCHING]["else"] == "kept"


async def test_a_user_who_names_types_gets_those() -> None:
    client, markets = typed("BTC/USDT", is_chosen=True)
    await markets.load()
    assert client.asked == [[*LISTED]] and not await markets.widen()


async def test_what_is_listed_by_now_is_asked_for_again_and_never_taken_for_delisted() -> None:
    client, markets = typed("BTC/USDT")
    # Another process wanted more, and its list was remembered.
    client.set_markets([{"symbol": s, "id": s, "active": True} for s in ("BTC/USDT", "BTC/USDT:USDT")])
    await markets.renew(-1.0)
    assert client.asked == [["spot", "linear"]] and client.gone == {}


async def test_all_types_are_asked_for_once_where_a_symbol_stands_in_none() -> None:
    client, markets = typed("BTC/USDT")
    await markets.load()
    assert await markets.widen() and client.asked == [["spot"], [*LISTED]]
    assert set(client.markets) == {symbol for symbols in LISTED.values() for symbol in symbols}
    assert not await markets.widen()
    await markets.renew(-1.0)
    assert client.asked[2:] == [[*LISTED]]


async def test_whoever_wants_all_types_while_they_are_asked_for_waits_for_them_too() -> None:
    client, markets = typed("BTC/USDT")
    await markets.load()
    client.may_answer.clear()
    asking = [asyncio.ensure_future(markets.widen()) for _ in range(3)]
    await client.was_asked(2)
    late = asyncio.ensure_future(markets.widen())
    await asyncio.sleep(0)
    client.may_answer.set()
    assert await asyncio.gather(*asking, late) == [True] * 4
    assert client.asked == [["spot"], [*LISTED]] and not await markets.widen()


async def test_all_types_are_asked_for_again_where_that_failed_or_was_cancelled() -> None:
    client, markets = typed("BTC/USDT")
    await markets.load()
    client.error = ccxt.ExchangeNotAvailable("down")
    with pytest.raises(ExchangeUnavailable):
        await markets.widen()
    client.error = None
    client.may_answer.clear()
    asking = asyncio.ensure_future(markets.widen())
    await client.was_asked(3)
    asking.cancel()
    await asyncio.wait({asking})
    client.may_answer.set()
    # What goes on beside asks for the types that are wanted, as before.
    await markets.renew(-1.0)
    assert await markets.widen() and not await markets.widen()
    assert client.asked == [["spot"], [*LISTED], [*LISTED], ["spot"], [*LISTED]]


@pytest.mark.parametrize("exchange", ["binance", "bitget", "bybit", "deepcoin", "gate", "kucoin", "okx"])
def test_real_clients_name_types_that_are_known_here(exchange: str) -> None:
    client = getattr(ccxt, exchange)()
    every = client.options[FETCHING][TYPES]
    MarketTypes(client, ("BTC/USDT",), is_chosen=False).choose()
    assert client.options[FETCHING][TYPES] == ["spot"] and len(every) > 1
