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
from collections.abc import Sequence
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
from seamless_assets.adapters.sqlite.together import ProcessEnds, alone
from seamless_assets.aio.gather import gather
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import MIRROR_FOLDER, Release
from seamless_assets.errors import ArtifactMissing

VERSIONS = 8
"""Metadata files that are kept, so that a reader that just learned of one finds it."""
File = tuple[str, bytes]
"""A path below a table's location, and what is to be there."""
MAX_TABLES = 64
"""Tables that a process remembers the manifests of."""


class MirroredStore(Protocol):
    """What the mirror needs of the artifact store; paths are relative to a node's folder."""

    async def list_releases(self, node: NodeId, after: int = 0) -> list[Release]:
        """The node's log behind its first `after` records."""

    async def artifact_bytes(self, node: NodeId, ref: ArtifactRef) -> int:
        """How long the Parquet file of an artifact is, by its manifest."""

    async def has_file(self, node: NodeId, path: str) -> bool:
        """Whether there is such a file."""

    async def file_sizes(self, node: NodeId, paths: Sequence[str]) -> list[int]:
        """How long files are, in bytes. Raises `ArtifactMissing`."""

    async def list_names(self, node: NodeId, folder: str) -> set[str]:
        """Names of the files in a folder."""

    async def change_files(
        self,
        node: NodeId,
        *,
        create: Sequence[File] = (),
        replace: Sequence[File] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others.

        Each is written whole; those that are not there to be removed are no error.
        """

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
            known = None if is_thorough else self._tables.get(node)
            # What was followed last comes too, as a log that lacks it is none.
            log = await self._store.list_releases(node, after=known.seq - 1 if known else 0)
            if not log:
                return None
            # A table that failed half way is begun anew.
            self._tables.pop(node, None)
            table = known or _Table(self._store, self._catalog, node)
            if known:
                shown = await table.follow(log[1:])
            else:
                shown = await (table.repair(log) if is_thorough else table.resume(log))
            if len(self._tables) >= MAX_TABLES:
                self._tables.pop(next(iter(self._tables)))
            table.forget()
            self._tables[node] = table
            return shown

    async def close(self) -> None:
        """Close the catalog."""
        try:
            await alone(self._catalog.close)
        except ProcessEnds:
            self._catalog.close()


class _Table:
    """The table of a node: the log as far as it was followed, and what is written of its groups again.

    That is, by their names, the release that changed a group with how lists name its manifest since, and how
    long its files are (bytes, by their SHA-256).
    """

    def __init__(self, store: MirroredStore, catalog: Catalog, node: NodeId) -> None:
        self._store, self._catalog, self._node = store, catalog, node
        self._named: dict[str, tuple[int, bytes]] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._home = store.file_url(node, "")
        self._begin()

    def _begin(self) -> None:
        self._history = History()
        self._document = TableDocument(str(self._node), self.url("").rstrip("/"))

    @property
    def seq(self) -> int:
        """The number of the last release that it has."""
        return self._history.seq

    def url(self, path: str) -> str:
        """Where a file below the table's location is."""
        return f"{self._home}{MIRROR_FOLDER}/{path}"

    async def has(self, path: str) -> bool:
        """Whether a file is there, below the table's location."""
        return await self._store.has_file(self._node, f"{MIRROR_FOLDER}/{path}")

    async def resume(self, log: Sequence[Release]) -> str:
        """Go on where a process before this one ended; where that was in the middle, see to all of it.

        The URL of the metadata that are shown, here and below.
        """
        changed: list[Group] = []
        for release in log[:-1]:
            changed = self._advance(release)
        seq = self.seq
        wanted = [metadata_path(seq), *_snapshot_paths(seq, changed)] if seq else []
        if all([await self.has(path) for path in wanted]):
            # It may have ended before it removed what was too old.
            return await self.follow(log[-1:], lag=VERSIONS)
        self._begin()
        return await self.repair(log)

    async def repair(self, log: Sequence[Release]) -> str:
        """Write whatever is not there."""
        names = await self._store.list_names(self._node, f"{MIRROR_FOLDER}/{METADATA}")
        for release in log:
            changed = self._advance(release)
            wanted = _snapshot_paths(release.seq, changed)
            if not names.issuperset(path.removeprefix(f"{METADATA}/") for path in wanted):
                await self._create(await self._snapshot(changed))
        written = [seq_of(f"/{name}") for name in names]
        outdated = [seq for seq in written if seq and seq <= len(log) - VERSIONS]
        return await self._finish([], after=0, outdated=outdated)

    async def follow(self, fresh: Sequence[Release], *, lag: int = 0) -> str:
        """Write what the log has gained, and remove what is too old; of so many tables before that again."""
        before = self.seq
        files: list[File] = []
        for release in fresh:
            await self._create(files)
            files = await self._snapshot(self._advance(release))
        outdated = range(max(before - VERSIONS - lag, 0) + 1, self.seq - VERSIONS + 1)
        return await self._finish(files, after=before, outdated=outdated)

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
        seq = self.seq
        return [*files, (manifest_list_path(seq), encode_manifest_list(seq, named))]

    async def _learn_lengths(self) -> list[File]:
        """Learn how long the manifests of groups are that are not known; all are made where one is gone."""
        groups = self._history.groups
        unknown = [group for group in groups.values() if not self._is_named(group)]
        if not unknown:
            return []
        paths = [_path(group) for group in unknown]
        try:
            sizes = await self._store.file_sizes(self._node, [f"{MIRROR_FOLDER}/{path}" for path in paths])
        except ArtifactMissing:
            return [await self._manifest(group) for group in unknown]
        self._name(unknown, sizes)
        return []

    def _is_named(self, group: Group) -> bool:
        return self._named.get(group.name, (0, b""))[0] == group.changed_by

    def _name(self, groups: Sequence[Group], sizes: Sequence[int]) -> None:
        """Note how lists name the manifests of groups, which are `sizes` bytes long."""
        for group, size in zip(groups, sizes, strict=True):
            named = encode_named(group, self.url(_path(group)), size)
            self._named[group.name] = group.changed_by, named

    async def _manifest(self, group: Group) -> File:
        sizes = await self._file_sizes(group)
        placed = [
            PlacedFile.of(file, f"{self._home}{file.ref.file_path}", size)
            for file, size in zip(group.files, sizes, strict=True)
        ]
        payload = encode_manifest(group, placed)
        self._name([group], [len(payload)])
        return _path(group), payload

    async def _file_sizes(self, group: Group) -> list[int]:
        """Bytes of the Parquet files of a group, as their manifests say."""
        known, refs = self._sizes.get(group.name, {}), [file.ref for file in group.files]
        new = [ref for ref in refs if ref.file_sha256 not in known]
        learned = (self._store.artifact_bytes(self._node, ref) for ref in new)
        # Most releases add one artifact, and no task is as quick as none.
        sizes = await gather(learned) if len(new) > 1 else [await one for one in learned]
        known |= {ref.file_sha256: size for ref, size in zip(new, sizes, strict=True)}
        self._sizes[group.name] = {ref.file_sha256: known[ref.file_sha256] for ref in refs}
        return [known[ref.file_sha256] for ref in refs]

    async def _finish(self, files: Sequence[File], *, after: int, outdated: Sequence[int]) -> str:
        """Write the newest tables of those that follow release `after`, and show the last of them.

        `files` are beside that one. Tables are written in their order: whoever finds one believes that those
        before it are there. Outdated ones are removed: no reader can have learned of them just now.
        """
        last = self.seq
        tables = [
            (metadata_path(seq), self._document.encode(seq))
            for seq in range(max(after, last - VERSIONS) + 1, last + 1)
        ]
        for table in tables[:-1]:
            await self._create([table])
        await self._store.change_files(
            self._node,
            create=_in_folder([*files, *tables[-1:]]),
            replace=_in_folder([(HINT, str(last).encode())]),
            remove=[f"{MIRROR_FOLDER}/{metadata_path(seq)}" for seq in outdated],
        )
        return await self._point(last)

    async def _point(self, seq: int) -> str:
        """Have the catalog show the newest table, and the hint too where another process wrote a later one.

        Who wrote that either sees its hint written over, here, or writes it after this.
        """
        while True:
            url = self.url(metadata_path(seq))
            await asyncio.to_thread(self._catalog.point, self._node, url)
            if not await self.has(metadata_path(seq + 1)):
                return url
            seq += 1
            await self._store.change_files(self._node, replace=_in_folder([(HINT, str(seq).encode())]))

    async def _create(self, files: Sequence[File]) -> None:
        if files:
            await self._store.change_files(self._node, create=_in_folder(files))


def _in_folder(files: Sequence[File]) -> list[File]:
    return [(f"{MIRROR_FOLDER}/{path}", payload) for path, payload in files]


def _path(group: Group) -> str:
    return manifest_path(group.name, group.changed_by)


def _snapshot_paths(seq: int, changed: Sequence[Group]) -> list[str]:
    """What a release writes beside its table."""
    return [manifest_list_path(seq), *(_path(group) for group in changed)]
