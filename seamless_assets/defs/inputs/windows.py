"""Which time an input covers: what Dagster's partition mapping says, cut to the consumer's own window.

| consumer | mapping of the input | window |
|---|---|---|
| without partitions of time (an unpartitioned asset, an op, a check) | none, or all | what is released |
| the same | any other | the partitions it names |
| with a window of its own | none | its own window |
| the same | by time windows, with offsets | its own window, its ends moved by that many partitions |
| the same | all | what is released |
| the same | any other | the partitions it names |

An asset's own window never holds more than the partitions that the mapping names, and nothing after its end:
an input never looks ahead, unless its mapping says so in so many words. A partition that is not over yet is
asked for as far as it is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from dagster import (
    AllPartitionMapping,
    DagsterInvariantViolationError,
    InputContext,
    MultiPartitionsDefinition,
    MultiToSingleDimensionPartitionMapping,
    PartitionMapping,
    PartitionsDefinition,
    SpecificPartitionsPartitionMapping,
    TimeWindow,
    TimeWindowPartitionMapping,
    TimeWindowPartitionsDefinition,
)

from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.defs.partitions import NodePartitions, window_of_partitions
from seamless_assets.errors import InvalidChoice, InvalidInput


@dataclass(frozen=True)
class WindowRequest:
    """The time that partitions ask for: ascending segments that do not touch; None means what is released.

    Where `is_open_ended`, a partition that is not over yet is asked for as far as it is released, and where
    `ends_with_released` one that is over too. A run over several partitions of the consumer asks for what
    each alone would ask for, joined; `of_partition` is what one does, None where all ask for the same.
    """

    segments: tuple[Segment, ...] | None = None
    is_open_ended: bool = False
    ends_with_released: bool = False
    of_partition: Callable[[Segment], Segment] | None = None


def requested_window(context: InputContext, node: NodePartitions) -> WindowRequest:
    """What the partitions of an input, which is a node of such partitions, ask for. Raises `InvalidInput`."""
    step = step_of(context)
    own = _own_window(step)
    mapping = _explicit_mapping(step, context)
    if isinstance(mapping, AllPartitionMapping) or (own is None and not context.has_asset_partitions):
        return WindowRequest()
    if isinstance(mapping, SpecificPartitionsPartitionMapping):
        _refuse_unknown(mapping, context)
    if own is None:
        if step is not None and mapping is None:
            return WindowRequest()
        return WindowRequest(_partition_windows(context, node), is_open_ended=True)
    if isinstance(mapping, TimeWindowPartitionMapping):
        moved = partial(_moved, step, mapping=mapping)
        return WindowRequest(_cut(moved(own), context, node), of_partition=moved)
    if mapping is None or isinstance(mapping, MultiToSingleDimensionPartitionMapping):
        return WindowRequest(_cut(own, context, node), of_partition=lambda part: part)
    return WindowRequest(_partition_windows(context, node), is_open_ended=True)


def step_of(context: InputContext) -> Any:
    """The step that loads an input; None outside a run."""
    try:
        return context.step_context
    except DagsterInvariantViolationError:
        return None


def _explicit_mapping(step: Any, context: InputContext) -> PartitionMapping | None:
    assets = step.assets_def if step is not None else None
    if assets is None or not context.has_asset_key:
        return None
    mapping: PartitionMapping | None = assets.get_partition_mapping_for_dep(context.asset_key)
    return mapping


def _own_window(step: Any) -> Segment | None:
    """The window of the partitions that the step computes; None where they are none, or not of time."""
    partitions: Any = step.entity_partitions_def if step is not None else None
    if not _is_of_time(partitions):
        return None
    first, last = step.partition_key_range
    return window_of_partitions(
        TimeWindow(
            partitions.time_window_for_partition_key(first).start,
            partitions.time_window_for_partition_key(last).end,
        )
    )


def _is_of_time(partitions: PartitionsDefinition | None) -> bool:
    if isinstance(partitions, MultiPartitionsDefinition):
        return sum(_is_of_time(dimension.partitions_def) for dimension in partitions.partitions_defs) == 1
    return isinstance(partitions, TimeWindowPartitionsDefinition)


def _partition_windows(context: InputContext, node: NodePartitions) -> tuple[Segment, ...]:
    try:
        known = context.asset_partitions_def
    except DagsterInvariantViolationError:
        # A project that knows the node by its key alone; it may name the ends of a range.
        first, last = context.asset_partition_key_range
        return (Segment(node.window(first).start, node.window(last).end),)
    return tuple(join_segments(_windows_of(known, context.asset_partition_keys, node)))


def _windows_of(known: PartitionsDefinition, keys: Sequence[str], node: NodePartitions) -> Iterable[Segment]:
    """What keys stand for; those of a project that knows the node by other partitions are read as theirs."""
    if node.are(known):
        return [node.window(key) for key in keys]
    if isinstance(known, TimeWindowPartitionsDefinition):
        return [window_of_partitions(known.time_window_for_partition_key(key)) for key in keys]
    raise InvalidInput(
        f"partitions of a node are {node.unit}s; those of this input are {known}, which are no time",
        value=str(known),
    )


def _refuse_unknown(mapping: SpecificPartitionsPartitionMapping, context: InputContext) -> None:
    """Dagster leaves out what a mapping names and the node has not."""
    known = set(context.asset_partition_keys)
    if unknown := [key for key in mapping.partition_keys if key not in known]:
        raise InvalidChoice(
            f"{context.asset_key.to_user_string()} has no partition {unknown[0]}; its partitions begin with "
            f"{context.asset_partitions_def.get_first_partition_key()} and end with "
            f"{context.asset_partitions_def.get_last_partition_key()}",
            value=unknown[0],
        )


def _cut(own: Segment, context: InputContext, node: NodePartitions) -> tuple[Segment, ...]:
    if not context.has_asset_partitions:
        return (own,)
    parts: Iterable[Segment] = (window.intersect(own) for window in _partition_windows(context, node))
    return tuple(part for part in parts if not part.is_empty)


def _moved(step: Any, own: Segment, mapping: TimeWindowPartitionMapping) -> Segment:
    """The window with its ends moved by the mapping's offsets, in partitions of the consumer."""
    partitions: TimeWindowPartitionsDefinition = step.entity_partitions_def
    start = _shifted(partitions, own.start, mapping.start_offset)
    return Segment(start, max(start, _shifted(partitions, own.end, mapping.end_offset)))


def _shifted(partitions: TimeWindowPartitionsDefinition, at: int, offset: int) -> int:
    moment: datetime = datetime.fromtimestamp(at, partitions.start.tzinfo)
    for _ in range(abs(offset)):
        if offset < 0:
            window = partitions.get_prev_partition_window(moment, respect_bounds=False)
        else:
            window = partitions.get_next_partition_window(moment, respect_bounds=False)
        if window is None:
            raise InvalidInput(f"no partition lies {offset} from {moment}", value=offset)
        moment = window.start if offset < 0 else window.end
    return int(moment.timestamp())
