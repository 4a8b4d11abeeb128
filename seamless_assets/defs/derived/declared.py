"""Nodes that the settings declare as derived, as assets behind those that they are made of."""

# Dagster reads the annotations of assets at run time, so they are not postponed here.

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    MaterializeResult,
    multi_asset,
)

from seamless_assets.config.load import Settings
from seamless_assets.core.deriving.recipes import Recipe, Resample
from seamless_assets.core.node import NodeId
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.defs.names import NODE_ID_METADATA, ProjectNames, node_tags
from seamless_assets.defs.nodes.assets import RETRIES, SCHEMA, materialize_selected
from seamless_assets.defs.nodes.checks import check_specs
from seamless_assets.defs.partitions import partitions_definition


def declared_derived(settings: Settings, names: ProjectNames) -> list[DerivedNode]:
    """The derived nodes of the settings, in the order of the file."""
    return [_node(settings, names, node, recipe) for node, recipe in settings.recipes.items()]


def build_declared(settings: Settings, names: ProjectNames) -> list[AssetsDefinition]:
    """An asset for each derived node of the settings."""
    return [_asset(settings, names, one) for one in declared_derived(settings, names)]


def _node(settings: Settings, names: ProjectNames, node: NodeId, recipe: Recipe) -> DerivedNode:
    unit = settings.partition_unit(node.timeframe)
    partitions = partitions_definition(unit, settings.starts[node])
    return DerivedNode(node, names.asset_key(node), partitions, unit, recipe.sources, takes_ranges=True)


def _asset(settings: Settings, names: ProjectNames, one: DerivedNode) -> AssetsDefinition:
    recipe, node = settings.recipes[one.node], one.node
    how = "resampled from" if isinstance(recipe, Resample) else "the weighted mean of"
    made_of = ", ".join(map(str, recipe.sources))
    spec = AssetSpec(
        one.key,
        deps=[names.asset_key(source) for source in recipe.sources],
        group_name=node.exchange,
        kinds={"parquet"},
        skippable=True,
        description=f"Bars of {node.symbol}, {node.timeframe} each: {how} {made_of}.",
        code_version=settings.seamless.conformance.version,
        metadata={NODE_ID_METADATA: str(node), **SCHEMA},
        tags=node_tags(node),
    ).with_io_manager_key(names.io_manager)

    @multi_asset(
        name=names.prefixed("_".join(one.key.path[-3:]).replace(".", "_")),
        specs=[spec],
        check_specs=check_specs(one.key, is_derived=True),
        partitions_def=one.partitions,
        can_subset=True,
        backfill_policy=BackfillPolicy.single_run(),
        retry_policy=RETRIES,
        required_resource_keys={names.project},
    )
    def derive(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
        yield from materialize_selected(context, names, {one.key: node}.__getitem__)

    return derive
