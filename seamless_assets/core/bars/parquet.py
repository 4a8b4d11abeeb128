"""Bars as Parquet bytes, in encodings that suit them, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.bars.cells import bars_of, canonical_cells
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS

SMALL_BYTES = 1_000_000
"""Up to here handing columns to other threads takes longer than reading them."""
# Opens step evenly. Decimal prices repeat runs of bytes, which zstd finds in whole numbers only. Splitting
# the bytes of volumes would make a file 1 to 4 % smaller, and many engines could not read it.
_ENCODINGS = {"ts": "DELTA_BINARY_PACKED"} | dict.fromkeys(COLUMNS[1:], "PLAIN")
COMPRESSIONS = ("zstd", "snappy", "lz4", "gzip", "none")
FLOAT_ENCODINGS = ("PLAIN", "BYTE_STREAM_SPLIT", "RLE_DICTIONARY")
TIME_ENCODINGS = ("DELTA_BINARY_PACKED", *FLOAT_ENCODINGS)
"""What Arrow writes of numbers; a dictionary is given up for pages that it would make larger."""
_PAGE_ROWS = 131_072
"""As many as a page of a mebibyte holds, so that a month of minutes is one page a column."""

_FIELD_ID = b"PARQUET:field_id"
_FILE_SCHEMA = pa.schema(
    [
        field.with_nullable(False).with_metadata({_FIELD_ID: str(number).encode()})
        for number, field in enumerate(BARS_SCHEMA, start=1)
    ]
)
"""Columns are numbered from 1: by these numbers, not by names, do readers of Iceberg tables find them."""
_OTHERS_SCHEMA = pa.schema([field.with_nullable(field.name != "ts") for field in BARS_SCHEMA])
"""Files by other writers may hold nulls, but not for times."""


def encode_bars(
    bars: pa.Table, compression: str = "zstd", encodings: Mapping[str, str] | None = None
) -> bytes:
    """Parquet bytes of bars in canonical bits; equal bars give equal bytes under one version of Arrow.

    `encodings` says by column what is not to be encoded as it is by itself. A null is written as NaN. Raises
    `InvalidFrame` for infinities.
    """
    chosen = _ENCODINGS | dict(encodings or {})
    in_dictionary = [name for name, encoding in chosen.items() if encoding == "RLE_DICTIONARY"]
    sink = io.BytesIO()
    pq.write_table(
        bars_of(canonical_cells(bars)).cast(_FILE_SCHEMA),
        sink,
        compression={
            name: "none" if encoding == "DELTA_BINARY_PACKED" else compression
            for name, encoding in chosen.items()
        },
        write_statistics=["ts"],
        use_dictionary=in_dictionary,
        column_encoding={name: chosen[name] for name in COLUMNS if name not in in_dictionary},
        store_schema=False,
        max_rows_per_page=_PAGE_ROWS,
    )
    return sink.getvalue()


def decode_bars(payload: bytes) -> pa.Table:
    """Bars of Parquet bytes. Raises `pyarrow.ArrowException` or `OSError` where they are none."""
    table = pq.ParquetFile(pa.BufferReader(payload)).read(use_threads=len(payload) > SMALL_BYTES)
    if table.schema.equals(_FILE_SCHEMA):
        return pa.Table.from_arrays(table.columns, schema=BARS_SCHEMA)
    try:
        return table.cast(_OTHERS_SCHEMA).cast(BARS_SCHEMA)
    except ValueError as error:
        raise pa.ArrowInvalid(f"its columns are not those of bars: {error}") from error
