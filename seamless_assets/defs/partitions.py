"""The project's partitions as Dagster's."""

from __future__ import annotations

from datetime import UTC, datetime

from dagster import TimeWindow, TimeWindowPartitionsDefinition

from seamless_assets.core.calendar.partition import KEY_FORMATS, PartitionUnit, partition_start
from seamless_assets.core.calendar.segment import Segment

_CRON: dict[PartitionUnit, str] = {"day": "0 0 * * *", "month": "0 0 1 * *", "year": "0 0 1 1 *"}


def partitions_definition(unit: PartitionUnit, start: int) -> TimeWindowPartitionsDefinition:
    """Partitions of `unit` from the one that holds `start` (epoch seconds) to the running one."""
    return TimeWindowPartitionsDefinition(
        start=datetime.fromtimestamp(partition_start(unit, start), UTC),
        cron_schedule=_CRON[unit],
        fmt=KEY_FORMATS[unit],
        timezone="UTC",
        end_offset=1,
    )


def window_of_partitions(window: TimeWindow) -> Segment:
    """Dagster's time window in epoch seconds."""
    return Segment(int(window.start.timestamp()), int(window.end.timestamp()))
