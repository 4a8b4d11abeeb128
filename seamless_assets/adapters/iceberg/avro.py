"""Manifests and manifest lists of Iceberg as bytes that are the same whenever they are made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, Never

from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.avro.file import MAGIC, META_SCHEMA, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.resolver import construct_reader, construct_writer
from pyiceberg.avro.writer import Writer
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


class PlacedFile(NamedTuple):
    """A file in force: where it lies, how long it is (bytes), its bars, and the release that put it there."""

    uri: str
    size: int
    rows: int
    start: int
    end: int
    added_by: int

    @classmethod
    def of(cls, live: LiveFile, uri: str, size: int) -> PlacedFile:
        """The file `live`, which is `size` bytes long at `uri`."""
        return cls(uri, size, live.ref.rows, live.ref.start, live.ref.end, live.added_by)


class _Memory(OutputFile):
    """A file in memory, which is looked at while it is written."""

    def __init__(self) -> None:
        super().__init__("")
        self._stream = io.BytesIO()

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


@dataclass(frozen=True, slots=True)
class _Form:
    """A form of file as pyiceberg's writer of it was found to write it: what it says first, and its entries.

    To open a writer takes longer than to write all that a release adds.
    """

    metadata: dict[str, str]
    entry: Writer

    @classmethod
    def of(cls, output: _Memory, opened: AvroOutputFile[Any]) -> _Form:
        """The form of a writer that was opened."""
        header = construct_reader(META_SCHEMA, {-1: AvroFileHeader}).read(new_decoder(output.payload))
        return cls(dict(header.meta), opened.writer)

    def header(self, **said: str) -> bytes:
        """What comes before the first block; `said` takes the place of what the form says of a file."""
        sink = io.BytesIO()
        metadata = {name: said.get(name.replace("-", "_"), held) for name, held in self.metadata.items()}
        _HEADER.write(BinaryEncoder(sink), AvroFileHeader(MAGIC, metadata, _SYNC))
        return sink.getvalue()

    def encode(self, entry: Any) -> bytes:
        """The bytes of one entry."""
        sink = io.BytesIO()
        self.entry.write(BinaryEncoder(sink), entry)
        return sink.getvalue()


_HEADER = construct_writer(META_SCHEMA)


@cache
def _manifests() -> _Form:
    output = _Memory()
    writer = write_manifest(2, UNPARTITIONED_PARTITION_SPEC, SCHEMA, output, 1, "null")
    with writer.new_writer() as opened:
        return _Form.of(output, opened)


@cache
def _lists() -> _Form:
    output = _Memory()
    with write_manifest_list(2, output, 1, None, 1, "null") as writer:
        return _Form.of(output, writer._writer)


def _number(value: int) -> bytes:
    sink = io.BytesIO()
    BinaryEncoder(sink).write_int(value)
    return sink.getvalue()


_EXISTING, _ADDED = (_number(status) for status in (ManifestEntryStatus.EXISTING, ManifestEntryStatus.ADDED))


def encode_manifest(group: Group, files: Sequence[PlacedFile]) -> bytes:
    """The manifest of a group, of which `files` are those in order."""
    blocks = [_entry_blocks(file)[file.added_by == group.changed_by] for file in files]
    return b"".join([_manifest_header(), *blocks])


def encode_manifest_list(seq: int, named: Sequence[bytes]) -> bytes:
    """The list of a snapshot's manifests, each as `encode_named` names it."""
    before = str(seq - 1) if seq > 1 else "null"
    header = _lists().header(snapshot_id=str(seq), parent_snapshot_id=before, sequence_number=str(seq))
    return header + (_block(named) if named else b"")


def encode_named(group: Group, uri: str, size: int) -> bytes:
    """How lists name the manifest of a group that lies at `uri` and is `size` bytes long."""
    return _lists().encode(_named_manifest(group, uri, size))


@cache
def _manifest_header() -> bytes:
    return _manifests().header()


@lru_cache(maxsize=4_096)
def _entry_blocks(file: PlacedFile) -> tuple[bytes, bytes]:
    """A file as manifests name it, in a block of its own: as one that was there before, and as a new one.

    What tells them apart stands first, so that a file is encoded once for all manifests that name it.
    """
    said = _manifests().encode(_entry(file)).removeprefix(_EXISTING)
    return _block([_EXISTING + said]), _block([_ADDED + said])


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


def _entry(file: PlacedFile) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.EXISTING,
        snapshot_id=file.added_by,
        sequence_number=file.added_by,
        file_sequence_number=file.added_by,
        data_file=_data_file(file),
    )


def _data_file(file: PlacedFile) -> DataFile:
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.uri,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=file.rows,
        file_size_in_bytes=file.size,
        lower_bounds={_TS_ID: to_bytes(LongType(), file.start)},
        upper_bounds={_TS_ID: to_bytes(LongType(), file.end - 1)},
    )
