"""Bars as one file with our own columns: `ts` in epoch seconds, then prices and volume."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather

from seamless_assets.core.bars import parquet
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.node import NodeId


def encode_csv(_: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """A header and a line for each bar; a volume that is not known is empty."""
    sink = io.BytesIO()
    pa.csv.write_csv(bars.select(COLUMNS), sink, pa.csv.WriteOptions(quoting_style="none"))
    yield "", sink.getvalue()


def decode_csv(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` where it is none of ours."""
    options = pa.csv.ConvertOptions(column_types=BARS_SCHEMA, null_values=[""])
    return _checked(pa.csv.read_csv(pa.BufferReader(_only(files)), convert_options=options))


def encode_parquet(_: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """As artifacts are: zstd, encodings that suit bars, columns numbered."""
    yield "", parquet.encode_bars(bars)


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
