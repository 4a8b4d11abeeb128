"""One job per exchange and timeframe: its nodes share one partitioning."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetsDefinition, AssetSelection, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_jobs(assets: Sequence[AssetsDefinition]) -> list[UnresolvedAssetJobDefinition]:
    """Jobs that materialize the nodes of each asset group, named `materialize_ohlcv_binance_1m`."""
    return [
        define_asset_job(
            f"materialize_{asset.op.name}",
            selection=AssetSelection.assets(asset),
            description=f"Materialize partitions of the {len(list(asset.keys))} nodes of {asset.op.name}.",
        )
        for asset in assets
    ]
