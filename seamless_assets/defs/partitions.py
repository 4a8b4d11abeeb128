"""The project's partitions as Dagster's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import (
    DailyPartitionsDefinition,
    MonthlyPartitionsDefinition,
    PartitionsDefinition,
    TimeWindow,
    TimeWindowPartitionsDefinition,
)

from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.calendar.partition import (
    KEY_FORMATS,
    PartitionUnit,
    partition_of_key,
    partition_start,
)
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.node import NodeId

_YEARS = "0 0 1 1 *"


def partitions_definition(unit: PartitionUnit, start: int) -> TimeWindowPartitionsDefinition:
    """Partitions of `unit` from the one that holds `start` (epoch seconds) to the running one.

    Days and months are Dagster's own kinds, which its identity mapping asks for.
    """
    first, fmt = datetime.fromtimestamp(partition_start(unit, start), UTC), KEY_FORMATS[unit]
    if unit == "day":
        return DailyPartitionsDefinition(first, timezone="UTC", fmt=fmt, end_offset=1)
    if unit == "month":
        return MonthlyPartitionsDefinition(first, timezone="UTC", fmt=fmt, end_offset=1)
    return TimeWindowPartitionsDefinition(first, cron_schedule=_YEARS, fmt=fmt, timezone="UTC", end_offset=1)


def node_partitions(settings: Settings, node: str | NodeId, start: Instant) -> TimeWindowPartitionsDefinition:
    """The partitions that a node has by its timeframe and the settings, from the one that holds `start` on.

    For assets of yours beside it. Days and months are `DailyPartitionsDefinition` and
    `MonthlyPartitionsDefinition`, so that Dagster maps them to others. Raises `InvalidNodeId`,
    `InvalidTimestamp`.
    """
    unit = settings.partition_unit(NodeId.parse(node).timeframe)
    return partitions_definition(unit, epoch_seconds(start, "start"))


@dataclass(frozen=True)
class NodePartitions:
    """The partitions of a node of some timeframe."""

    timeframe: Timeframe
    unit: PartitionUnit

    def are(self, other: PartitionsDefinition) -> bool:
        """Whether another definition means the same by its keys, whenever it starts and ends."""
        own = partitions_definition(self.unit, 0)
        return isinstance(other, TimeWindowPartitionsDefinition) and all(
            getattr(other, name) == getattr(own, name) for name in ("cron_schedule", "fmt", "timezone")
        )

    def window(self, key: str) -> Segment:
        """The opens of the bars in a partition; a bar over its end (a week over New Year) is among them.

        Raises `InvalidChoice` for a key of another form.
        """
        return partition_of_key(self.timeframe, self.unit, key).window


def window_of_partitions(window: TimeWindow) -> Segment:
    """Dagster's time window in epoch seconds."""
    return Segment(int(window.start.timestamp()), int(window.end.timestamp()))
