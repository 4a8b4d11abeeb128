"""A real freqtrade, which never heard of `as_of`, repeats a backtest: its base URL names the world."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from support.dialects import Rig, running
from support.engines import python_with

from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:bybit:BTC/USDT:1h"
NOW = START + 40 * DAY + 1_234
TIMES_OF_THE_RUN = ("backtest_run_start_ts", "backtest_run_end_ts")
STRATEGY = """
from freqtrade.strategy import IStrategy

class Crossing(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1h"
    minimal_roi = {"0": 0.02}
    stoploss = -0.05
    startup_candle_count = 5

    def populate_indicators(self, dataframe, metadata):
        dataframe["mean"] = dataframe["close"].rolling(5).mean()
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["mean"], "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] < dataframe["mean"], "exit_long"] = 1
        return dataframe
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Files of freqtrade by what they hold, and what it says of its backtest but for the times of its run."""

    files: dict[str, bytes]
    result: dict[str, Any]


@pytest.fixture
def correctable(tmp_path: Path) -> Iterator[tuple[Rig, Callable[[], None]]]:
    """A service over an exchange of 40 days of hours, and what corrects 1 % of them."""
    exchange = Sandbox(now=NOW)
    minutes = exchange.book.generator.minutes

    def corrected(*asked: Any) -> np.ndarray:
        bars = minutes(*asked)
        is_hit = (bars["ts"] // 3_600) % 100 == 7
        bars["close"][is_hit] *= 0.995
        bars["low"][is_hit] *= 0.99
        return bars

    def correct() -> None:
        exchange.book.generator.minutes = corrected  # type: ignore[method-assign]

    declared = {"bybit": ("BTC/USDT",)}
    with exchange.running(), running(tmp_path / "rig", exchange, declared, "2025-01-01", ("1h",)) as rig:
        yield rig, correct


@pytest.mark.deep
@pytest.mark.timeout(1_800)
def test_a_backtest_is_repeated_by_its_url_whatever_was_corrected_since(
    correctable: tuple[Rig, Callable[[], None]], tmp_path: Path
) -> None:
    freqtrade = python_with("freqtrade", "freqtrade").parent / "freqtrade"
    rig, correct = correctable
    rig.pipeline.materialize(NODE, START, NOW)
    as_of = rig.pipeline.releases(NODE)[-1].as_of
    first = backtested(freqtrade, tmp_path / "first", f"{rig.url}/as-of/{as_of}/bybit")
    correct()
    rig.pipeline.materialize(NODE, START, NOW)
    again = backtested(freqtrade, tmp_path / "again", f"{rig.url}/as-of/{as_of}/bybit")
    live = backtested(freqtrade, tmp_path / "live", f"{rig.url}/bybit")
    assert first == again
    assert len(first.result["strategy"]["Crossing"]["trades"]) > 10
    assert live.files["candles"] != first.files["candles"] and live.result != first.result


def backtested(freqtrade: Path, folder: Path, url: str) -> Outcome:
    """What freqtrade downloads from an address, and what it makes of it."""
    (folder / "strategies").mkdir(parents=True)
    (folder / "strategies" / "crossing.py").write_text(STRATEGY)
    (folder / "config.json").write_text(json.dumps(config(url)))
    common = ("-c", folder / "config.json", "--userdir", folder)
    hours = ("--timeframes", "1h", "--timerange", "20250105-20250205", "--pairs", "BTC/USDT")
    run(freqtrade, "download-data", *common, *hours)
    days = ("--strategy", "Crossing", "--timerange", "20250106-20250205")
    run(freqtrade, "backtesting", *common, *days, "--export", "trades", "--cache", "none")
    (candles,) = (folder / "data").rglob("*.feather")
    (archive,) = (folder / "backtest_results").glob("*.zip")
    with ZipFile(archive) as exported:
        names = {name.removeprefix(archive.stem): name for name in exported.namelist()}
        files = {end: exported.read(name) for end, name in names.items() if end.endswith(".feather")}
        result = json.loads(exported.read(names[".json"]))
    for name in TIMES_OF_THE_RUN:
        assert result["strategy"]["Crossing"].pop(name) > 0
    assert len(files) == 2
    return Outcome({**files, "candles": candles.read_bytes()}, result)


def config(url: str) -> dict[str, Any]:
    """A bot that knows of nothing but its base URL."""
    side = {"price_side": "same", "use_order_book": True, "order_book_top": 1}
    kinds = ("spot", "futures", "v2", "public", "private")
    return {
        "stake_currency": "USDT",
        "stake_amount": 100,
        "max_open_trades": 1,
        "dry_run": True,
        "dry_run_wallet": 1_000,
        "entry_pricing": side,
        "exit_pricing": side,
        "exchange": {
            "name": "bybit",
            "ccxt_config": {"urls": {"api": dict.fromkeys(kinds, url)}},
            "pair_whitelist": ["BTC/USDT"],
        },
        "pairlists": [{"method": "StaticPairList"}],
    }


def run(program: Path, *words: str | Path) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
