"""The artifact store: a folder or an S3 bucket, written only by create-if-absent.

Layout below the store's root, all names percent-encoded:

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
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import count
from typing import Any

import pyarrow as pa

from seamless_assets._together import together
from seamless_assets.adapters.object_files import open_files
from seamless_assets.adapters.segment_cache import SegmentCache, SegmentCopy
from seamless_assets.core.artifact import (
    ArtifactRef,
    Manifest,
    SealedArtifact,
    StoredFile,
    file_path,
    manifest_path,
)
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.fingerprint import fingerprint, fingerprints
from seamless_assets.core.keep import StoreStatus
from seamless_assets.core.node import NodeId
from seamless_assets.core.parquet import decode_bars
from seamless_assets.core.release import (
    LOG_FOLDER,
    Release,
    ReleaseLog,
    Snapshot,
    record_number,
    record_path,
)
from seamless_assets.core.run import Run, bundles, join_runs, run_of
from seamless_assets.errors import (
    ArtifactCorrupt,
    FingerprintCollision,
    InvalidFrame,
    ReleaseConflict,
)

DEFAULT_TEMPLATE = "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
KEPT_RUNS = 16
"""Runs that a process holds open."""
LOOK_EACH_TIME = 32
"""Up to so many artifacts the files of a folder are looked at again at each read, else once a second."""


@dataclass(slots=True)
class _Kept:
    """A run in memory, the paths it came from, and their signatures as they were when it was verified."""

    run: Run
    paths: list[str]
    signatures: list[int] | None
    looked: float


class ArtifactStore:
    """Artifacts and release logs under one root; satisfies the flows' `ArtifactStore`.

    `uri` is a folder (absolute path or `file://`) or `s3://bucket/prefix`; `options` go to the object
    store's client (region, endpoint, credentials). Without a `cache` copies live as long as the process.
    """

    def __init__(
        self, uri: str, template: str = DEFAULT_TEMPLATE, cache: SegmentCache | None = None, **options: Any
    ) -> None:
        self._template = template
        self._files = open_files(uri, options)
        self._cache = cache
        self._loading = asyncio.Semaphore(self._files.runs_at_once)
        self._folders: dict[NodeId, str] = {}
        self._logs: dict[NodeId, ReleaseLog] = {}
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        self.root = self._files.root

    async def put_artifact(self, artifact: SealedArtifact, avoid: Collection[str] = ()) -> ArtifactRef:
        """Store an artifact, or find it stored already; the same content twice changes nothing.

        No path of `avoid` is used. Raises `FingerprintCollision` where other bars hold its fingerprint,
        `ArtifactCorrupt` where the stored bytes are not what the fingerprint promises,
        `ArtifactStoreError` where the store fails.
        """
        manifest, content = artifact.manifest, artifact.manifest.dataset_fingerprint
        copy = next(n for n in count() if file_path(manifest.partition, content, n) not in avoid)
        path = self._path(artifact.node, file_path(manifest.partition, content, copy))
        if not await self._files.create(path, artifact.payload):
            manifest = _with_file(manifest, await self._stored_twin(path, artifact))
        for edition in count():
            below = manifest_path(manifest.partition, content, edition)
            if below in avoid:
                continue
            path = self._path(artifact.node, below)
            if await self._files.create(path, manifest.to_json()):
                break
            stored = Manifest.from_json(await self._files.read(path), self._files.uri(path))
            if stored.same_facts(manifest):
                manifest = stored
                break
        return ArtifactRef.of(manifest, edition, copy)

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of `ref`. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        path = self._path(node, ref.manifest_path)
        return self._manifest(path, await self._files.read(path), ref)

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """The bars of `ref`, shape `(rows, 6)`, past the local copies.

        Raises `ArtifactMissing`, `ArtifactCorrupt`.
        """
        path = self._path(node, ref.file_path)
        payload = await self._files.read(path)
        self._expect(path, payload, ref.file_sha256)
        return self._parse(path, payload)

    async def load_run(self, node: NodeId, refs: Sequence[ArtifactRef]) -> Run:
        """Bars, gaps and flags of artifacts in order. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        key = tuple([ref.manifest_sha256 for ref in refs])
        kept = self._kept.get(key)
        if kept is not None and await self._is_unchanged(kept):
            self._kept.move_to_end(key)
            return kept.run
        parts = await together(self._bundle(node, bundle) for bundle in bundles(refs))
        whole = _Kept(
            join_runs([part.run for part in parts]),
            [path for part in parts for path in part.paths],
            _joined([part.signatures for part in parts]),
            time.monotonic(),
        )
        self._kept[key] = whole
        while len(self._kept) > KEPT_RUNS:
            self._kept.popitem(last=False)
        return whole.run

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The node's release log, verified as one chain; only records not yet seen are fetched."""
        return list((await self._log(node)).releases)

    async def load_snapshot(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot:
        """The snapshot after the last release at or before `as_of`, and of that dataset `fingerprint`."""
        return (await self._log(node)).snapshot(as_of, fingerprint)

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add a record to the log. Raises `ReleaseConflict` where another has its number."""
        path, payload = self._path(node, record_path(release.seq)), release.to_json()
        # A request that was sent again after a lost answer finds its own record.
        if await self._files.create(path, payload) or await self._files.read(path) == payload:
            return
        raise ReleaseConflict(
            f"release {release.seq} of {node} was written by another process; read the log and retry",
            uri=self._files.uri(path),
            seq=release.seq,
        )

    async def list_files(self, node: NodeId) -> list[StoredFile]:
        """Everything one folder below the node's own, leftovers of killed writers too, by path below it.

        What lies deeper is of a node whose folder lies in this one.
        """
        listed = await self._files.list_files(self._node_folder(node))
        every = [replace(file, path=self._below(node, file.path)) for file in listed]
        return [file for file in every if file.path.count("/") == 1]

    async def read_file(self, node: NodeId, path: str) -> bytes:
        """What is stored there now. Raises `ArtifactMissing`."""
        return await self._files.read(self._path(node, path))

    async def remove_files(self, node: NodeId, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        await self._files.remove([self._path(node, path) for path in paths])

    async def status(self) -> StoreStatus:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""
        began = time.perf_counter()
        await self._files.probe()
        return StoreStatus(
            kind=self._files.kind,
            address=self.root,
            version=f"obstore {version('obstore')}",
            lag="none, writes are seen at once",
            latency_ms=(time.perf_counter() - began) * 1000,
        )

    def file_uri(self, node: NodeId, path: str) -> str:
        """Where a file of the node's folder is."""
        return self._files.uri(self._path(node, path))

    def _node_folder(self, node: NodeId) -> str:
        if node not in self._folders:
            self._folders[node] = self._template.format(**node.path_values)
        return self._folders[node]

    def _path(self, node: NodeId, below: str) -> str:
        return f"{self._node_folder(node)}/{below}"

    def _below(self, node: NodeId, path: str) -> str:
        return path.removeprefix(f"{self._node_folder(node)}/")

    async def _log(self, node: NodeId) -> ReleaseLog:
        log = self._logs.setdefault(node, ReleaseLog(str(node)))
        folder = self._path(node, LOG_FOLDER)
        while True:
            known = len(log.releases)
            paths = await self._records_after(node, known)
            if not paths:
                return log
            payloads = await self._files.read_all(paths)
            # Another read of this log may have been quicker.
            if len(log.releases) == known:
                named = zip(paths, payloads, strict=True)
                fresh = [Release.from_json(payload, self._files.uri(path)) for path, payload in named]
                log.extend(fresh, self._files.uri(folder))

    async def _records_after(self, node: NodeId, known: int) -> list[str]:
        """Paths of the records that follow the known ones; one question answers that there are none."""
        if known:
            following, last = (self._path(node, record_path(seq)) for seq in (known + 1, known))
            if not await self._files.exists(following, last):
                return []
        after = self._path(node, record_path(known)) if known else None
        listed = await self._files.list_files(self._path(node, LOG_FOLDER), after)
        return [file.path for file in listed if record_number(self._below(node, file.path)) is not None]

    async def _bundle(self, node: NodeId, refs: tuple[ArtifactRef, ...]) -> _Kept:
        """The run of artifacts that are kept together: from its local copy, else from the store."""
        async with self._loading:
            return await self._load_bundle(node, refs)

    async def _load_bundle(self, node: NodeId, refs: tuple[ArtifactRef, ...]) -> _Kept:
        files = [self._path(node, ref.file_path) for ref in refs]
        manifests = [self._path(node, ref.manifest_path) for ref in refs]
        paths = files + manifests
        copy = None if self._cache is None else await asyncio.to_thread(self._cache.load, refs)
        if copy is not None and copy.signatures == await self._files.signatures(paths):
            run = await asyncio.to_thread(self._proven, node, refs, manifests, copy)
            if run is not None:
                return _Kept(run, paths, copy.signatures, 0.0)
        return await self._files.load(paths, partial(self._verified, refs, paths))

    def _proven(
        self, node: NodeId, refs: Sequence[ArtifactRef], manifests: Sequence[str], copy: SegmentCopy
    ) -> Run | None:
        """The run of a local copy, None where it does not hold what the log promises."""
        if len(copy.manifests) != len(refs):
            return None
        try:
            told = [self._manifest(*each) for each in zip(manifests, copy.manifests, refs, strict=True)]
            parts = [(ref.rows, each.conformance_version) for ref, each in zip(refs, told, strict=True)]
            found = fingerprints(copy.bars, parts, node_id=node, interval=node.timeframe)
        except (ArtifactCorrupt, InvalidFrame):
            return None
        return run_of(told, [copy.bars]) if found == [ref.fingerprint for ref in refs] else None

    def _verified(
        self,
        refs: Sequence[ArtifactRef],
        paths: list[str],
        payloads: Sequence[bytes],
        signatures: list[int] | None,
    ) -> _Kept:
        """The run of stored files, manifests after files, that hold what the log promises; it is copied."""
        many = len(refs)
        tables, manifests = [], []
        for ref, path, payload in zip(refs, paths[:many], payloads[:many], strict=True):
            self._expect(path, payload, ref.file_sha256)
            tables.append(self._parse(path, payload))
        for ref, path, payload in zip(refs, paths[many:], payloads[many:], strict=True):
            manifests.append(self._manifest(path, payload, ref))
        run = run_of(manifests, tables)
        if self._cache is not None:
            self._cache.keep(refs, SegmentCopy(run.bars, list(payloads[many:]), signatures))
        return _Kept(run, paths, signatures, 0.0)

    async def _is_unchanged(self, kept: _Kept) -> bool:
        """Whether the files of a folder are still those that were verified; buckets are trusted for that."""
        if kept.signatures is None:
            return True
        now = time.monotonic()
        if len(kept.signatures) > 2 * LOOK_EACH_TIME and now - kept.looked < 1.0:
            return True
        kept.looked = now
        return await self._files.signatures(kept.paths) == kept.signatures

    def _manifest(self, path: str, payload: bytes, ref: ArtifactRef) -> Manifest:
        self._expect(path, payload, ref.manifest_sha256)
        return Manifest.from_json(payload, self._files.uri(path))

    def _expect(self, path: str, payload: bytes, promised: str) -> None:
        found = sha256_text(payload)
        if found != promised:
            raise ArtifactCorrupt(
                f"{self._files.uri(path)} holds {found}, its release promises {promised}; restore the file",
                uri=self._files.uri(path),
            )

    def _parse(self, path: str, payload: bytes) -> pa.Table:
        try:
            return decode_bars(payload)
        except (pa.ArrowException, OSError) as error:
            uri = self._files.uri(path)
            raise ArtifactCorrupt(f"{uri} is not a Parquet file of bars: {error}", uri=uri) from error

    async def _stored_twin(self, path: str, artifact: SealedArtifact) -> bytes:
        """The bytes already stored under this fingerprint, proven to hold the same bars."""
        payload = await self._files.read(path)
        if payload == artifact.payload:
            return payload
        manifest, uri = artifact.manifest, self._files.uri(path)
        found = fingerprint(
            self._parse(path, payload),
            node_id=artifact.node,
            interval=artifact.node.timeframe,
            conformance_version=manifest.conformance_version,
        )
        if found != manifest.dataset_fingerprint:
            raise ArtifactCorrupt(f"{uri} holds bars of fingerprint {found}; restore or remove it", uri=uri)
        if self._parse(path, payload) != self._parse(path, artifact.payload):
            raise FingerprintCollision(f"other bars already stand at {uri}; report this", uri=uri)
        return payload


def _joined(signatures: Sequence[list[int] | None]) -> list[int] | None:
    known = [one for one in signatures if one is not None]
    return [number for one in known for number in one] if len(known) == len(signatures) else None


def _with_file(manifest: Manifest, payload: bytes) -> Manifest:
    return replace(manifest, file_sha256=sha256_text(payload), file_bytes=len(payload))
