"""The list of an exchange's markets, renewed for years: what was delisted is remembered, and no measure."""

from __future__ import annotations

from typing import Any

import pytest

from seamless_assets.adapters.ccxt.markets import Markets
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

    async def load_markets(self, reload: bool = False) -> None:
        assert reload
        self.set_markets([{"symbol": symbol, "id": symbol, "active": True} for symbol in self.listed])

    def set_markets(self, markets: list[Any]) -> None:
        self.markets = {market["symbol"]: market for market in markets}
        self.markets_by_id = {market["id"]: [market] for market in markets}


class Memory:
    async def load_markets(self, _: str) -> None:
        return None

    async def store_markets(self, _: str, __: Any) -> None: ...


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
