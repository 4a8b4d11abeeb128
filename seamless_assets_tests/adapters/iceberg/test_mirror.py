"""The mirror in trouble: stores that fail at any step, processes side by side, logs of any shape."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.io import InputFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile, read_manifest_list, write_manifest, write_manifest_list
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table.metadata import TableMetadataUtil
from support.artifacts import NODE, seal_bars

from seamless_assets.adapters.iceberg.avro import (
    SCHEMA,
    PlacedFile,
    encode_manifest,
    encode_manifest_list,
    encode_named,
)
from seamless_assets.adapters.iceberg.catalog import TableCatalog
from seamless_assets.adapters.iceberg.history import Group, History, LiveFile, group_name
from seamless_assets.adapters.iceberg.metadata import TableDocument
from seamless_assets.adapters.iceberg.mirror import VERSIONS, IcebergMirror
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot, next_release, ordered
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.testing import DAY, START, InMemoryArtifactStore, InMemoryFiles, random_walk

NOW = (START + 400 * DAY) * 1_000_000


@dataclass
class FailingFiles(InMemoryFiles):
    """Files in memory of which the write number `fails_at` fails."""

    fails_at: int = -1
    written: count[int] = field(default_factory=count)

    async def create(self, path: str, payload: bytes) -> bool:
        self._fail()
        return await super().create(path, payload)

    async def replace(self, path: str, payload: bytes) -> None:
        self._fail()
        await super().replace(path, payload)

    def _fail(self) -> None:
        if next(self.written) == self.fails_at:
            raise ArtifactStoreError("the disk is full")


@pytest.fixture
def catalog(tmp_path: Path) -> TableCatalog:
    return TableCatalog(tmp_path / "iceberg.sqlite")


async def released(store: InMemoryArtifactStore, days: Sequence[int]) -> list[ArtifactRef]:
    """A record for each day, which adds an artifact of ten bars."""
    refs = []
    for day in days:
        start = START + day * DAY
        bars = table_of(((ts, *row) for ts, row in random_walk(start, start + 600).items()), BARS_SCHEMA)
        ref = await store.put_artifact(seal_bars(bars, instant_text(start * 1_000_000)[:10]))
        await append(store, added=[ref])
        refs.append(ref)
    return refs


async def append(
    store: InMemoryArtifactStore, added: Sequence[ArtifactRef] = (), withdrawn: Sequence[ArtifactRef] = ()
) -> None:
    before = await store.load_snapshot(NODE)
    entry = next_release(
        before,
        added=added,
        withdrawn=withdrawn,
        now_micros=(START + 400 * DAY) * 1_000_000,
        checks={},
        reason="r",
    )
    await store.append_release(NODE, entry)


def mirrored(files: InMemoryFiles) -> dict[str, bytes]:
    return {path: payload for path, payload in files.held.items() if "/_iceberg/" in path}


@pytest.mark.parametrize("lag", [1, 3, 6])
async def test_a_store_that_fails_at_any_write_leaves_nothing_that_the_next_release_does_not_mend(
    catalog: TableCatalog, lag: int
) -> None:
    whole = FailingFiles()
    store = InMemoryArtifactStore(whole)
    await released(store, range(20 - lag))
    await IcebergMirror(store, catalog).follow(NODE)
    await released(store, range(20 - lag, 20))
    before, logged = mirrored(whole), (dict(whole.held), dict(whole.made_at))
    whole.written = count()
    await IcebergMirror(store, catalog).follow(NODE)
    truth, writes = mirrored(whole), next(whole.written)
    assert truth != before and writes > 3
    for fails_at in range(writes):
        held, made_at = map(dict, logged)
        files = FailingFiles(held=held, made_at=made_at, fails_at=fails_at)
        broken = IcebergMirror(InMemoryArtifactStore(files), catalog)
        with pytest.raises(ArtifactStoreError, match="disk is full"):
            await broken.follow(NODE)
        # The same process goes on, or another one does.
        heir = broken if fails_at % 2 else IcebergMirror(InMemoryArtifactStore(files), catalog)
        await heir.follow(NODE)
        assert mirrored(files) == truth


async def test_processes_side_by_side_write_one_table(catalog: TableCatalog) -> None:
    files = InMemoryFiles()
    stores = [InMemoryArtifactStore(files) for _ in range(4)]
    mirrors = [IcebergMirror(store, catalog) for store in stores]
    for day in range(12):
        await released(stores[day % 4], [day])
        await asyncio.gather(*(mirror.follow(NODE) for mirror in mirrors[day % 3 :]))
    await asyncio.gather(*(mirror.follow(NODE) for mirror in mirrors))
    seen = mirrored(files)
    logged = {path: payload for path, payload in files.held.items() if path not in seen}
    alone = InMemoryFiles(held=logged, made_at=files.made_at)
    await IcebergMirror(InMemoryArtifactStore(alone), catalog).follow(NODE)
    assert seen == mirrored(alone)


async def test_a_mirror_is_closed_though_no_work_begins_on_threads_any_more(
    catalog: TableCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(catalog, "close", lambda: closed.append(True))
    await asyncio.get_running_loop().shutdown_default_executor()
    await IcebergMirror(InMemoryArtifactStore(InMemoryFiles()), catalog).close()
    assert closed


async def test_a_table_keeps_its_newest_versions_and_every_snapshot(catalog: TableCatalog) -> None:
    files = InMemoryFiles()
    store = InMemoryArtifactStore(files)
    mirror = IcebergMirror(store, catalog)
    refs = []
    for day in range(VERSIONS + 5):
        refs += await released(store, [day])
        url = await mirror.follow(NODE)
    await append(store, withdrawn=refs)
    url = await mirror.follow(NODE)
    assert url is not None and url.endswith(f"/v{VERSIONS + 6}.metadata.json")
    assert len([path for path in mirrored(files) if path.endswith(".metadata.json")]) == VERSIONS
    table = TableMetadataUtil.parse_raw(files.held[url.removeprefix("file://memory/")].decode())
    assert [one.snapshot_id for one in table.snapshots] == list(range(1, VERSIONS + 7))
    for snapshot in table.snapshots:
        path = snapshot.manifest_list.removeprefix("file://memory/")
        manifests = manifests_of(files.held[path])
        live = sum((one.added_files_count or 0) + (one.existing_files_count or 0) for one in manifests)
        assert live == (0 if snapshot.snapshot_id == VERSIONS + 6 else snapshot.snapshot_id)
        assert all(len(files.held[one.manifest_path[14:]]) == one.manifest_length for one in manifests)


def manifests_of(payload: bytes) -> list[ManifestFile]:
    """The manifests that the bytes of a list name."""
    return list(read_manifest_list(_Held(payload)))


class _Held(InputFile):
    def __init__(self, payload: bytes) -> None:
        super().__init__("held")
        self._payload = payload

    def __len__(self) -> int:
        return len(self._payload)

    def exists(self) -> bool:
        return True

    def open(self, seekable: bool = True) -> Any:
        return io.BytesIO(self._payload)


async def test_who_follows_a_log_asks_for_what_it_has_gained(catalog: TableCatalog) -> None:
    store, listed = InMemoryArtifactStore(InMemoryFiles()), list[list[int]]()
    list_all = store.list_releases

    async def list_releases(node: NodeId, after: int = 0) -> list[Release]:
        found = await list_all(node, after)
        listed.append([release.seq for release in found])
        return found

    mirror: Any = IcebergMirror(store, catalog)
    store.list_releases = list_releases  # type: ignore[method-assign]
    for days in ([0, 1], [2], [], [3, 4]):
        await released(store, days)
        url = await mirror.follow(NODE)
    assert listed == [[1, 2], [2, 3], [3], [3, 4, 5]] and url.endswith("/v5.metadata.json")


async def test_a_table_remembers_the_sizes_of_what_is_in_force_alone(catalog: TableCatalog) -> None:
    store = InMemoryArtifactStore(InMemoryFiles())
    mirror = IcebergMirror(store, catalog)
    refs = await released(store, [0, 1, 40])
    await mirror.follow(NODE)
    await append(store, withdrawn=refs[:1])
    await mirror.follow(NODE)
    table = mirror._tables[NODE]
    held = {name for sizes in table._sizes.values() for name in sizes}
    assert held == {ref.file_sha256 for ref in refs[1:]} and len(table._named) == 2
    await append(store, withdrawn=refs[1:])
    await mirror.follow(NODE)
    table = mirror._tables[NODE]
    assert not table._sizes and not table._named


@given(st.lists(st.tuples(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40))), max_size=12))
def test_history_knows_the_files_of_every_record(acts: list[tuple[set[int], set[int]]]) -> None:
    history, snapshot = History(), Snapshot(str(NODE), None, ())
    for days, gone in acts:
        held = {ref.start: ref for ref in snapshot.artifacts}
        withdrawn = [held[day] for day in gone | days if day in held]
        added = [artifact_of(day, history.seq) for day in days]
        entry = next_release(
            snapshot, added=added, withdrawn=withdrawn, now_micros=START, checks={}, reason="r"
        )
        kept = {*snapshot.artifacts} - {*withdrawn} | {*added}
        snapshot = Snapshot(str(NODE), entry, ordered(kept))
        changed = history.advance(entry)
        files = {file.ref for group in history.groups.values() for file in group.files}
        assert files == {ref for ref in kept if ref.rows}
        assert history.newest.files == len(files)
        assert history.newest.rows == sum(ref.rows for ref in files)
        assert all(group.changed_by == history.seq and group.files for group in changed)
        assert all(group_name(file.ref) == group.name for group in changed for file in group.files)


def artifact_of(day: int, edition: int) -> ArtifactRef:
    """A made-up artifact of a day, some without a bar."""
    name = f"2025-{1 + day // 28:02}-{1 + day % 28:02}"
    return ArtifactRef(
        name, day, day + 1, day % 5, f"sha256:{day}", f"sha256:{day}", f"sha256:{day}.{edition}"
    )


def test_a_catalog_whose_folder_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactStoreError, match="cannot be written"):
        TableCatalog(tmp_path / "file" / "iceberg.sqlite").point(
            NODE, "file:///b/_iceberg/metadata/v1.metadata.json"
        )


def test_a_catalog_never_goes_back_and_names_one_table(catalog: TableCatalog, tmp_path: Path) -> None:
    location = "file:///bars/node/_iceberg/metadata"
    for seq, shown in ((1, 1), (10, 10), (9, 10), (11, 11)):
        catalog.point(NODE, f"{location}/v{seq}.metadata.json")
        with sqlite3.connect(catalog.path) as held:
            rows = held.execute("select table_namespace, table_name, metadata_location from iceberg_tables")
            assert rows.fetchall() == [("ohlcv.okx", NODE.asset_key[2], f"{location}/v{shown}.metadata.json")]
    with pytest.raises(ArtifactStoreError, match=r"state_dir of its own, or.* run `seamless mirror`"):
        catalog.point(NODE, "file:///other/_iceberg/metadata/v12.metadata.json")
    catalog.path.write_bytes(b"no database" * 100)
    with pytest.raises(ArtifactStoreError, match="seamless mirror"):
        TableCatalog(catalog.path).point(NODE, f"{location}/v12.metadata.json")


@pytest.mark.parametrize("statement", ["DROP TABLE iceberg_tables", "BEGIN IMMEDIATE"])
def test_a_catalog_that_was_shown_and_fails_is_an_error_of_the_store(
    catalog: TableCatalog, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = "file:///bars/node/_iceberg/metadata"
    monkeypatch.setattr("seamless_assets.adapters.iceberg.catalog.BUSY_S", 0)
    catalog.point(NODE, f"{location}/v1.metadata.json")
    with sqlite3.connect(catalog.path, isolation_level=None) as other:
        other.execute(statement)
        with pytest.raises(ArtifactStoreError, match="makes it anew"):
            catalog.point(NODE, f"{location}/v2.metadata.json")


def test_a_table_of_any_release_is_the_same_whenever_it_is_encoded() -> None:
    history, document = History(), TableDocument(str(NODE), "file:///bars/_iceberg")
    snapshot, seen = Snapshot(str(NODE), None, ()), []
    for day in range(12):
        entry = next_release(
            snapshot, added=[artifact_of(day, 0)], withdrawn=(), now_micros=START, checks={}, reason="r"
        )
        snapshot = Snapshot(str(NODE), entry, ordered([*snapshot.artifacts, *entry.added]))
        history.advance(entry)
        document.add(history.newest)
        seen.append(document.encode(entry.seq))
    for seq, payload in enumerate(seen, start=1):
        assert payload == document.encode(seq) == msgspec.json.encode(msgspec.json.decode(payload))
        table = TableMetadataUtil.parse_raw(payload.decode())
        names = {"main": seq, **{f"seq-{number}": number for number in range(1, seq + 1)}}
        assert {name: ref.snapshot_id for name, ref in table.refs.items()} == names
        assert [one.snapshot_id for one in table.snapshots] == list(range(1, seq + 1))
        assert [one.snapshot_id for one in table.snapshot_log] == list(range(1, seq + 1))
        assert (
            table.last_updated_ms == table.snapshots[-1].timestamp_ms == table.snapshot_log[-1].timestamp_ms
        )


@pytest.mark.parametrize("count", [0, 1, 2, 70, 700])
def test_lists_are_as_pyiceberg_writes_them(tmp_path: Path, count: int) -> None:
    groups = [Group(f"2025-{at}", (LiveFile(artifact_of(at, 0), at + 1),), at + 1) for at in range(count)]
    urls = [f"file:///bars/{group.name}.avro" for group in groups]
    named = [encode_named(*one) for one in zip(groups, urls, range(count), strict=True)]
    made = encode_manifest_list(count + 1, named)
    again = manifests_of(made)
    assert [one.manifest_path for one in again] == urls
    output = PyArrowFileIO().new_output(str(tmp_path / "list.avro"))
    with write_manifest_list(2, output, count + 1, count or None, count + 1, "null") as writer:
        if again:
            writer.add_manifests(again)
    theirs = (tmp_path / "list.avro").read_bytes()
    assert made == theirs.replace(writer._writer.sync_bytes, bytes(range(16)))


@pytest.mark.parametrize("changed_by", [1, 5])
def test_manifests_are_as_pyiceberg_writes_them(tmp_path: Path, changed_by: int) -> None:
    files = tuple(LiveFile(artifact_of(day, 0), day + 1) for day in range(changed_by))
    group = Group("2025-01", files, changed_by)
    placed = [
        PlacedFile.of(live, f"file:///bars/{live.added_by}.parquet", 1_000 + day)
        for day, live in enumerate(files)
    ]
    made = encode_manifest(group, placed)
    (tmp_path / "made.avro").write_bytes(made)
    manifest, io = (
        manifests_of(encode_manifest_list(1, [encode_named(group, str(tmp_path / "made.avro"), len(made))]))[
            0
        ],
        PyArrowFileIO(),
    )
    entries = manifest.fetch_manifest_entry(io)
    assert [(entry.status.name, entry.snapshot_id) for entry in entries] == [
        ("ADDED" if live.added_by == changed_by else "EXISTING", live.added_by) for live in files
    ]
    assert [entry.data_file.file_path for entry in entries] == [file.uri for file in placed]
    output = io.new_output(str(tmp_path / "theirs.avro"))
    with write_manifest(2, UNPARTITIONED_PARTITION_SPEC, SCHEMA, output, changed_by, "null") as writer:
        for entry in entries:
            writer.add_entry(entry)
    theirs = (tmp_path / "theirs.avro").read_bytes()
    assert made == theirs.replace(writer._writer.sync_bytes, bytes(range(16)))
