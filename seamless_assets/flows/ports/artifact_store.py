"""Artifacts and release logs, as flows write and read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import pyarrow as pa

from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest, SealedArtifact, StoredFile
from seamless_assets.core.releases.log import Head
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.scan import Scan
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.health import StoreStatus


class ArtifactStore(Protocol):
    """Immutable artifacts and release logs. Paths are relative to the node's folder."""

    async def put_artifact(self, artifact: SealedArtifact, avoid: Collection[str] = ()) -> ArtifactRef:
        """Store it, or find it stored already, under no path of `avoid`.

        Raises `FingerprintCollision`, `ArtifactCorrupt`.
        """

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """Its manifest, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """Its bars, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def load_scan(self, node: NodeId, refs: Sequence[ArtifactRef]) -> Scan:
        """Bars, gaps and flags of artifacts in ascending order, all verified.

        Raises `ArtifactMissing`, `ArtifactCorrupt`.
        """

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The release log from its first record, verified as one chain."""

    async def load_snapshot(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot:
        """The snapshot after the last release at or before `as_of`, and of that dataset `fingerprint`."""

    def is_newest(self, node: NodeId, seq: int) -> bool | None:
        """Whether the log ends with record `seq`, told at once to any thread; None: it has to be asked."""

    def snapshot_at_hand(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot | None:
        """The same where nothing need be waited for to know it; None else."""

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add one record. Raises `ReleaseConflict` where another stands in that place of the log."""

    async def last_seen(self, node: NodeId) -> Head | None:
        """The last record of the log that this machine has seen before; None where none is known."""

    async def list_files(self, node: NodeId) -> list[StoredFile]:
        """Everything that lies one folder below the node's own, records and leftovers too, in no order."""

    async def read_file(self, node: NodeId, path: str) -> bytes:
        """What is stored there now, never from a cache. Raises `ArtifactMissing`."""

    async def remove_files(self, node: NodeId, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def status(self) -> StoreStatus:
        """What an operator wants to know of it; it was written to and read from."""

    def file_uri(self, node: NodeId, path: str) -> str:
        """Where a file below a node's folder is; of an empty path what stands before all of them."""


class ReleaseMirror(Protocol):
    """Shows release logs in another format, over the same files."""

    async def follow(self, node: NodeId, *, is_thorough: bool = False) -> str | None:
        """Bring the mirror of a node up to the end of its log; its URL, None before the first release.

        Where it `is_thorough`, what is missing of earlier releases is made again too. Raises `StoreError`.
        """
