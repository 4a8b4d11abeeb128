"""The copy of a release log: an Arrow table of its records."""

from __future__ import annotations

import hashlib

import pyarrow as pa

_SCHEMA = pa.schema([("path", pa.string()), ("signature", pa.string()), ("payload", pa.binary())])
Records = dict[str, tuple[str, bytes]]
"""By path: a record's signature, and its bytes."""


def copy_name(folder_uri: str) -> str:
    """What the copy of a node's log is called."""
    return f"{hashlib.sha256(folder_uri.encode()).hexdigest()}.log"


def to_bytes(records: Records) -> bytes:
    """What is written."""
    rows = [(path, *record) for path, record in records.items()]
    columns = zip(*rows, strict=True) if rows else [()] * len(_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(pa.table(list(map(list, columns)), _SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return body


def from_bytes(body: bytes | None) -> Records:
    """The records of a copy; none where there is none, or where it is no copy of a log."""
    try:
        table = pa.ipc.open_stream(body or b"").read_all()
    except (pa.ArrowException, OSError):
        return {}
    if table.schema != _SCHEMA or any(column.null_count for column in table.columns):
        return {}
    paths, signatures, payloads = (column.to_pylist() for column in table.columns)
    return dict(zip(paths, zip(signatures, payloads, strict=True), strict=True))
