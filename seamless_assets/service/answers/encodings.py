"""A read as bytes, piece by piece, in each form that is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pyarrow as pa
from msgspec.json import encode
from pyarrow import csv, parquet

from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.wire.frames import (
    ARROW_TYPE,
    arrow_stream,
    metadata_record,
    with_metadata,
)

TEXT_ROWS = 8_192
"""Rows of one piece of text: nothing else runs in the process while it is written."""
Format = Literal["arrow", "parquet", "json", "csv"]
Pieces = Callable[[ReadResult], Iterator[bytes]]


def _arrow(result: ReadResult) -> Iterator[bytes]:
    return arrow_stream(with_metadata(result))  # type: ignore[return-value]  # what is sent may be a view


def _parquet(result: ReadResult) -> Iterator[bytes]:
    sink = pa.BufferOutputStream()
    parquet.write_table(with_metadata(result), sink, compression="zstd")
    yield sink.getvalue().to_pybytes()


def _json(result: ReadResult) -> Iterator[bytes]:
    head = {"metadata": metadata_record(result.metadata), "columns": result.bars.column_names}
    yield encode(head).removesuffix(b"}") + b',"bars":['
    for number, batch in enumerate(_batches(result.bars)):
        rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        yield (b"," if number else b"") + encode(rows)[1:-1]
    yield b"]}"


def _csv(result: ReadResult) -> Iterator[bytes]:
    yield (",".join(result.bars.column_names) + "\n").encode()
    options = csv.WriteOptions(include_header=False)
    for batch in _batches(result.bars):
        sink = pa.BufferOutputStream()
        csv.write_csv(batch, sink, options)
        yield sink.getvalue().to_pybytes()


def _batches(bars: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from bars.combine_chunks().to_batches(max_chunksize=TEXT_ROWS)


ENCODINGS: dict[Format, tuple[str, Pieces]] = {
    "arrow": (ARROW_TYPE, _arrow),
    "parquet": ("application/vnd.apache.parquet", _parquet),
    "json": ("application/json", _json),
    "csv": ("text/csv; charset=utf-8", _csv),
}
