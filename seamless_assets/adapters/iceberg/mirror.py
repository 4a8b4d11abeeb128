"""The mirror: each node's release log as a table of Apache Iceberg, beside the files that it names.

Layout below the node's folder; all but the hint is written by create-if-absent:

    _iceberg/metadata/{group}.{seq}.avro      the files of neighbouring partitions since a release
    _iceberg/metadata/snap-{seq}.avro         the manifests of a release
    _iceberg/metadata/v{seq}.metadata.json    the table; the newest few are kept
    _iceberg/metadata/version-hint.text       the newest number

Everything follows from the log and the manifests of its artifacts, so what is lost or half written is made
again, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from seamless_assets.adapters.iceberg.avro import (
    PlacedFile,
    encode_manifest,
    encode_manifest_list,
    encode_named,
)
from seamless_assets.adapters.iceberg.history import Group, History
from seamless_assets.adapters.iceberg.metadata import (
    HINT,
    METADATA,
    TableDocument,
    manifest_list_path,
    manifest_path,
    metadata_path,
    seq_of,
)
from seamless_assets.aio.gather import gather
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.release import Release
from seamless_assets.errors import ArtifactMissing

FOLDER = "_iceberg"
VERSIONS = 8
"""Metadata files that are kept, so that a reader that just learned of one finds it."""
File = tuple[str, bytes]
"""A path below a table's location, and what is to be there."""
MAX_TABLES = 64
"""Tables that a process remembers the manifests of."""


class MirroredStore(Protocol):
    """What the mirror needs of the artifact store; paths are relative to a node's folder."""

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The node's log."""

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """A manifest, verified."""

    async def has_file(self, node: NodeId, path: str) -> bool:
        """Whether there is such a file."""

    async def file_sizes(self, node: NodeId, paths: Sequence[str]) -> list[int]:
        """How long files are, in bytes. Raises `ArtifactMissing`."""

    async def list_names(self, node: NodeId, folder: str) -> set[str]:
        """Names of the files in a folder."""

    async def create_file(self, node: NodeId, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is."""

    async def replace_file(self, node: NodeId, path: str, payload: bytes) -> None:
        """Write a file at once and whole, over what is there."""

    async def remove_files(self, node: NodeId, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    def file_url(self, node: NodeId, path: str) -> str:
        """Where a file is, as `file://` or `s3://`."""


class Catalog(Protocol):
    """What names the tables of nodes."""

    def point(self, node: NodeId, url: str) -> None:
        """Have a node's table show the metadata at `url`, unless it shows a later one already."""

    def close(self) -> None:
        """Close what was opened."""


class IcebergMirror:
    """Follows release logs as Iceberg tables; satisfies the flows' `ReleaseMirror`."""

    def __init__(self, store: MirroredStore, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog
        self._tables: dict[NodeId, _Table] = {}
        self._busy: WeakValueDictionary[NodeId, asyncio.Lock] = WeakValueDictionary()

    async def follow(self, node: NodeId, *, is_thorough: bool = False) -> str | None:
        """Bring a node's table up to the end of its log; the URL of its metadata, None without a release.

        Where it `is_thorough`, what is missing of earlier releases is made again too.
        """
        async with self._busy.setdefault(node, asyncio.Lock()):
            log = await self._store.list_releases(node)
            if not log:
                return None
            # A table that failed half way is begun anew.
            table = self._tables.pop(node, None)
            if table is None or is_thorough:
                table = _Table(self._store, node)
                await (table.repair(log) if is_thorough else table.resume(log))
            else:
                await table.follow(log)
            if len(self._tables) >= MAX_TABLES:
                self._tables.pop(next(iter(self._tables)))
            table.forget()
            self._tables[node] = table
            return await self._point(table, node, len(log))

    async def _point(self, table: _Table, node: NodeId, seq: int) -> str:
        """Have the catalog show the newest table, also where another process writes a later one meanwhile."""
        while True:
            url = table.url(metadata_path(seq))
            await asyncio.to_thread(self._catalog.point, node, url)
            if not await table.has(metadata_path(seq + 1)):
                return url
            seq += 1

    async def close(self) -> None:
        """Close the catalog."""
        await asyncio.to_thread(self._catalog.close)


class _Table:
    """The table of a node: the log as far as it was followed, and what is written of its groups again.

    That is, by their names, the release that changed a group with how lists name its manifest since, and how
    long its files are (bytes, by their SHA-256).
    """

    def __init__(self, store: MirroredStore, node: NodeId) -> None:
        self._store, self._node = store, node
        self._named: dict[str, tuple[int, bytes]] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._begin()

    def _begin(self) -> None:
        self._history = History()
        self._document = TableDocument(str(self._node), self.url("").rstrip("/"))

    def url(self, path: str) -> str:
        """Where a file below the table's location is."""
        return self._store.file_url(self._node, f"{FOLDER}/{path}")

    async def has(self, path: str) -> bool:
        """Whether a file is there, below the table's location."""
        return await self._store.has_file(self._node, f"{FOLDER}/{path}")

    async def resume(self, log: Sequence[Release]) -> None:
        """Go on where a process before this one ended; where that was in the middle, see to all of it."""
        changed: list[Group] = []
        for release in log[:-1]:
            changed = self._advance(release)
        seq = self._history.seq
        wanted = [metadata_path(seq), *_snapshot_paths(seq, changed)] if seq else []
        if all([await self.has(path) for path in wanted]):
            await self.follow(log)
            # It may have ended before it removed what was too old.
            await self._remove(range(max(seq - 2 * VERSIONS, 0) + 1, len(log) - VERSIONS + 1))
        else:
            self._begin()
            await self.repair(log)

    async def repair(self, log: Sequence[Release]) -> None:
        """Write whatever is not there."""
        names = await self._store.list_names(self._node, f"{FOLDER}/{METADATA}")
        for release in log:
            changed = self._advance(release)
            wanted = _snapshot_paths(release.seq, changed)
            if not names.issuperset(path.removeprefix(f"{METADATA}/") for path in wanted):
                await self._create(await self._snapshot(changed))
        await self._write_tables([], after=0)
        await self._show()
        written = [seq_of(f"/{name}") for name in names]
        await self._remove(seq for seq in written if seq and seq <= len(log) - VERSIONS)

    async def follow(self, log: Sequence[Release]) -> None:
        """Write what the log has gained. Files of a release are written side by side."""
        before = self._history.seq
        files: list[File] = []
        for release in log[before:]:
            await self._create(files)
            files = await self._snapshot(self._advance(release))
        await self._write_tables(files, after=before)
        await self._show()
        await self._remove(range(max(before - VERSIONS, 0) + 1, len(log) - VERSIONS + 1))

    def forget(self) -> None:
        """Forget groups of which nothing is in force any more."""
        for held in (self._named, self._sizes):
            for name in held.keys() - self._history.groups.keys():
                del held[name]

    def _advance(self, release: Release) -> list[Group]:
        """Take one more release in; the groups that it changed and that hold any file."""
        changed = self._history.advance(release)
        assert self._history.newest is not None
        self._document.add(self._history.newest)
        return changed

    async def _snapshot(self, changed: Sequence[Group]) -> list[File]:
        """The manifests that the newest release changed, and the list of all."""
        files = [await self._manifest(group) for group in changed]
        files += await self._learn_lengths()
        named = [self._named[name][1] for name in self._history.groups]
        seq = self._history.seq
        path = manifest_list_path(seq)
        return [*files, (path, await asyncio.to_thread(encode_manifest_list, seq, named, self.url(path)))]

    async def _learn_lengths(self) -> list[File]:
        """Learn how long the manifests of groups are that are not known; all are made where one is gone."""
        groups = self._history.groups
        unknown = [group for group in groups.values() if not self._is_named(group)]
        paths = [_path(group) for group in unknown]
        try:
            sizes = await self._store.file_sizes(self._node, [f"{FOLDER}/{path}" for path in paths])
        except ArtifactMissing:
            return [await self._manifest(group) for group in unknown]
        self._name(unknown, sizes)
        return []

    def _is_named(self, group: Group) -> bool:
        return self._named.get(group.name, (0, b""))[0] == group.changed_by

    def _name(self, groups: Sequence[Group], sizes: Sequence[int]) -> None:
        """Note how lists name the manifests of groups, which are `sizes` bytes long."""
        urls = [self.url(_path(group)) for group in groups]
        for group, named in zip(groups, encode_named(groups, urls, sizes), strict=True):
            self._named[group.name] = group.changed_by, named

    async def _manifest(self, group: Group) -> File:
        known = self._sizes.get(group.name, {})
        sizes = await gather(self._size(file.ref, known) for file in group.files)
        self._sizes[group.name] = {
            file.ref.file_sha256: size for file, size in zip(group.files, sizes, strict=True)
        }
        placed = [
            PlacedFile(file, self._store.file_url(self._node, file.ref.file_path), size)
            for file, size in zip(group.files, sizes, strict=True)
        ]
        path = _path(group)
        payload = await asyncio.to_thread(encode_manifest, group, placed, self.url(path))
        self._name([group], [len(payload)])
        return path, payload

    async def _size(self, ref: ArtifactRef, known: Mapping[str, int]) -> int:
        """Bytes of a Parquet file, as its manifest says."""
        size = known.get(ref.file_sha256)
        return (await self._store.load_manifest(self._node, ref)).file_bytes if size is None else size

    async def _write_tables(self, files: Sequence[File], *, after: int) -> None:
        """Write the newest tables of those that follow release `after`, `files` beside the last of them.

        In their order: whoever finds one believes that those before it are there.
        """
        last = self._history.seq
        for seq in range(max(after, last - VERSIONS) + 1, last + 1):
            table = await asyncio.to_thread(self._document.encode, seq)
            beside = files if seq == last else ()
            await self._create([*beside, (metadata_path(seq), table)])

    async def _show(self) -> None:
        """Point the hint at the newest table.

        Where another process wrote a later one meanwhile, the hint goes there: who wrote it either sees its
        hint written over, here, or writes it after this.
        """
        seq = self._history.seq
        while True:
            await self._store.replace_file(self._node, f"{FOLDER}/{HINT}", str(seq).encode())
            if not await self.has(metadata_path(seq + 1)):
                return
            seq += 1

    async def _remove(self, seqs: Iterable[int]) -> None:
        """Remove tables that are too old for a reader to have learned of them just now."""
        paths = [f"{FOLDER}/{metadata_path(seq)}" for seq in seqs]
        if paths:
            await self._store.remove_files(self._node, paths)

    async def _create(self, files: Sequence[File]) -> None:
        await gather(self._store.create_file(self._node, f"{FOLDER}/{path}", held) for path, held in files)


def _path(group: Group) -> str:
    return manifest_path(group.name, group.changed_by)


def _snapshot_paths(seq: int, changed: Sequence[Group]) -> list[str]:
    """What a release writes beside its table."""
    return [manifest_list_path(seq), *(_path(group) for group in changed)]
