"""What Dagster loads: the nodes of seamless.yaml, and assets of your own beside them."""

from pathlib import Path

import pandas as pd
from dagster import AssetIn, DailyPartitionsDefinition, Definitions, asset

import seamless_assets as sa
from seamless_assets.defs.build import build_definitions


@asset(
    ins={"bars": AssetIn(["ohlcv", "binance", "BTC_USDT_1h"])},
    partitions_def=DailyPartitionsDefinition("2025-01-01"),
)
def daily_range(bars: pd.DataFrame) -> pd.DataFrame:
    """Highest and lowest price of each day."""
    return pd.DataFrame({"high": [bars["high"].max()], "low": [bars["low"].min()]})


# Dagster takes a module with one Definitions object alone.
defs = Definitions.merge(
    build_definitions(sa.load_settings(Path(__file__).with_name("seamless.yaml"))),
    Definitions(assets=[daily_range]),
)
