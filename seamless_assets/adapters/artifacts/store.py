"""The artifact store: a folder or an S3 bucket, written only by create-if-absent.

Layout below the store's root, all names percent-encoded, none of them differing from another in case alone:

    {partition_template}/{partition}/{digest}.parquet
    {partition_template}/{partition}/{digest}.manifest.json
    {partition_template}/_releases/{seq:010}.json

A file is whole or not there: the store publishes each object atomically and never overwrites. The
Parquet file comes first, its manifest second, the release that makes both visible last. Released bars are
verified when they are first loaded, and then served from local copies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from seamless_assets.adapters.artifacts.exclusive import require_create_if_absent
from seamless_assets.adapters.artifacts.files import Files, listed_or_none, size_in
from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.log_reader import LogReader
from seamless_assets.adapters.artifacts.node_folders import NodeFolders
from seamless_assets.adapters.artifacts.proof import proven_file, proven_manifest, stored_bars
from seamless_assets.adapters.artifacts.scan import MAX_BYTES, ScanReader
from seamless_assets.adapters.artifacts.storage.bucket import BucketFiles
from seamless_assets.adapters.artifacts.storage.copied_bucket import CopiedBucket
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.core.bars.cells import canonical_cells
from seamless_assets.core.bars.extents import find_packing
from seamless_assets.core.calendar.instant import CLOCKS_DIFFER_S, instant_text
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import (
    ArtifactRef,
    Manifest,
    SealedArtifact,
    StoredFile,
    file_path,
    manifest_path,
    packing_facts,
)
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.core.releases.log import Head, ReleaseLog
from seamless_assets.core.releases.release import MIRROR_FOLDER, Release, record_path
from seamless_assets.core.releases.scan import Scan
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.errors import ArtifactCorrupt, ArtifactStoreError, FingerprintCollision, ReleaseConflict

T = TypeVar("T")
PROBE_S = 15.0
"""A store that has not done by then what a look at it asks is not well."""
MAX_LENGTHS = 1_000
"""Artifacts whose length is remembered from when they were stored."""
DEFAULT_TEMPLATE = "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"


class ArtifactStore:
    """Artifacts and release logs under one root; satisfies the flows' `ArtifactStore`.

    `uri` is a folder (absolute path or `file://`) or `s3://bucket/prefix`; `options` go to the object
    store's client (region, endpoint, credentials); `files` take the place of both. What was read is kept in
    memory up to `max_bytes`, and what was sent by a bucket in `copies`, where there are such; `heads`
    remember where the logs ended.
    """

    def __init__(
        self,
        uri: str,
        template: str = DEFAULT_TEMPLATE,
        copies: CopyFolder | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        files: Files | None = None,
        heads: SeenHeads | None = None,
        **options: Any,
    ) -> None:
        self._files = files or _open_files(uri, options, copies)
        self._folders = NodeFolders(self._files, template)
        self._copies = copies
        self._checking = asyncio.Lock()
        # A folder's own way to create a file cannot write over another.
        self._is_checked = self._files.is_near
        self._scans = ScanReader(self._files, max_bytes)
        self._log_reader = LogReader(self._files, copies, heads)
        self._heads = heads
        self._lengths: LRUCache[str, int] = LRUCache(MAX_LENGTHS)
        self.root = self._files.root

    async def put_artifact(self, artifact: SealedArtifact, avoid: Collection[str] = ()) -> ArtifactRef:
        """Store an artifact, or find it stored already; the same content twice changes nothing.

        No path of `avoid` is used. Raises `FingerprintCollision` where other bars hold its fingerprint,
        `ArtifactCorrupt` where the stored bytes are not what the fingerprint promises,
        `ArtifactStoreError` where the store fails.
        """
        await self._require_create_if_absent()
        manifest, content = artifact.manifest, artifact.manifest.dataset_fingerprint
        folder = await self._folders.find(artifact.node, is_written=True)
        copy = next(n for n in count() if file_path(manifest.partition, content, n) not in avoid)
        file = f"{folder}/{file_path(manifest.partition, content, copy)}"
        is_new = await self._files.create(file, artifact.payload)
        if not is_new:
            manifest = _with_file(artifact, await self._proven(file, partial(_twin, artifact)))
        for edition in count():
            below = manifest_path(manifest.partition, content, edition)
            if below in avoid:
                continue
            path = f"{folder}/{below}"
            if await self._files.create(path, manifest.to_json()):
                break
            is_new = False
            stored = await self._proven(path, lambda uri, held: Manifest.from_json(held, uri))
            if stored.same_facts(manifest):
                manifest = stored
                break
        ref = ArtifactRef.of(manifest, edition, copy)
        self._lengths[ref.manifest_sha256] = manifest.file_bytes
        if is_new:
            await self._files.keep([(file, artifact.payload), (path, manifest.to_json())])
        return ref

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of `ref`. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        path = await self._path(node, ref.manifest_path)
        return await self._proven(path, lambda uri, held: proven_manifest(uri, held, node, ref))

    async def artifact_bytes(self, node: NodeId, ref: ArtifactRef) -> int:
        """How long the Parquet file of `ref` is, by its manifest, which is not read just after it was put.

        Raises like `load_manifest`.
        """
        known = self._lengths.get(ref.manifest_sha256)
        return (await self.load_manifest(node, ref)).file_bytes if known is None else known

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """The bars of `ref`, shape `(rows, 6)`, past the local copies.

        Raises `ArtifactMissing`, `ArtifactCorrupt`.
        """
        path = await self._path(node, ref.file_path)
        return await self._proven(path, lambda uri, held: proven_file(uri, held, node, ref).bars())

    async def load_scan(self, node: NodeId, refs: Sequence[ArtifactRef]) -> Scan:
        """Bars, gaps and flags of artifacts in order. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        return await self._scans.load(node, await self._folders.find(node), refs)

    async def list_releases(self, node: NodeId, after: int = 0) -> list[Release]:
        """The node's release log behind its first `after` records, verified as one chain.

        Only records not yet seen are fetched.
        """
        return list((await self._log(node)).releases[after:])

    async def load_snapshot(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot:
        """The snapshot after the last release at or before `as_of`, and of that dataset `fingerprint`."""
        return await self._log_reader.load_snapshot(node, await self._folders.find(node), as_of, fingerprint)

    def is_newest(self, node: NodeId, seq: int) -> bool | None:
        """Whether the log ends with record `seq` (0: has none), told at once to any thread.

        None: it has to be asked.
        """
        if seq == 0:
            return self._is_unreleased(node)
        folder = self._folders.found(node)
        if folder is None:
            return None
        follows = self._files.is_there_now(f"{folder}/{record_path(seq + 1)}")
        if follows is not False:
            return None if follows is None else False
        # Of a log that is gone nothing is the newest; who asks for it is told.
        return self._files.is_there_now(f"{folder}/{record_path(seq)}") or None

    def _is_unreleased(self, node: NodeId) -> bool | None:
        """Whether the node has no log, wherever that might be, as `is_newest` tells it."""
        firsts = [f"{folder}/{record_path(1)}" for folder in self._folders.possible(node)]
        there = [self._files.is_there_now(first) for first in firsts]
        return None if None in there else not any(there)

    def snapshot_at_hand(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot | None:
        """The same where the log's end is known without waiting; None else."""
        folder = self._folders.found(node)
        if folder is None:
            return None
        return self._log_reader.snapshot_at_hand(node, folder, as_of, fingerprint)

    async def last_seen(self, node: NodeId) -> Head | None:
        """The last record of the node's log that this machine has seen before; None where none is known."""
        return await self._log_reader.last_seen(await self._folders.find(node))

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add a record to the log. Raises `ReleaseConflict` where another has its number.

        Raises `CreateIfAbsentUnsupported` in a store that could not say so.
        """
        await self._require_create_if_absent()
        folder = await self._folders.find(node, is_written=True)
        path, payload = f"{folder}/{record_path(release.seq)}", release.to_json()
        # A request that was sent again after a lost answer finds its own record, and whoever was told to have
        # created it may have been told wrongly: what stands there says who was first.
        await self._files.create(path, payload)
        if await self._files.read(path) == payload:
            await self._log_reader.add(node, folder, release)
            return
        raise ReleaseConflict(
            f"release {release.seq} of {node} was written by another process; read the log and retry",
            uri=self._files.uri(path),
            seq=release.seq,
        )

    async def list_files(self, node: NodeId) -> list[StoredFile]:
        """Everything one folder below the node's own, leftovers of killed writers too, by path below it.

        What lies deeper is of a node whose folder lies in this one, save the leftovers of its mirror.
        """
        folder = await self._folders.find(node)
        listed = await listed_or_none(
            self._files, lambda: self._files.list_files(folder), f"{folder}/{record_path(1)}"
        )
        every = [replace(file, path=file.path.removeprefix(f"{folder}/")) for file in listed]
        return [file for file in every if file.path.count("/") == 1 or _is_left_of_mirror(file)]

    async def read_file(self, node: NodeId, path: str) -> bytes:
        """What is stored there now. Raises `ArtifactMissing`."""
        return await self._files.read(await self._path(node, path))

    async def remove_files(self, node: NodeId, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        folder = await self._folders.find(node)
        await self._files.remove([f"{folder}/{path}" for path in paths])

    async def change_files(
        self,
        node: NodeId,
        *,
        create: Sequence[tuple[str, bytes]] = (),
        replace: Sequence[tuple[str, bytes]] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others.

        Each is written whole; those that are not there to be removed are no error.
        """
        await self._require_create_if_absent()
        folder = await self._folders.find(node)
        await self._files.change(
            [(f"{folder}/{path}", payload) for path, payload in create],
            [(f"{folder}/{path}", payload) for path, payload in replace],
            [f"{folder}/{path}" for path in remove],
        )

    async def has_file(self, node: NodeId, path: str) -> bool:
        """Whether there is such a file."""
        return await self._files.is_there(await self._path(node, path))

    async def file_sizes(self, node: NodeId, paths: Sequence[str]) -> list[int]:
        """How long files are, in bytes. Raises `ArtifactMissing`."""
        signatures = await self._files.signatures([await self._path(node, path) for path in paths])
        return [size_in(signature) for signature in signatures]

    async def list_names(self, node: NodeId, folder: str) -> set[str]:
        """Names of the files right in a folder below the node's own."""
        paths = await self._files.list_paths(await self._path(node, folder))
        return {path.rpartition("/")[2] for path in paths}

    async def status(self) -> StoreStatus:
        """Do what the work needs: write a small file, read it, and fail to create one that is there.

        Raises `CreateIfAbsentUnsupported`, `ArtifactStoreError`, the latter too where that takes `PROBE_S`.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PROBE_S):
                await self._files.probe()
                await require_create_if_absent(self._files)
        except TimeoutError as error:
            raise ArtifactStoreError(
                f"{self.root} did not answer within {PROBE_S:.0f} s; check endpoint and network",
                uri=self.root,
            ) from error
        return StoreStatus(
            kind=self._files.kind,
            address=self.root,
            version=f"obstore {version('obstore')}",
            lag="none, writes are seen at once",
            latency_ms=(time.perf_counter() - began) * 1000,
            warning=await asyncio.to_thread(self._dated_ahead),
        )

    async def close(self) -> None:
        """Wait for what is still being written locally."""
        if self._copies is not None:
            await self._copies.close()

    def file_uri(self, node: NodeId, path: str) -> str:
        """Where a file of the node's folder is, once anything was asked of the node."""
        return self._files.uri(f"{self._folders.known(node)}/{path}")

    def file_url(self, node: NodeId, path: str) -> str:
        """The same as a URL: `file://` or the bucket's own."""
        uri = self.file_uri(node, path)
        return uri if "://" in uri else f"file://{uri}"

    def _dated_ahead(self) -> str:
        """What there is to say of logs that end with a record dated after this machine's clock."""
        now = instant_text(int((time.time() + CLOCKS_DIFFER_S) * 1_000_000))
        ahead = list(self._heads.dated_after(now)) if self._heads else []
        if not ahead:
            return ""
        named = ", ".join(f"{seen.node_id} until {seen.as_of}" for seen in ahead[:3])
        more = f" and {len(ahead) - 3} more" if len(ahead) > 3 else ""
        return (
            f"releases are dated ahead of this machine's clock, and who reads as of now does not see them: "
            f"{named}{more}; set the clock by NTP, and see docs/reading-snapshots.md, a release dated ahead"
        )

    async def _require_create_if_absent(self) -> None:
        """Before the first write: see that the store is one that can be written to."""
        async with self._checking:
            if not self._is_checked:
                await require_create_if_absent(self._files)
                self._is_checked = True

    async def _proven(self, path: str, prove: Callable[[str, bytes], T]) -> T:
        """What `prove` makes of a file's URI and bytes; where it refuses these, they are asked for again."""
        uri = self._files.uri(path)
        try:
            return prove(uri, await self._files.read(path))
        except ArtifactCorrupt:
            return prove(uri, await self._files.read(path))

    async def _path(self, node: NodeId, below: str) -> str:
        return f"{await self._folders.find(node)}/{below}"

    async def _log(self, node: NodeId) -> ReleaseLog:
        return await self._log_reader.load(node, await self._folders.find(node))


def _is_left_of_mirror(file: StoredFile) -> bool:
    return file.is_leftover and file.path.startswith(f"{MIRROR_FOLDER}/")


def _open_files(uri: str, options: Mapping[str, Any], copies: CopyFolder | None) -> Files:
    if "://" in uri and not uri.startswith("file://"):
        root = uri.rstrip("/")
        return BucketFiles(root, options) if copies is None else CopiedBucket(root, options, copies)
    return FolderFiles(str(Path(uri.removeprefix("file://")).absolute()))


def _with_file(artifact: SealedArtifact, payload: bytes) -> Manifest:
    manifest = artifact.manifest
    return replace(
        manifest,
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        **packing_facts(manifest.policy, find_packing(payload, artifact.bars)),
    )


def _twin(artifact: SealedArtifact, uri: str, payload: bytes) -> bytes:
    """The bytes already stored under the artifact's fingerprint, proven to hold the same bars."""
    if payload == artifact.payload:
        return payload
    manifest = artifact.manifest
    bars = stored_bars(uri, payload)
    found = fingerprint(
        bars,
        node_id=artifact.node,
        interval=artifact.node.timeframe,
        conformance_version=manifest.conformance_version,
    )
    if found != manifest.dataset_fingerprint:
        raise ArtifactCorrupt(f"{uri} holds bars of fingerprint {found}; restore or remove it", uri=uri)
    if not np.array_equal(canonical_cells(bars), canonical_cells(artifact.bars)):
        raise FingerprintCollision(f"other bars already stand at {uri}; report this", uri=uri)
    return payload
