"""Partitions: the time windows that are materialized and sealed as one artifact each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import CalendarGrid, Grid, Timeframe, ceil_to, grid_of
from seamless_assets.errors import InvalidChoice

PartitionUnit = Literal["day", "month", "year"]
UNITS: tuple[PartitionUnit, ...] = get_args(PartitionUnit)
KEY_FORMATS: dict[PartitionUnit, str] = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_GRIDS: dict[PartitionUnit, Grid] = {
    "day": grid_of(86_400),
    "month": CalendarGrid(1),
    "year": CalendarGrid(12),
}


def default_unit(timeframe: Timeframe) -> PartitionUnit:
    """A day up to 5m, a month up to 1h, a year above."""
    seconds = timeframe.approximate_seconds
    if seconds <= 300:
        return "day"
    return "month" if seconds <= 3_600 else "year"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: its key (`2025-01-31`, `2025-01` or `2025`) and the opens it holds.

    `window` holds the bars that open in it, so a bar that spans a boundary (a week over New Year)
    belongs to exactly one partition.
    """

    key: str
    window: Segment


def partition_start(unit: PartitionUnit, ts: int) -> int:
    """Start (epoch seconds) of the `unit` that holds `ts`."""
    grid = _GRIDS[unit]
    return grid.open(grid.index(ts))


def partitions(timeframe: Timeframe, unit: PartitionUnit, window: Segment) -> list[Partition]:
    """The partitions that hold any bar opening in `window`, ascending; none for an empty window."""
    grid = _GRIDS[unit]
    if window.is_empty:
        return []
    first = grid.index(timeframe.ceil(window.start))
    last = grid.index(window.end - 1)
    return [_partition(timeframe, unit, index) for index in range(first, last + 1)]


def partition_of_key(timeframe: Timeframe, unit: PartitionUnit, key: str) -> Partition:
    """The partition of a key; raises `InvalidChoice` where the key has another form."""
    try:
        start = datetime.strptime(key, KEY_FORMATS[unit]).replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise InvalidChoice(
            f"{key!r} is not the key of a {unit} partition; write it like "
            f"{datetime(2025, 1, 31, tzinfo=UTC).strftime(KEY_FORMATS[unit])}",
            value=key,
        ) from error
    return _partition(timeframe, unit, _GRIDS[unit].index(int(start.timestamp())))


def window_of_key(timeframe: Timeframe, key: str) -> Segment:
    """The window of a partition of whatever unit a key's form names. Raises `InvalidChoice`."""
    for unit in UNITS:
        try:
            return partition_of_key(timeframe, unit, key).window
        except InvalidChoice:
            continue
    raise InvalidChoice(f"{key!r} is no partition key; write it like 2025-01-31, 2025-01 or 2025", value=key)


def _partition(timeframe: Timeframe, unit: PartitionUnit, index: int) -> Partition:
    grid = _GRIDS[unit]
    start, end = grid.open(index), grid.open(index + 1)
    key = datetime.fromtimestamp(start, UTC).strftime(KEY_FORMATS[unit])
    return Partition(key, Segment(ceil_to(timeframe.grid, start), ceil_to(timeframe.grid, end)))
