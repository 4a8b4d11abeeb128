"""Bodies that are no object and no list: whatever is JSON is an answer, all else is none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import ccxt.async_support as ccxt
import pytest
from quirks.conftest import NOW

import seamless_assets as sa
from seamless_assets.adapters.ccxt.answers import Answer, answers
from seamless_assets.adapters.ccxt.client import _Watched
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

SOL = {
    "symbol": "SOL_USDC",
    "baseSymbol": "SOL",
    "quoteSymbol": "USDC",
    "marketType": "SPOT",
    "orderBookState": "Open",
    "createdAt": "2025-01-21T06:34:54.691858",
    "filters": {
        "price": {"minPrice": "0.01", "tickSize": "0.01"},
        "quantity": {"minQuantity": "0.01", "stepSize": "0.01"},
    },
}


def test_a_bare_number_is_an_answer(exchange: Sandbox, settings_for: Callable[..., Settings]) -> None:
    """backpack tells its clock so; ccxt then takes ours."""
    exchange.faults.add(Fault("json", path="/api/v1/markets", body=[SOL], times=None))
    exchange.faults.add(Fault("json", path="/api/v1/time", body=NOW * 1000, times=None))
    exchange.faults.add(Fault("json", path="/api/v1/", body=[], times=None))
    declared = {"backpack": {"base_url": exchange.url, "symbols": ["SOL/USDC"]}}
    with sa.connect(settings_for(declared)) as s:
        clock = s.aio.portal.run(s.aio.ports.source.exchange_now("backpack"))
    assert abs(clock - time.time()) < 600


@pytest.mark.parametrize(
    ("body", "is_readable"),
    [
        *((body, True) for body in ("7", "1753131712992", "-2.5e3", '"maintenance"', "true", "null", " [] ")),
        *((body, False) for body in ("", "<html>503</html>", '{"a": [1', "[1, 2", "maintenance", '"half')),
    ],
)
def test_whatever_is_json_is_readable(body: str, is_readable: bool) -> None:
    client = type("Ours", (_Watched, ccxt.binance), {})()
    token = answers.set([Answer("https://exchange/time", 200, {}, is_readable=False)])
    try:
        assert client.parse_json(body) == (json.loads(body) if is_readable else None)
        (heard,) = answers.get() or []
    finally:
        answers.reset(token)
    assert heard.is_readable is is_readable
