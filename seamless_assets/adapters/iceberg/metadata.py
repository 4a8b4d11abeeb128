"""The metadata file of a table: all its snapshots, each under the number of its release."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from msgspec.json import decode, encode

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
}
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


def table_metadata(node_id: str, location: str, snapshots: Sequence[TableSnapshot]) -> bytes:
    """The metadata of a table at `location` with all snapshots of a log, one at least, up to the current one.

    Equal logs at equal places give equal bytes.
    """
    last = snapshots[-1]
    document: dict[str, Any] = {
        "format-version": 2,
        "table-uuid": str(uuid5(NAMESPACE_URL, f"{location}#{node_id}")),
        "location": location,
        "last-sequence-number": last.seq,
        "last-updated-ms": last.timestamp_ms,
        "last-column-id": SCHEMA.highest_field_id,
        "current-schema-id": SCHEMA.schema_id,
        "schemas": [decode(SCHEMA.model_dump_json())],
        "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "last-partition-id": 999,
        "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {**PROPERTIES, "seamless.node-id": node_id},
        "current-snapshot-id": last.seq,
        "refs": {
            MAIN: {"snapshot-id": last.seq, "type": "branch"},
            **{tag(one.seq): {"snapshot-id": one.seq, "type": "tag"} for one in snapshots},
        },
        "snapshots": [_snapshot(one, location) for one in snapshots],
        "snapshot-log": [{"snapshot-id": one.seq, "timestamp-ms": one.timestamp_ms} for one in snapshots],
        "metadata-log": [],
    }
    return encode(document)


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
