"""One job per exchange and timeframe: its nodes share one partitioning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagster import AssetCheckKey, define_asset_job, in_process_executor
from dagster._core.definitions.asset_selection import KeysAssetSelection
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.shards import Shard


class AssetsAndChecks(KeysAssetSelection):
    """Assets by their keys, and their checks.

    Dagster's own looks for the checks of each job among those of all assets: of ten times the nodes, a
    hundred times as long.
    """

    def resolve_checks_inner(
        self, asset_graph: BaseAssetGraph[Any], allow_missing: bool
    ) -> set[AssetCheckKey]:
        """The checks of these assets, whoever declared them."""
        keys = self.resolve(asset_graph, allow_missing)
        return {check for key in keys for check in asset_graph.get(key).check_keys}


def build_jobs(names: ProjectNames, shards: Iterable[Shard]) -> dict[str, UnresolvedAssetJobDefinition]:
    """Jobs that materialize the nodes of each shard, by their names: `materialize_ohlcv_binance_1m`."""
    return {
        shard.job_name: define_asset_job(
            shard.job_name,
            # A run has one step, and a process of its own for it would load everything once more.
            executor_def=in_process_executor,
            selection=AssetsAndChecks(selected_keys=[names.asset_key(node) for node in shard.nodes]),
            description=f"Materialize partitions of the {len(shard.members)} nodes of {shard.name}.",
        )
        for shard in shards
    }
