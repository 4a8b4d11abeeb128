"""How an exchange is reached: through proxies, with keys, on its test network; and what is never shown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from quirks.conftest import NOW, Stage
from support.proxies import proxy

import seamless_assets as sa
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.sandbox.server import Sandbox

DAY = 86_400
NODE = "ohlcv:binance:BTC/USDT:1m"
ACCOUNT = "trader:Pa55-w0rd"
ONCE = {"backfill": {"retry_backoff_ms": 1, "max_attempts": 1}}
Staged = Callable[..., Stage]
SettingsFor = Callable[..., Settings]


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("account", ["", ACCOUNT])
def test_every_request_goes_through_the_proxy(staged: Staged, scheme: str, account: str) -> None:
    with proxy(account) as way:
        stage = staged({"binance": ["BTC/USDT"]}, per_exchange={"proxy": way.url(scheme)})
        report = stage.backfill(NODE, NOW - DAY, NOW)
        assert (report.problems, report.coverage.missing) == ((), 0)
        assert set(way.asked) == {urlsplit(stage.exchange.url).netloc}
        if scheme == "http":
            assert len(way.heads) == len(stage.exchange.requests)
        stage.pipeline.close()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_refuses_is_named_and_its_password_is_not(
    staged: Staged, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with proxy("another:account") as way:
        address = way.url(scheme).replace("another:account", ACCOUNT)
        stage = staged({"binance": ["BTC/USDT"]}, per_exchange={"proxy": address}, seamless=ONCE)
        report = stage.backfill(NODE, NOW - DAY, NOW)
        stage.pipeline.close()
    assert report.coverage.missing == 1440 and not stage.exchange.requests
    assert "Proxy" in report.problems[0]
    password = ACCOUNT.partition(":")[2]
    assert password not in repr(report) and password not in caplog.text


def test_keys_go_to_the_exchange_and_nowhere_else(
    tmp_path: Path, exchange: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = {"ALPACA_KEY": "AK-31415926", "ALPACA_SECRET": "s3cret-27182818"}
    with proxy() as way:
        declared = {
            "base_url": exchange.url,
            "symbols": ["BTC/USD"],
            "proxy": way.url(),
            "api_key": "${ALPACA_KEY}",
            "secret": "${ALPACA_SECRET}",
        }
        stores = {"artifact": {"object_store_uri": "./artifacts"}, "state_dir": "./state", **ONCE}
        settings = settings_from_mapping(
            {"seamless": stores, "exchanges": {"alpaca": declared}}, base=tmp_path, environ=keys
        )
        with sa.connect(settings) as s:
            report = s.backfill("ohlcv:alpaca:BTC/USD:1h", NOW - DAY, NOW)
            assert not [key for key in keys.values() if key in repr(s.settings)]
        signed = [head for head in way.heads if all(key in head for key in keys.values())]
    assert signed == way.heads != []
    assert not [key for key in keys.values() if key in repr(report) or key in caplog.text]


@pytest.mark.parametrize(("is_test", "host"), [(True, "testnet.binance.vision"), (False, "api.binance.com")])
def test_the_test_network_is_another_place(settings_for: SettingsFor, is_test: bool, host: str) -> None:
    with proxy() as way:
        declared = {"symbols": ["BTC/USDT"], "proxy": way.url(), "sandbox": is_test}
        with sa.connect(settings_for({"binance": declared}, **ONCE)) as s:
            report = s.backfill(NODE, NOW - DAY, NOW)
        assert report.problems and report.coverage.missing == 1440
        assert f"{host}:443" in way.asked
        assert all(("testnet" in place) == is_test for place in way.asked)


def test_a_test_network_has_markets_and_learned_pages_of_its_own(staged: Staged) -> None:
    """What is remembered of the one is never taken for the other."""
    stage = staged({"binance": ["BTC/USDT"]})
    stage.backfill(NODE, NOW - DAY, NOW)
    asked = stage.asked("exchangeInfo")
    stage.pipeline.close()
    declared = stage.pipeline.settings.exchanges["binance"].model_copy(update={"sandbox": True})
    again = stage.pipeline.settings.model_copy(update={"exchanges": {"binance": declared}})
    with sa.connect(again) as s:
        s.backfill(NODE, NOW - 2 * DAY, NOW)
    assert stage.asked("exchangeInfo") > asked
