"""A desk's own project: candles, a derived series, and research that is made of both.

DAGSTER_HOME=$PWD dagster dev -f definitions.py      # http://127.0.0.1:3000
"""

from pathlib import Path

import pandas as pd
from dagster import (
    AssetCheckResult,
    AssetIn,
    AssetKey,
    DailyPartitionsDefinition,
    Definitions,
    FilesystemIOManager,
    asset,
    asset_check,
)

import seamless_assets as sa
from seamless_assets.defs import build_definitions

BTC = AssetKey(["ohlcv", "binance", "BTC_USDT_1h"])
ETH = AssetKey(["ohlcv", "binance", "ETH_USDT_1h"])
FOUR_HOURS = AssetKey(["ohlcv", "binance", "BTC_USDT_4h"])
DAYS = DailyPartitionsDefinition("2025-01-01")
HERE = Path(__file__).resolve().parent


@asset(ins={"btc": AssetIn(BTC), "eth": AssetIn(ETH)}, partitions_def=DAYS)
def spread(btc: pd.DataFrame, eth: pd.DataFrame) -> pd.DataFrame:
    """Price of one in the other, hour by hour; only hours that both have."""
    both = btc.merge(eth, on="ts", suffixes=("_btc", "_eth"))
    return pd.DataFrame({"ts": both.ts, "ratio": both.close_btc / both.close_eth})


@asset(ins={"bars": AssetIn(FOUR_HOURS)}, partitions_def=DAYS)
def trend(bars: pd.DataFrame) -> str:
    """Whether the day's six bars rose or fell."""
    return "up" if bars.close.iloc[-1] > bars.open.iloc[0] else "down"


@asset_check(asset=ETH)
def prices_move(bars: pd.DataFrame) -> AssetCheckResult:
    """Not all hours that are released closed alike."""
    return AssetCheckResult(passed=bool(bars.close.nunique() > 1), metadata={"hours": len(bars)})


defs = Definitions.merge(
    build_definitions(sa.load_settings(HERE / "seamless.yaml")),
    Definitions(
        assets=[spread, trend],
        asset_checks=[prices_move],
        resources={"io_manager": FilesystemIOManager(base_dir=str(HERE / "data" / "kept"))},
    ),
)
