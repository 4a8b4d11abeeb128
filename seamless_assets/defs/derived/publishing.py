"""Publishing what an asset returned: bars of a derived node, with the inputs that its step has read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from dagster import AssetKey, DataVersion, OutputContext, TimeWindowPartitionsDefinition

from seamless_assets.core.bars.frames import renamed
from seamless_assets.core.bars.table import between
from seamless_assets.core.calendar.partition import partition_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.deriving.inputs import DerivationInput
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.scan import gaps_within
from seamless_assets.defs.derived.nodes import derived_id, unit_of
from seamless_assets.defs.inputs.instructions import PREFIX, Instructions
from seamless_assets.defs.inputs.windows import WindowRequest
from seamless_assets.defs.names import NODE_ID_METADATA
from seamless_assets.defs.nodes.metadata import corrections_of, partition_metadata
from seamless_assets.defs.nodes.results import MAX_PICTURED, progress
from seamless_assets.defs.partitions import window_of_partitions
from seamless_assets.errors import ChecksFailed, InvalidInput
from seamless_assets.flows.deriving.publish import publish_derived
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.pipeline.connect import Seamless

NO_END = 1 << 62


@dataclass(frozen=True)
class StepInput:
    """One input as a step has read it: what was requested, how, and what came."""

    request: WindowRequest
    instructions: Instructions
    result: ReadResult

    @property
    def problem(self) -> str:
        """Why nothing that is published can be made of it."""
        if not self.instructions.fills:
            return ""
        return (
            f"{self.result.metadata.node_id} was filled first, or read live, and only released bars can be "
            f"read again: leave {PREFIX}strategy and {PREFIX}domain out"
        )

    @property
    def until(self) -> int:
        """Where what was requested was cut, in epoch seconds."""
        end = self.result.metadata.end
        return end if self.request.segments and end < self.request.segments[-1].end else NO_END

    def of_partition(self, part: Segment) -> DerivationInput | None:
        """What one partition of a run, over `part`, is made of; None where it was mapped to nothing."""
        read = self.result.metadata
        if read.as_of is None:
            return None
        window = self._window(part)
        return DerivationInput.of(
            NodeId.parse(read.node_id),
            window,
            between(self.result.to_arrow(), *window),
            gaps_within(read.gaps, window),
            conformance_version=read.conformance_version,
            as_of=read.as_of,
            dataset_fingerprint=str(read.dataset_fingerprint),
        )

    def _window(self, part: Segment) -> Segment:
        read = Segment(self.result.metadata.start, self.result.metadata.end)
        if not self.request.segments or self.request.of_partition is None:
            return read
        asked = self.request.of_partition(part)
        start = max(read.start, asked.start)
        return Segment(start, max(start, min(read.end, asked.end)))


def is_derived(step: Any) -> bool:
    """Whether what a step makes is a node, so that its inputs are to be remembered."""
    assets = step.assets_def if step is not None else None
    return assets is not None and any(NODE_ID_METADATA in spec.metadata for spec in assets.specs)


def publish_output(
    context: OutputContext,
    pipeline: Seamless,
    frame: Any,
    read: Mapping[str, StepInput],
    declared: Collection[NodeId],
) -> None:
    """Publish and release the partitions of a derived node that a frame holds, and tell Dagster of each.

    Raises `InvalidInput` for an asset that is no derived node, a frame that holds no bars, and inputs that
    cannot be read again, `ReleaseOutdated` where what is in force was made of later releases, and
    `ChecksFailed` where a partition is not released.
    """
    node = _node(context, declared)
    key, shown = context.asset_key, context.asset_key.to_user_string()
    if problems := [one.problem for one in read.values() if one.problem]:
        raise InvalidInput(f"{shown} cannot be published: {'; '.join(problems)}", value=shown)
    if frame is None:
        raise InvalidInput(f"{shown} returned nothing; return a frame of bars", value=shown)
    if isinstance(frame, ReadResult):
        frame = frame.to_arrow()
    if isinstance(frame, pd.DataFrame) and frame.index.name == "time":
        frame = renamed(frame, {"time": "ts"})
    partitions = context.asset_partitions_def if context.has_asset_partitions else None
    unit = unit_of(node, shown, partitions)
    assert isinstance(partitions, TimeWindowPartitionsDefinition)
    until = min((one.until for one in read.values()), default=NO_END)
    every = [partition_of_key(node.timeframe, unit, name) for name in context.asset_partition_keys]
    reports = []
    for partition in every:
        asked = window_of_partitions(partitions.time_window_for_partition_key(partition.key))
        known = [one.of_partition(asked) for one in read.values()]
        inputs = [one for one in known if one is not None]
        work = publish_derived(pipeline.aio.ports, node, partition, until, frame, inputs)
        reports.append(pipeline.aio.portal.run(work))
        context.log.info(progress(node, reports[-1]))
    _tell(context, pipeline, node, key, reports)


def _node(context: OutputContext, declared: Collection[NodeId]) -> NodeId:
    shown = context.asset_key.to_user_string()
    node = derived_id(context.definition_metadata)
    if node is None:
        raise InvalidInput(
            f"{shown} cannot be written by the seamless IO manager, which publishes nodes and serves them as "
            f"inputs; say which node it is in its metadata ({NODE_ID_METADATA}: ohlcv:research:BTC/USDT:4h), "
            "or give this asset an io_manager_key of its own",
            value=shown,
        )
    if node in declared:
        raise InvalidInput(
            f"{shown} is {node}, which the settings declare or derive themselves; name a node of its own, "
            "such as ohlcv:research:BTC/USDT:4h",
            value=str(node),
        )
    return node


def _tell(
    context: OutputContext, pipeline: Seamless, node: NodeId, key: AssetKey, reports: list[PartitionReport]
) -> None:
    """Show each partition on its page. Raises `ChecksFailed` where one is not released."""
    step, released = context.step_context, [report for report in reports if report.released]
    corrections = corrections_of(pipeline, node)
    for left, report in zip(range(len(released), 0, -1), released, strict=True):
        shown = partition_metadata(pipeline, node, report, corrections, is_pictured=left <= MAX_PICTURED)
        if len(reports) == 1:
            context.add_output_metadata(shown)
        else:
            step.add_asset_metadata(shown, asset_key=key, partition_key=report.partition.key)
    held = [report for report in reports if not report.released]
    if held:
        raise ChecksFailed(
            f"{node}: not released: {'; '.join(problem for report in held for problem in report.problems)}",
            node_id=str(node),
            partitions=tuple(report.partition.key for report in held),
        )
    step.set_data_version(key, DataVersion(str(released[-1].dataset_fingerprint)))
