"""Reads as Arrow IPC streams: bars in record batches, the metadata in the schema under `seamless`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
from msgspec import MsgspecError, convert
from msgspec.json import decode, encode

from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.core.wire.problems import plain

ARROW_TYPE = "application/vnd.apache.arrow.stream"
METADATA = b"seamless"
BATCH_ROWS = 65_536
"""Rows of one record batch, so that a reader begins before the last bar is there."""
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def metadata_record(metadata: ReadMetadata) -> dict[str, Any]:
    """The metadata as plain values but `sla`: how long a read took is no part of what it read."""
    record: dict[str, Any] = plain(replace(metadata, sla={}, manifest_uris=tuple(metadata.manifest_uris)))
    return record


def with_metadata(result: ReadResult) -> pa.Table:
    """The bars as a table whose schema holds the metadata."""
    record = encode(metadata_record(result.metadata))
    return result.bars.replace_schema_metadata({METADATA: record})


def arrow_stream(table: pa.Table) -> Iterator[memoryview | bytes]:
    """The pieces of an Arrow IPC stream: the schema, one record batch after the other, the end."""
    yield memoryview(table.schema.serialize())
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield memoryview(batch.serialize())
    yield _END_OF_STREAM


def stream_length(table: pa.Table) -> int:
    """The bytes of all pieces of a table's stream."""
    batches = table.to_batches(max_chunksize=BATCH_ROWS)
    sizes: list[int] = [pa.ipc.get_record_batch_size(batch) for batch in batches]
    return int(table.schema.serialize().size) + sum(sizes) + len(_END_OF_STREAM)


def read_stream(payload: bytes, sla: bytes) -> ReadResult:
    """The read of a stream and the JSON of its `sla`. Raises `ValueError` where they are none."""
    try:
        table = pa.ipc.open_stream(payload).read_all()
        record = {**decode((table.schema.metadata or {})[METADATA]), "sla": decode(sla)}
        found = convert(record, ReadMetadata)
        metadata = replace(found, manifest_uris=tuple(found.manifest_uris))
    except (pa.ArrowException, OSError, MsgspecError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    return ReadResult(table.replace_schema_metadata(None), metadata)
