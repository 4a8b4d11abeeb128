"""One job per exchange and timeframe: its nodes share one partitioning."""

from __future__ import annotations

from collections.abc import Iterable

from dagster import AssetSelection, define_asset_job, in_process_executor
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.shards import Shard


def build_jobs(names: ProjectNames, shards: Iterable[Shard]) -> dict[str, UnresolvedAssetJobDefinition]:
    """Jobs that materialize the nodes of each shard, by their names: `materialize_ohlcv_binance_1m`."""
    return {
        shard.job_name: define_asset_job(
            shard.job_name,
            # A run has one step, and a process of its own for it would load everything once more.
            executor_def=in_process_executor,
            selection=AssetSelection.assets(*(names.asset_key(node) for node in shard.nodes)),
            description=f"Materialize partitions of the {len(shard.members)} nodes of {shard.name}.",
        )
        for shard in shards
    }
