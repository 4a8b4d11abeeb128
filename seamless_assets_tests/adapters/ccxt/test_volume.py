"""What volume counts: as far as ccxt tells, and never a guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ccxt
import pytest

import seamless_assets as sa
from seamless_assets.adapters.ccxt.documented.volume import (
    BASE_OF_CONTRACTS,
    NUMBER_OF_CONTRACTS,
    volume_unit_of,
)
from seamless_assets.config.load import Settings
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

SPOT = {"base": "BTC", "quote": "USDT", "spot": True}
LINEAR = {**SPOT, "spot": False, "swap": True, "linear": True, "contractSize": 0.01}
INVERSE = {**LINEAR, "quote": "USD", "linear": False, "inverse": True, "contractSize": 100}


@pytest.mark.parametrize(
    ("exchange", "market", "unit"),
    [
        ("kraken", SPOT, VolumeUnit("base", "BTC")),
        ("gate", SPOT, VolumeUnit("base", "BTC")),
        ("gate", LINEAR, VolumeUnit("contracts", "BTC", 0.01)),
        ("gate", INVERSE, VolumeUnit("contracts", "USD", 100.0)),
        ("gate", {**LINEAR, "contractSize": None}, None),
        ("gate", {**LINEAR, "contractSize": 0}, None),
        ("gate", {**LINEAR, "contractSize": float("nan")}, None),
        ("gate", {**LINEAR, "contractSize": float("inf")}, None),
        ("gate", {**LINEAR, "contractSize": 1}, VolumeUnit("base", "BTC")),
        ("gate", {**LINEAR, "swap": False, "future": True}, VolumeUnit("contracts", "BTC", 0.01)),
        ("gate", {**LINEAR, "swap": False, "option": True}, None),
        ("okx", LINEAR, VolumeUnit("base", "BTC")),
        ("binance", INVERSE, VolumeUnit("base", "BTC")),
        ("bitget", LINEAR, None),
        ("hyperliquid", {**LINEAR, "contractSize": 1.0}, VolumeUnit("base", "BTC")),
        ("bitget", {**INVERSE, "contractSize": 1}, None),
        ("kraken", {"spot": True}, None),
        ("kraken", {**SPOT, "base": None}, None),
    ],
)
def test_what_a_market_counts(exchange: str, market: dict[str, Any], unit: VolumeUnit | None) -> None:
    assert volume_unit_of(exchange, market) == unit


def test_the_exchanges_that_are_known_exist() -> None:
    assert set(ccxt.exchanges) >= BASE_OF_CONTRACTS | NUMBER_OF_CONTRACTS
    assert not BASE_OF_CONTRACTS & NUMBER_OF_CONTRACTS


def test_a_manifest_says_it_without_another_request(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    markets = [Market("BTC/USDT", 60_000.0), Market("BTC/USDT:USDT", 60_000.0)]
    with Sandbox(now=START + 10 * 86_400, markets=markets).running() as exchange:
        declared = settings_for({"okx": {"base_url": exchange.url, "symbols": ["BTC/USDT", "BTC/USDT:USDT"]}})
        for symbol in ("BTC/USDT", "BTC/USDT:USDT"):
            node = f"ohlcv:okx:{symbol}:1m"
            with sa.connect(declared) as s:
                s.materialize(node, "2025-01-01", "2025-01-02")
                manifest = s.manifest(node, s.releases(node)[-1].added[0])
                exchange.requests.clear()
                s.publish(node, "2025-01-02", "2025-01-03")
                assert {request.path for request in exchange.requests} <= {"/api/v5/public/time"}
            assert manifest.volume == VolumeUnit("base", "BTC")
            assert json.loads(manifest.to_json())["policy"]["volume"] == {"counts": "base", "currency": "BTC"}
