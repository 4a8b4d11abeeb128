"""Nodes made of trades, and nodes of candles that trades repair, through real clients and recorded trades."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.errors import ConfigError, UnknownSymbol
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

HOUR = 3_600


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    def build(exchanges: dict[str, Any], derived: list[dict[str, Any]], **seamless: Any) -> Settings:
        document = {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
                "backfill": {"retry_backoff_ms": 1},
                **seamless,
            },
            "exchanges": exchanges,
            "derived": derived,
        }
        return settings_from_mapping(document, base=tmp_path, environ={})

    return build


def recorded(folder: Path) -> Replay:
    replay, name = Replay(), "binance_XRP-ETH"
    replay.add_file(f"XRP/ETH:1m={folder / name}_1m.parquet")
    replay.add_trades(f"XRP/ETH={folder / name}_trades.parquet")
    return replay


@pytest.mark.parametrize("exchange", ["binance", "kraken", "coinbase"])
def test_recorded_trades_make_the_recorded_bars(
    settings_of: Callable[..., Settings], market_data: Path, exchange: str
) -> None:
    minutes, fives = (
        pq.read_table(market_data / f"binance_XRP-ETH_{frame}.parquet") for frame in ("1m", "5m")
    )
    end = minutes["ts"][-1].as_py() // 300 * 300
    start = end - 6 * HOUR
    with Sandbox(now=end + 30 * DAY, replay=recorded(market_data)).running() as venue:
        one, five = (f"ohlcv:{exchange}:XRP/ETH:{frame}" for frame in ("1m", "5m"))
        settings = settings_of(
            {exchange: {"base_url": venue.url, "start": start}},
            [
                {"node": f"ohlcv:made:XRP/ETH:{'5m'}", "resample": one},
                {"node": one, "trades": True},
                {"node": five, "trades": True},
            ],
        )
        with sa.connect(settings) as s:
            for node, own in ((one, minutes), (five, fives)):
                filled = s.backfill(node, start, end)
                assert (filled.coverage.missing, filled.problems) == (0, ())
                s.publish(node, start, end)
                s.release(node, reason="recorded hours")
                expected = own.to_pandas().query("@start <= ts < @end").reset_index(drop=True)
                read = s.read(node, start, end)
                np.testing.assert_array_equal(read.to_pandas().to_numpy(), expected[read.to_pandas().columns])
                assert read.metadata.conformance_flags["from_trades"] == len(expected)
            assert not [one for one in venue.requests if "klines" in one.path or "OHLC" in one.path]


def test_candles_that_stay_away_are_made_of_trades_and_told_apart(
    settings_of: Callable[..., Settings], market_data: Path, tmp_path: Path
) -> None:
    minutes = pq.read_table(market_data / "binance_XRP-ETH_1m.parquet").to_pandas()
    end = int(minutes["ts"].iloc[-1]) // 300 * 300
    start, lost = end - 6 * HOUR, (end - 4 * HOUR, end - 2 * HOUR)
    node = "ohlcv:binance:XRP/ETH:1m"
    with Sandbox(now=end + 30 * DAY, replay=recorded(market_data)).running() as venue:
        venue.faults.add(Fault("hide", path="klines", start=lost[0], end=lost[1], times=None))
        binance = {"base_url": venue.url, "symbols": ["XRP/ETH"], "timeframes": ["1m"], "start": start}
        with sa.connect(settings_of({"binance": binance}, [{"node": node, "trades": True}])) as s:
            filled = s.backfill(node, start, end)
            assert (filled.coverage.missing, filled.problems) == (0, ())
            s.publish(node, start, end)
            s.release(node, reason="recorded hours")
            expected = minutes.query("@start <= ts < @end").reset_index(drop=True)
            read = s.read(node, start, end)
            np.testing.assert_array_equal(read.to_pandas().to_numpy(), expected[read.to_pandas().columns])
            hidden = expected.query("@lost[0] <= ts < @lost[1]")
            assert read.metadata.conformance_flags["from_trades"] == len(hidden) > 50
            manifests = [json.loads(p.read_text()) for p in tmp_path.rglob("*.manifest.json")]
            told = [one for manifest in manifests for one in manifest["policy"].get("trades", [])]
            assert min(one["start"] for one in told) >= lost[0] - 60
            assert max(one["end"] for one in told) <= lost[1] + 60
            assert all("trades, sha256:" in one["evidence"] for one in told)


def test_a_timeframe_that_the_exchange_has_no_candles_of_is_made_of_its_trades(
    settings_of: Callable[..., Settings],
) -> None:
    with Sandbox(now=START + 2 * DAY, markets=[Market("BTC/USD", 100.0)]).running() as venue:
        node, hours, own = (
            f"ohlcv:{name}" for name in ("kraken:BTC/USD:3m", "kraken:BTC/USD:1h", "own:BTC/USD:1h")
        )
        settings = settings_of(
            {"kraken": {"base_url": venue.url, "symbols": ["BTC/USD"], "timeframes": ["1h"]}},
            [{"node": own, "resample": node}, {"node": node, "trades": True}],
            partitions={"1h": "day"},
        )
        with sa.connect(settings) as s:
            for one in (node, hours, own):
                made = s.materialize(one, START, START + DAY)
                assert made.released, made.problems
            candles = s.read(hours, START, START + DAY).to_pandas()
            assert len(candles) == 24
            np.testing.assert_allclose(s.read(own).to_pandas().to_numpy(), candles.to_numpy(), rtol=1e-12)


def test_a_symbol_that_is_not_there_is_refused(settings_of: Callable[..., Settings]) -> None:
    with Sandbox(now=START + DAY, markets=[Market("BTC/USD", 100.0)]).running() as venue:
        node = "ohlcv:kraken:ETH/USD:1m"
        settings = settings_of({"kraken": {"base_url": venue.url}}, [{"node": node, "trades": True}])
        with sa.connect(settings) as s, pytest.raises(UnknownSymbol, match="ETH/USD"):
            s.backfill(node, START, START + HOUR)


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        ([{"node": "ohlcv:okx:BTC/USD:1m", "trades": True}], "not under `exchanges`"),
        ([{"node": "ohlcv:kraken:BTC/USD:USD:1m", "trades": True}], "no spot market"),
        ([{"node": "ohlcv:kraken:ETH/USD:1m", "trades": True}] * 2, "already"),
        (
            [{"node": "ohlcv:kraken:E/USD:1m", "trades": True, "resample": "ohlcv:kraken:BTC/USD:1m"}],
            "resample and trades",
        ),
        ([{"node": "ohlcv:kraken:ETH/USD:1m", "trades": False}], "none"),
    ],
)
def test_what_cannot_be_made_of_trades_is_refused(
    settings_of: Callable[..., Settings], derived: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of({"kraken": {"symbols": ["BTC/USD"]}}, derived)


def test_no_bar_of_trades_is_of_two_symbols(settings_of: Callable[..., Settings]) -> None:
    was = {"BTC/USD": [{"symbol": "XBT/USD", "to": START + HOUR}]}
    exchange = {"symbols": ["BTC/USD"], "timeframes": ["1h"], "aliases": was}
    settings_of({"kraken": exchange}, [{"node": "ohlcv:kraken:ETH/USD:1d", "trades": True}])
    with pytest.raises(ConfigError, match=r"aliases.BTC/USD\[0\].to: lies inside a bar of 1d"):
        settings_of({"kraken": exchange}, [{"node": "ohlcv:kraken:BTC/USD:1d", "trades": True}])
