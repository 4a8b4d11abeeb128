"""The project's partitions as Dagster's."""

from __future__ import annotations

from datetime import UTC, datetime

from dagster import (
    DailyPartitionsDefinition,
    MonthlyPartitionsDefinition,
    TimeWindow,
    TimeWindowPartitionsDefinition,
)

from seamless_assets.core.calendar.partition import KEY_FORMATS, PartitionUnit, partition_start
from seamless_assets.core.calendar.segment import Segment

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


def window_of_partitions(window: TimeWindow) -> Segment:
    """Dagster's time window in epoch seconds."""
    return Segment(int(window.start.timestamp()), int(window.end.timestamp()))
