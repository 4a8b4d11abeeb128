"""The artifact store: a folder or an S3 bucket, written only by create-if-absent.

Layout below the store's root, all names percent-encoded:

    {partition_template}/{partition}/{digest}.parquet
    {partition_template}/{partition}/{digest}.manifest.json
    {partition_template}/_releases/{seq:010}.json

A file is whole or not there: the store publishes each object atomically and never overwrites. The
Parquet file comes first, its manifest second, the release that makes both visible last.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from seamless_assets.core.artifact import ArtifactRef, Manifest, SealedArtifact, manifest_name
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.fingerprint import fingerprint
from seamless_assets.core.keep import StoreStatus
from seamless_assets.core.node import NodeId, path_value
from seamless_assets.core.parquet import decode_bars
from seamless_assets.core.release import Release, verify_chain
from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    FingerprintCollision,
    ReleaseConflict,
)

DEFAULT_TEMPLATE = "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
_LOG = "_releases"


class ArtifactStore:
    """Artifacts and release logs under one root; satisfies the flows' `ArtifactStore`.

    `uri` is a folder (absolute path or `file://`) or `s3://bucket/prefix`; `options` go to the object
    store's client (region, endpoint, credentials).
    """

    def __init__(self, uri: str, template: str = DEFAULT_TEMPLATE, **options: Any) -> None:
        self._template = template
        self._logs: dict[NodeId, list[Release]] = {}
        self._options = options
        is_remote = "://" in uri and not uri.startswith("file://")
        self.root = uri.rstrip("/") if is_remote else str(Path(uri.removeprefix("file://")))

    @cached_property
    def _store(self) -> Any:
        """Opened at the first use, so that a folder that cannot be had is an error like any other."""
        if "://" in self.root:
            return from_url(self.root, **self._options)
        return LocalStore(self.root, mkdir=True)

    async def put_artifact(self, artifact: SealedArtifact) -> ArtifactRef:
        """Store an artifact, or find it stored already; the same content twice changes nothing.

        Raises `FingerprintCollision` where other bars hold its fingerprint, `ArtifactCorrupt` where the
        stored bytes are not what the fingerprint promises, `ArtifactStoreError` where the store fails.
        """
        manifest = artifact.manifest
        folder = self._folder(artifact.node, manifest.partition)
        path = f"{folder}/{ArtifactRef.of(manifest).file_name}"
        if not await self._create(path, artifact.payload):
            manifest = _with_file(manifest, await self._stored_twin(path, artifact))
        edition = 0
        while True:
            path = f"{folder}/{manifest_name(manifest.dataset_fingerprint, edition)}"
            if await self._create(path, manifest.to_json()):
                return ArtifactRef.of(manifest, edition)
            stored = Manifest.from_json(await self._read(path), self._uri(path))
            if stored.same_facts(manifest):
                return ArtifactRef.of(stored, edition)
            edition += 1

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of `ref`. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        path = f"{self._folder(node, ref.partition)}/{ref.manifest_name}"
        payload = await self._read(path)
        self._expect(path, payload, ref.manifest_sha256)
        return Manifest.from_json(payload, self._uri(path))

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """The bars of `ref`, shape `(rows, 6)`. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        path = f"{self._folder(node, ref.partition)}/{ref.file_name}"
        payload = await self._read(path)
        self._expect(path, payload, ref.file_sha256)
        return self._parse(path, payload)

    async def list_artifacts(self, node: NodeId) -> list[tuple[ArtifactRef, Manifest]]:
        """Every stored artifact of the node, released or not, in no order. Raises `ArtifactCorrupt`."""
        found = []
        for path in await self._list(self._node_folder(node)):
            if path.endswith(".manifest.json"):
                manifest = Manifest.from_json(await self._read(path), self._uri(path))
                edition = path.rsplit("/", 1)[1].removesuffix(".manifest.json").partition(".")[2]
                found.append((ArtifactRef.of(manifest, int(edition or 0)), manifest))
        return found

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The node's release log, verified as one chain; only records not yet seen are fetched."""
        known = self._logs.get(node, [])
        folder = f"{self._node_folder(node)}/{_LOG}"
        paths = await self._list(folder, f"{folder}/{_record_name(len(known))}" if known else None)
        if not paths:
            return list(known)
        fresh = [Release.from_json(await self._read(path), self._uri(path)) for path in paths]
        log = [*known, *fresh]
        verify_chain(log, self._uri(folder))
        self._logs[node] = log
        return list(log)

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add a record to the log. Raises `ReleaseConflict` where its number is taken."""
        path = f"{self._node_folder(node)}/{_LOG}/{_record_name(release.seq)}"
        if not await self._create(path, release.to_json()):
            raise ReleaseConflict(
                f"release {release.seq} of {node} was written by another process; read the log and retry",
                uri=self._uri(path),
                seq=release.seq,
            )

    async def status(self) -> StoreStatus:
        """Write, read and remove a small object. Raises `ArtifactStoreError`."""
        path, began = f"_probe/{uuid4()}", time.perf_counter()
        await self._create(path, b"probe")
        await self._read(path)
        async with self._reported(path):
            await obstore.delete_async(self._store, path)
        return StoreStatus(
            kind="a folder" if isinstance(self._store, LocalStore) else "an object store",
            address=self.root,
            version=f"obstore {version('obstore')}",
            lag="none, writes are seen at once",
            latency_ms=(time.perf_counter() - began) * 1000,
        )

    def artifact_uri(self, node: NodeId, ref: ArtifactRef) -> str:
        """Where the Parquet file of `ref` is."""
        return self._uri(f"{self._folder(node, ref.partition)}/{ref.file_name}")

    def manifest_uri(self, node: NodeId, ref: ArtifactRef) -> str:
        """Where the manifest of `ref` is."""
        return self._uri(f"{self._folder(node, ref.partition)}/{ref.manifest_name}")

    def _node_folder(self, node: NodeId) -> str:
        return self._template.format(**node.path_values)

    def _folder(self, node: NodeId, partition: str) -> str:
        return f"{self._node_folder(node)}/{path_value(partition)}"

    def _uri(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _expect(self, path: str, payload: bytes, promised: str) -> None:
        found = sha256_text(payload)
        if found != promised:
            raise ArtifactCorrupt(
                f"{self._uri(path)} holds {found}, its release promises {promised}; restore the file",
                uri=self._uri(path),
            )

    def _parse(self, path: str, payload: bytes) -> pa.Table:
        try:
            return decode_bars(payload)
        except (pa.ArrowException, OSError) as error:
            uri = self._uri(path)
            raise ArtifactCorrupt(f"{uri} is not a Parquet file of bars: {error}", uri=uri) from error

    async def _stored_twin(self, path: str, artifact: SealedArtifact) -> bytes:
        """The bytes already stored under this fingerprint, proven to hold the same bars."""
        payload = await self._read(path)
        if payload == artifact.payload:
            return payload
        manifest, uri = artifact.manifest, self._uri(path)
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

    async def _list(self, prefix: str, offset: str | None = None) -> list[str]:
        async with self._reported(prefix):
            listed = obstore.list(self._store, prefix=prefix, offset=offset)
            return sorted([item["path"] async for batch in listed for item in batch])

    async def _create(self, path: str, payload: bytes) -> bool:
        async with self._reported(path):
            try:
                await obstore.put_async(self._store, path, payload, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    async def _read(self, path: str) -> bytes:
        async with self._reported(path):
            answer = await obstore.get_async(self._store, path)
            return bytes(await answer.bytes_async())

    @asynccontextmanager
    async def _reported(self, path: str) -> AsyncIterator[None]:
        uri = self._uri(path)
        try:
            yield
        except FileNotFoundError as error:
            raise ArtifactMissing(f"{uri} is not there; it was removed or never written", uri=uri) from error
        except (BaseError, OSError) as error:
            raise ArtifactStoreError(f"artifact store cannot reach {uri}: {error}", uri=uri) from error


def _record_name(seq: int) -> str:
    return f"{seq:010}.json"


def _with_file(manifest: Manifest, payload: bytes) -> Manifest:
    return replace(manifest, file_sha256=sha256_text(payload), file_bytes=len(payload))
