"""Bars as one file: with our own columns, `ts` in epoch seconds, or as backtests want them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather

from seamless_assets.core.bars import parquet
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.node import NodeId

_DATE = pa.timestamp("s", tz="UTC")
_TITLES = ["Date", *(name.capitalize() for name in COLUMNS[1:])]


def encode_csv(_: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """A header and a line for each bar; a volume that is not known is empty."""
    sink = io.BytesIO()
    pa.csv.write_csv(bars.select(COLUMNS), sink, pa.csv.WriteOptions(quoting_style="none"))
    yield "", sink.getvalue()


def decode_csv(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` where it is none of ours."""
    options = pa.csv.ConvertOptions(column_types=BARS_SCHEMA, null_values=[""])
    return _checked(pa.csv.read_csv(pa.BufferReader(_only(files)), convert_options=options))


def encode_backtesting(_: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """As backtesting.py and vectorbt want frames: `Date` in UTC, then Open, High, Low, Close, Volume."""
    sink = io.BytesIO()
    dates = bars.column("ts").cast(_DATE)
    table = pa.table([dates, *(bars.column(name) for name in COLUMNS[1:])], names=_TITLES)
    pa.csv.write_csv(table, sink, pa.csv.WriteOptions(quoting_style="none"))
    yield "", sink.getvalue()


def decode_backtesting(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` where it is none of ours."""
    kinds = {"Date": _DATE, **dict.fromkeys(_TITLES[1:], pa.float64())}
    options = pa.csv.ConvertOptions(column_types=kinds, null_values=[""])
    table = pa.csv.read_csv(pa.BufferReader(_only(files)), convert_options=options)
    if table.column_names != _TITLES:
        raise ValueError(f"its columns are {', '.join(table.column_names)}, not {', '.join(_TITLES)}")
    return pa.table([table.column("Date").cast(pa.int64()), *table.columns[1:]], BARS_SCHEMA)


def encode_parquet(
    _: NodeId, bars: pa.Table, compression: str = "zstd", encodings: Mapping[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """As artifacts are by themselves: zstd, encodings that suit bars, columns numbered."""
    yield "", parquet.encode_bars(bars, compression, encodings)


def decode_parquet(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` or `OSError` where it is none of ours."""
    return _checked(parquet.decode_bars(_only(files)))


def encode_feather(_: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Feather (Arrow IPC) with lz4."""
    sink = io.BytesIO()
    pa.feather.write_feather(bars.select(COLUMNS), sink, compression="lz4")
    yield "", sink.getvalue()


def decode_feather(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` where it is none of ours."""
    return _checked(pa.feather.read_table(pa.BufferReader(_only(files))))


def _only(files: Mapping[str, bytes]) -> bytes:
    (payload,) = files.values()
    return payload


def _checked(table: pa.Table) -> pa.Table:
    if tuple(table.column_names) != tuple(COLUMNS):
        raise ValueError(f"its columns are {', '.join(table.column_names)}, not {', '.join(COLUMNS)}")
    return table.cast(BARS_SCHEMA)
