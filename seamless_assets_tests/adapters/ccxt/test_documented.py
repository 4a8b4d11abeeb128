"""What is told of an exchange by ccxt's source is what ccxt tells of it."""

from __future__ import annotations

import ccxt.async_support as ccxt

from seamless_assets.adapters.ccxt.documented.timeframes import documented_timeframes


def test_the_timeframes_of_every_exchange_are_those_of_its_client() -> None:
    for exchange in ccxt.exchanges:
        served = getattr(ccxt, exchange)({}).timeframes or {}
        assert set(documented_timeframes(exchange) or ()) == set(served), exchange
        assert documented_timeframes(exchange) is not None


def test_what_ccxt_does_not_have_is_not_told() -> None:
    assert documented_timeframes("nowhere") is None
