"""Bars as Parquet bytes, in encodings that suit them, and back."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.bars import BARS_SCHEMA, COLUMNS, PRICES

SMALL_BYTES = 1_000_000
"""Up to here handing columns to other threads takes longer than reading them."""
# Opens step evenly. Decimal prices repeat runs of bytes, which zstd finds in whole numbers only. Volumes
# repeat little but their high bytes, so those are put together.
_ENCODINGS = {"ts": "DELTA_BINARY_PACKED", "volume": "BYTE_STREAM_SPLIT"} | dict.fromkeys(PRICES, "PLAIN")


def encode_bars(bars: pa.Table, compression: str = "zstd") -> bytes:
    """Parquet bytes of bars; equal bars give equal bytes under one version of Arrow."""
    sink = io.BytesIO()
    pq.write_table(
        bars.cast(BARS_SCHEMA).replace_schema_metadata(None),
        sink,
        compression={name: "none" if name == "ts" else compression for name in COLUMNS},
        write_statistics=["ts"],
        use_dictionary=False,
        column_encoding=_ENCODINGS,
        store_schema=False,
    )
    return sink.getvalue()


def decode_bars(payload: bytes) -> pa.Table:
    """Bars of Parquet bytes. Raises `pyarrow.ArrowException` or `OSError` where they are none."""
    table = pq.ParquetFile(pa.BufferReader(payload)).read(use_threads=len(payload) > SMALL_BYTES)
    return table if table.schema.equals(BARS_SCHEMA) else table.cast(BARS_SCHEMA)
