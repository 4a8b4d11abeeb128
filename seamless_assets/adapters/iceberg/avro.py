"""Manifests and manifest lists of Iceberg as bytes that are the same whenever they are made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Never

from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.conversions import to_bytes
from pyiceberg.io import OutputFile
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import DoubleType, LongType, NestedField

from seamless_assets.adapters.iceberg.history import Group, LiveFile
from seamless_assets.core.bars.table import COLUMNS

SCHEMA = Schema(
    *(
        NestedField(number, name, LongType() if name == "ts" else DoubleType(), required=True)
        for number, name in enumerate(COLUMNS, start=1)
    )
)
"""The field ids are those of the Parquet files."""
_TS_ID = 1
_SYNC = bytes(range(16))
"""What stands between blocks, in place of the random bytes that the writer takes."""


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file in force, where it lies and how long it is (bytes)."""

    live: LiveFile
    uri: str
    size: int


class _Memory(OutputFile):
    """A file in memory, under the address of the one to come."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._stream = _Kept()

    @property
    def payload(self) -> bytes:
        return self._stream.getvalue()

    def __len__(self) -> int:
        return len(self.payload)

    def exists(self) -> bool:
        return False

    def to_input_file(self) -> Never:
        raise TypeError("what is written here is not read again")

    def create(self, overwrite: bool = False) -> Any:
        return self._stream


class _Kept(io.BytesIO):
    """Bytes that outlive the end of their writing."""

    def close(self) -> None:
        """Nothing: what was written is wanted."""


def encode_manifest(group: Group, files: Sequence[PlacedFile], uri: str) -> bytes:
    """The manifest of a group, of which `files` are those in order, that will lie at `uri`."""
    output = _Memory(uri)
    writer = write_manifest(2, UNPARTITIONED_PARTITION_SPEC, SCHEMA, output, group.changed_by, "null")
    with writer:
        for file in files:
            writer.add_entry(_entry(file, group.changed_by))
    return _with_fixed_sync(output.payload, writer._writer.sync_bytes)


def encode_manifest_list(seq: int, named: Sequence[bytes], uri: str) -> bytes:
    """The list of a snapshot's manifests, each as `encode_named` names it."""
    output = _Memory(uri)
    with write_manifest_list(2, output, seq, seq - 1 or None, seq, "null") as writer:
        header = _with_fixed_sync(output.payload, writer._writer.sync_bytes)
    return header + (_block(named) if named else b"")


def encode_named(groups: Sequence[Group], uris: Sequence[str], sizes: Sequence[int]) -> list[bytes]:
    """How lists name the manifests of groups that lie at `uris` and are `sizes` bytes long."""
    encoded = []
    with write_manifest_list(2, _Memory(""), 1, None, 1, "null") as writer:
        for group, uri, size in zip(groups, uris, sizes, strict=True):
            sink = io.BytesIO()
            writer._writer.writer.write(BinaryEncoder(sink), _named_manifest(group, uri, size))
            encoded.append(sink.getvalue())
    return encoded


def _block(entries: Sequence[bytes]) -> bytes:
    """Entries as a block of a file: their number, their bytes, and what stands between blocks."""
    sink = io.BytesIO()
    encoder = BinaryEncoder(sink)
    encoder.write_int(len(entries))
    encoder.write_bytes(b"".join(entries))
    encoder.write(_SYNC)
    return sink.getvalue()


def _named_manifest(group: Group, uri: str, size: int) -> ManifestFile:
    new = [file for file in group.files if file.added_by == group.changed_by]
    old = [file for file in group.files if file.added_by != group.changed_by]
    return ManifestFile.from_args(
        manifest_path=uri,
        manifest_length=size,
        partition_spec_id=UNPARTITIONED_PARTITION_SPEC.spec_id,
        content=ManifestContent.DATA,
        sequence_number=group.changed_by,
        min_sequence_number=min(file.added_by for file in group.files),
        added_snapshot_id=group.changed_by,
        added_files_count=len(new),
        existing_files_count=len(old),
        deleted_files_count=0,
        added_rows_count=sum(file.ref.rows for file in new),
        existing_rows_count=sum(file.ref.rows for file in old),
        deleted_rows_count=0,
        partitions=[],
    )


def _entry(file: PlacedFile, changed_by: int) -> ManifestEntry:
    live = file.live
    is_new = live.added_by == changed_by
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.ADDED if is_new else ManifestEntryStatus.EXISTING,
        snapshot_id=live.added_by,
        sequence_number=live.added_by,
        file_sequence_number=live.added_by,
        data_file=_data_file(file),
    )


def _data_file(file: PlacedFile) -> DataFile:
    ref = file.live.ref
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.uri,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=ref.rows,
        file_size_in_bytes=file.size,
        lower_bounds={_TS_ID: to_bytes(LongType(), ref.start)},
        upper_bounds={_TS_ID: to_bytes(LongType(), ref.end - 1)},
    )


def _with_fixed_sync(payload: bytes, random: bytes) -> bytes:
    return payload.replace(random, _SYNC)
