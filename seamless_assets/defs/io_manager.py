"""The IO manager: assets, ops and checks take released bars of a node as a plain input.

An asset that is a node itself is published through it, made of the inputs that its step has read. What an
input holds follows its type annotation (`frames`), how it is read the input's metadata and the run's
tags (`instructions`), and which time it covers Dagster's partition mapping (`windows`).
"""

# Dagster reads the annotations of resources at run time, so they are not postponed here.

from dataclasses import replace
from typing import Any

from dagster import (
    DagsterInvariantViolationError,
    InitResourceContext,
    InputContext,
    IOManager,
    IOManagerDefinition,
    OutputContext,
    io_manager,
)
from dagster._core.execution.plan.outputs import StepOutputHandle

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.defs.derived.nodes import derived_id, unit_of
from seamless_assets.defs.derived.publishing import StepInput, is_derived, publish_output
from seamless_assets.defs.inputs.frames import frame_maker
from seamless_assets.defs.inputs.instructions import PREFIX, Instructions, read_instructions
from seamless_assets.defs.inputs.joining import NOT_REQUESTED
from seamless_assets.defs.inputs.placement import refuse_misplaced
from seamless_assets.defs.inputs.reading import InputReader
from seamless_assets.defs.inputs.windows import requested_window, step_of
from seamless_assets.defs.names import DEFAULT_NAME, NODE_ID_METADATA, NodesByKey
from seamless_assets.defs.partitions import NodePartitions
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import InvalidInput, ReadRefused


def seamless_io_manager(resource_key: str = DEFAULT_NAME) -> IOManagerDefinition:
    """The IO manager over the pipeline of a resource, which a run opens once for all that use it."""

    @io_manager(
        required_resource_keys={resource_key},
        description="Serves released bars of nodes to downstream assets, and publishes derived nodes.",
    )
    def serve(context: InitResourceContext) -> SeamlessIOManager:
        return SeamlessIOManager(getattr(context.resources, resource_key))

    return serve


class SeamlessIOManager(IOManager):
    """Serves released bars to downstream assets, and publishes those that are nodes."""

    def __init__(self, resource: SeamlessResource) -> None:
        self._resource = resource
        self._by_key = NodesByKey(resource.settings.nodes)
        self._read: dict[str, dict[str, StepInput]] = {}
        """By name, the inputs of the last step that makes nodes."""

    def load_input(self, context: InputContext) -> Any:
        """Bars of the upstream node, in the form of the input's type.

        Raises what a read raises, `ReadRefused` where its verdict is to hold, and `InvalidInput` for a type,
        instruction or asset that means nothing.
        """
        wanted = _wanted_type(context)
        make_frame = frame_maker(wanted)
        step = step_of(context)
        refuse_misplaced(step)
        if is_derived(step):
            _require_published(step)
        tags = step.run_tags if step is not None else {}
        instructions = read_instructions(context.definition_metadata, tags)
        node = self._node(context, instructions)
        request = requested_window(context, NodePartitions(node.timeframe, self._unit(context, node)))
        if is_derived(step):
            # What is derived of a partition grows as its inputs do.
            request = replace(request, is_open_ended=True, ends_with_released=True)
        result = InputReader(self._resource.pipeline, node, instructions).read(request)
        if is_derived(step):
            if step.step.key not in self._read:
                self._read = {step.step.key: {}}
            self._read[step.step.key][context.name] = StepInput(request, instructions, result)
        _tell(context, step, result.metadata)
        if result.metadata.verdict not in ("PASS", "PARTIAL"):
            _refuse(result, is_shown=wanted is ReadResult)
        return make_frame(result)

    def _node(self, context: InputContext, instructions: Instructions) -> NodeId:
        if not context.has_asset_key:
            if instructions.node is None:
                raise InvalidInput(
                    f"this input is of no asset; name its node in its metadata, as {PREFIX}node: "
                    "ohlcv:binance:BTC/USDT:1m"
                )
            return instructions.node
        upstream = context.upstream_output
        derived = derived_id(upstream.definition_metadata) if upstream is not None else None
        node = derived or self._by_key.node(context.asset_key)
        if instructions.node not in (None, node):
            raise InvalidInput(
                f"{PREFIX}node is {instructions.node}, but the input is the asset of {node}; leave one of "
                "the two out",
                value=str(instructions.node),
            )
        return node

    def _unit(self, context: InputContext, node: NodeId) -> PartitionUnit:
        """The unit of the node's partitions, as the project that takes it knows them."""
        if not self._by_key.is_declared(node) and context.has_asset_partitions:
            return unit_of(node, context.asset_key.to_user_string(), context.asset_partitions_def)
        return self._resource.settings.partition_unit(node.timeframe)

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Publish a derived node; nodes of an exchange publish themselves. See `publish_output`."""
        read = self._read.get(context.step_key, {})
        publish_output(context, self._resource.pipeline, obj, read, self._resource.settings.starts)


def _wanted_type(context: InputContext) -> Any:
    try:
        return context.dagster_type.typing_type
    except DagsterInvariantViolationError:  # a context made by hand need not name a type
        return Any


def _require_published(step: Any) -> None:
    """Raise `InvalidInput` for an asset that is a node, and that another IO manager would keep."""
    for key in step.get_output_asset_keys():
        name = step.assets_def.get_output_name_for_asset_key(key)
        is_node = NODE_ID_METADATA in step.assets_def.specs_by_key[key].metadata
        if not is_node or name not in step.op_def.output_dict:  # what a graph makes comes of several ops
            continue
        if not isinstance(step.get_io_manager(StepOutputHandle(step.step.key, name)), SeamlessIOManager):
            shown = key.to_user_string()
            raise InvalidInput(
                f"{shown} is a node by its metadata {NODE_ID_METADATA}, and another IO manager would keep "
                'what it returns; give it io_manager_key="seamless_io_manager", or leave that metadata out',
                value=shown,
            )


def _tell(context: InputContext, step: Any, read: ReadMetadata) -> None:
    """Log what was read, and show it on the assets that are made of it."""
    windows = _windows(read)
    context.log.info(
        f"{read.node_id}: {read.rows} bars of {windows} as of {read.as_of}, {read.dataset_fingerprint}"
    )
    if read.reasons or any(gap.reason == NOT_REQUESTED for gap in read.gaps):
        context.log.warning(f"{read.node_id}: {read.verdict}, {'; '.join(read.reasons) or windows}")
    elif not read.rows:
        context.log.warning(
            f"{read.node_id}: no whole bar lies in {windows}; a mapping such as "
            "TimeWindowPartitionMapping(start_offset=-1) looks further back"
        )
    if step is None or step.assets_def is None:
        return
    shown = {
        "node_id": read.node_id,
        "as_of": str(read.as_of),
        "dataset_fingerprint": str(read.dataset_fingerprint),
        "window": windows,
        "rows": read.rows,
        "coverage": round(read.coverage_ratio, 6),
        "verdict": read.verdict,
        "source": read.source,
        "domain": read.domain,
        "world_id": read.world_id,
    }
    if read.reasons:
        shown["reasons"] = "; ".join(read.reasons)
    if violations := read.sla.get("violations"):
        shown["sla_violations"] = ", ".join(violations)
    named = {f"{context.name}/{name}": value for name, value in shown.items()}
    for key in step.get_output_asset_keys():
        step.add_asset_metadata(named, asset_key=key)


def _windows(read: ReadMetadata) -> str:
    holes = [gap for gap in read.gaps if gap.reason == NOT_REQUESTED]
    starts = [read.start, *(gap.end for gap in holes)]
    ends = [*(gap.start for gap in holes), read.end]
    return ", ".join(
        f"{seconds_text(start)} to {seconds_text(end)}" for start, end in zip(starts, ends, strict=True)
    )


def _refuse(result: ReadResult, is_shown: bool) -> None:
    """A frame cannot say that its bars must not be acted on; a `ReadResult` can."""
    if not is_shown:
        read = result.metadata
        raise ReadRefused(
            f"{read.node_id}: the verdict is {read.verdict}: {'; '.join(read.reasons)}; mend that, ask for "
            "less, or take the input as a ReadResult",
            verdict=read.verdict,
            reasons=read.reasons,
        )
