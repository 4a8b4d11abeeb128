"""Which assets of a project are derived nodes, and of which nodes these are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    PartitionsDefinition,
    TimeWindowPartitionsDefinition,
)
from dagster._core.definitions.backfill_policy import BackfillPolicyType

from seamless_assets.core.calendar.partition import UNITS, PartitionUnit
from seamless_assets.core.node import NodeId
from seamless_assets.defs.names import NODE_ID_METADATA, NodesByKey
from seamless_assets.defs.partitions import NodePartitions
from seamless_assets.errors import InvalidInput


@dataclass(frozen=True)
class DerivedNode:
    """An asset that is a node, its partitions, and the nodes that it is made of.

    Where it `takes_ranges`, one run makes many adjoining partitions.
    """

    node: NodeId
    key: AssetKey
    partitions: TimeWindowPartitionsDefinition
    unit: PartitionUnit
    made_of: tuple[NodeId, ...]
    takes_ranges: bool

    @property
    def start(self) -> int:
        """Where its first partition lies, in epoch seconds."""
        return int(self.partitions.start.timestamp())


def derived_id(metadata: Mapping[str, Any]) -> NodeId | None:
    """The node that an asset's metadata says it is; None where it says none. Raises `InvalidNodeId`."""
    named = metadata.get(NODE_ID_METADATA)
    return None if named is None else NodeId.parse(getattr(named, "value", named))


def derived_nodes(
    assets: Iterable[AssetsDefinition], declared: NodesByKey, others: Iterable[DerivedNode] = ()
) -> list[DerivedNode]:
    """The nodes that assets are, in their order; `declared` are those of exchanges, `others` derived already.

    Raises `InvalidInput` for an asset that is no node, that is another's, or that takes no node as an input.
    """
    every = list(assets)
    for asset in every:
        if not isinstance(asset, AssetsDefinition):
            raise InvalidInput(f"{asset!r:.80} is no asset; decorate it with @asset", value=repr(asset)[:80])
        if any(output.dagster_type.is_nothing for output in asset.node_def.output_defs):
            shown = ", ".join(sorted(key.to_user_string() for key in asset.keys))
            raise InvalidInput(f"{shown} returns nothing; let it return a frame of bars", value=shown)
    nodes: dict[AssetKey, NodeId] = {one.key: one.node for one in others}
    for spec in (spec for asset in every for spec in asset.specs):
        nodes[spec.key] = _own_node(spec, declared, nodes)
    return [_derived(asset, spec, declared, nodes) for asset in every for spec in asset.specs]


def _own_node(spec: AssetSpec, declared: NodesByKey, nodes: Mapping[AssetKey, NodeId]) -> NodeId:
    shown, node = spec.key.to_user_string(), derived_id(spec.metadata)
    if node is None:
        raise InvalidInput(
            f"{shown} is no node; say which in its metadata, as {NODE_ID_METADATA}: "
            "ohlcv:research:BTC/USDT:4h",
            value=shown,
        )
    if declared.is_declared(node):
        raise InvalidInput(
            f"{shown} is {node}, which the settings declare and its exchange fills; name a node of its own, "
            "such as ohlcv:research:BTC/USDT:4h",
            value=str(node),
        )
    if node in nodes.values():
        raise InvalidInput(
            f"{shown} and another asset are both {node}; leave one of them out", value=str(node)
        )
    return node


def _derived(
    asset: AssetsDefinition, spec: AssetSpec, declared: NodesByKey, nodes: Mapping[AssetKey, NodeId]
) -> DerivedNode:
    shown, node, policy = spec.key.to_user_string(), nodes[spec.key], asset.backfill_policy
    taken = [nodes.get(dep.asset_key) or declared.find(dep.asset_key) for dep in spec.deps]
    made_of = tuple(sorted({one for one in taken if one is not None and one != node}))
    if not made_of:
        raise InvalidInput(f"{shown} takes no node as an input, so nothing makes it due", value=shown)
    unit = unit_of(node, shown, spec.partitions_def)
    assert isinstance(spec.partitions_def, TimeWindowPartitionsDefinition)
    takes_ranges = policy is not None and policy.policy_type == BackfillPolicyType.SINGLE_RUN
    return DerivedNode(node, spec.key, spec.partitions_def, unit, made_of, takes_ranges)


def unit_of(node: NodeId, shown: str, known: PartitionsDefinition | None) -> PartitionUnit:
    """The unit of an asset's partitions. Raises `InvalidInput` where they are none that a node can have."""
    for unit in UNITS:
        if known is not None and NodePartitions(node.timeframe, unit).are(known):
            return unit
    raise InvalidInput(
        f"{shown} is a node, whose partitions are UTC days, months or years; give it "
        "DailyPartitionsDefinition(start), MonthlyPartitionsDefinition(start, fmt='%Y-%m') or "
        "node_partitions(settings, node, start)",
        value=str(known),
    )
