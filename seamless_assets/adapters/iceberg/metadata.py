"""The metadata file of a table: all its snapshots, each under the number of its release."""

from __future__ import annotations

import re
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from msgspec import Raw
from msgspec.json import encode

from seamless_assets.adapters.iceberg.avro import SCHEMA
from seamless_assets.adapters.iceberg.history import TableSnapshot

METADATA = "metadata"
HINT = f"{METADATA}/version-hint.text"
"""Where the number of the newest metadata stands, for readers without a catalog."""
MAIN = "main"
PROPERTIES = {
    # Files belong to the release log: what an engine finds unused may be in force for another reader.
    "gc.enabled": "false",
    "write.metadata.delete-after-commit.enabled": "false",
    "format-version": "2",
    # Iceberg's vectorized reader of Spark knows no deltas, in which opens are written.
    "read.parquet.vectorization.enabled": "false",
}
_SCHEMA = Raw(SCHEMA.model_dump_json().encode())
_NUMBERED = re.compile(r"/v(?P<seq>[1-9][0-9]*)\.metadata\.json$")
_OPERATIONS = {"compaction": "replace", "clean_up": "replace"}


def metadata_path(seq: int) -> str:
    """Where the metadata after a release lies below the table's location."""
    return f"{METADATA}/v{seq}.metadata.json"


def location_of(url: str) -> str:
    """The location of the table whose metadata is at `url`."""
    return url.rpartition(f"/{METADATA}/")[0]


def seq_of(url: str) -> int | None:
    """The release after which the metadata at `url` was written; None for what others wrote."""
    found = _NUMBERED.search(url)
    return int(found["seq"]) if found else None


def manifest_list_path(seq: int) -> str:
    """Where the manifest list of a snapshot lies below the table's location."""
    return f"{METADATA}/snap-{seq}.avro"


def manifest_path(group: str, changed_by: int) -> str:
    """Where the manifest of a group lies below the table's location, since the release that changed it."""
    return f"{METADATA}/{group}.{changed_by}.avro"


def tag(seq: int) -> str:
    """The name by which SQL finds a release: `FOR VERSION AS OF 'seq-12'`."""
    return f"seq-{seq}"


class TableDocument:
    """The metadata of a table at `location`, release by release: what a snapshot adds is encoded once.

    Equal logs at equal places give equal bytes.
    """

    def __init__(self, node_id: str, location: str) -> None:
        self._node_id, self._location = node_id, location
        self._lists = _GrowingList(), _GrowingList(), _GrowingList()
        self._timestamps: list[int] = []

    def add(self, one: TableSnapshot) -> None:
        """Take one more snapshot in: its tag, itself, and when it became the current one."""
        moment = {"snapshot-id": one.seq, "timestamp-ms": one.timestamp_ms}
        tags = encode({tag(one.seq): {"snapshot-id": one.seq, "type": "tag"}})[1:-1]
        for held, item in zip(
            self._lists, (tags, encode(_snapshot(one, self._location)), encode(moment)), strict=True
        ):
            held.append(item)
        self._timestamps.append(one.timestamp_ms)

    def encode(self, seq: int) -> bytes:
        """The metadata after release `seq`, with all snapshots up to it as they are named there."""
        head = {
            "format-version": 2,
            "table-uuid": str(uuid5(NAMESPACE_URL, f"{self._location}#{self._node_id}")),
            "location": self._location,
            "last-sequence-number": seq,
            "last-updated-ms": self._timestamps[seq - 1],
            "last-column-id": SCHEMA.highest_field_id,
            "current-schema-id": SCHEMA.schema_id,
            "schemas": [_SCHEMA],
            "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "last-partition-id": 999,
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {**PROPERTIES, "seamless.node-id": self._node_id},
            "current-snapshot-id": seq,
        }
        main = encode({MAIN: {"snapshot-id": seq, "type": "branch"}})[:-1]
        tags, snapshots, moments = (held.up_to(seq) for held in self._lists)
        return b"".join(
            (
                *(encode(head)[:-1], b',"refs":', main, b",", tags, b'},"snapshots":[', snapshots),
                *(b'],"snapshot-log":[', moments, b'],"metadata-log":[]}'),
            )
        )


class _GrowingList:
    """Items of JSON one after the other, with commas between them."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends: list[int] = []

    def append(self, item: bytes) -> None:
        self._text += b"," * bool(self._ends) + item
        self._ends.append(len(self._text))

    def up_to(self, count: int) -> memoryview:
        """The first so many of them."""
        return memoryview(self._text)[: self._ends[count - 1]]


def _snapshot(one: TableSnapshot, location: str) -> dict[str, Any]:
    release = one.release
    return {
        "snapshot-id": one.seq,
        **({"parent-snapshot-id": one.seq - 1} if one.seq > 1 else {}),
        "sequence-number": one.seq,
        "timestamp-ms": one.timestamp_ms,
        "manifest-list": f"{location}/{manifest_list_path(one.seq)}",
        "summary": {
            "operation": _operation(one),
            "total-data-files": str(one.files),
            "total-records": str(one.rows),
            "seamless.as-of": release.as_of,
            "seamless.kind": release.kind,
            "seamless.dataset-fingerprint": release.dataset_fingerprint,
        },
        "schema-id": SCHEMA.schema_id,
    }


def _operation(one: TableSnapshot) -> str:
    release = one.release
    if release.kind in _OPERATIONS:
        return _OPERATIONS[release.kind]
    if not release.withdrawn:
        return "append"
    return "overwrite" if release.added else "delete"
