"""Rows as they came from files or frames, and how they are to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.frames import column_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.errors import ImportRefused, InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.compute as pc
else:
    pc = LateModule("pyarrow.compute")
    pd = LateModule("pandas")


@dataclass(frozen=True, slots=True)
class Source:
    """What rows came from: a file's name (or that of a frame), the SHA-256 of its bytes, their number."""

    name: str
    sha256: str
    bytes: int

    def as_record(self) -> dict[str, Any]:
        """What a manifest keeps of it."""
        return {"name": self.name, "sha256": self.sha256, "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table, with our names of columns; `where` they were found, in words."""

    source: Source
    where: str
    table: pa.Table


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How rows are read: the zone of times without one, the form of dates, whether they are trades.

    `window` is what of them is meant, and what they are whole for; None: from the first bar to the last.
    """

    tz: Any = None
    time_format: str | None = None
    is_trades: bool = False
    window: Segment | None = None


def readable(rows: Rows, time_format: str | None, numbers: Iterable[str]) -> pa.Table:
    """The table with times of `time_format` as times, and texts of numbers as numbers where they are.

    Raises `InvalidInput` where the times need no format, `ImportRefused` where one has another.
    """
    table = rows.table
    for name in numbers:
        if _is_text(table.column(name).type):
            table = table.set_column(table.column_names.index(name), name, _as_numbers(table.column(name)))
    if time_format is None:
        return table
    if not isinstance(time_format, str):
        raise InvalidInput(f"time_format is {time_format!r}; give one such as %Y%m%d", value=time_format)
    kind = table.column("ts").type
    if not (_is_text(kind) or pa.types.is_integer(kind)):
        raise InvalidInput(
            f"time_format is for times in texts and whole numbers, and those of {rows.where} are {kind}; "
            "leave it out",
            value=time_format,
        )
    times = column_of(table, "ts").astype("str").str.strip()
    try:
        read = pd.to_datetime(times, format=time_format, exact=True, utc="%z" in time_format)
    except (ValueError, TypeError) as error:
        why = str(error).partition(". ")[0]
        raise ImportRefused(
            f"{rows.where}: not all times are of the form {time_format}: {why}", path=rows.where
        ) from error
    return table.set_column(table.column_names.index("ts"), "ts", pa.chunked_array(pa.array(read)))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _as_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The nearest floats to what texts say; the column itself where one says no number."""
    try:
        return pc.utf8_trim_whitespace(column.cast(pa.large_string())).cast(pa.float64())
    except pa.ArrowInvalid:
        return column
