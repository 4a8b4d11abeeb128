"""The part of the face that governs what is released; `seamless` puts it together with the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.partition import UNITS, PartitionUnit
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import is_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.release import Release
from seamless_assets.errors import InvalidChoice, InvalidInput
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading import released
from seamless_assets.flows.releasing import clean_up as cleaning
from seamless_assets.flows.releasing import compact as compacting
from seamless_assets.flows.releasing import govern as governing
from seamless_assets.flows.releasing import verify as verifying
from seamless_assets.flows.releasing.clean_up import GRACE_S, CleanUpReport
from seamless_assets.flows.releasing.compact import CompactReport
from seamless_assets.flows.releasing.govern import SnapshotDiff
from seamless_assets.flows.releasing.verify import VerifyReport
from seamless_assets.pipeline.face import AsyncFace, Face


class AsyncGovernance(AsyncFace):
    """Awaited methods on a node's releases."""

    async def release(
        self,
        node: str | NodeId,
        *,
        reason: str,
        partition: str | None = None,
        fingerprint: str | None = None,
    ) -> Release:
        """See `Governance.release`."""
        known, why = self._declared(node), _reason(reason)
        return await self._do(
            lambda ports: governing.release_by_hand(ports, known, why, partition, fingerprint)
        )

    async def unpin(self, node: str | NodeId, *, reason: str) -> Release:
        """See `Governance.unpin`."""
        known, why = self._declared(node), _reason(reason)
        return await self._do(lambda ports: governing.unpin(ports, known, why))

    async def rollback(
        self, node: str | NodeId, *, reason: str, to: int | None = None, as_of: Any = None
    ) -> Release:
        """See `Governance.rollback`."""
        known, why, instant = self._declared(node), _reason(reason), _instant(as_of)
        if (to is None) == (as_of is None):
            raise InvalidInput("say where to roll back to: the seq of a release, or an as_of, not both")
        return await self._do(lambda ports: governing.rollback(ports, known, why, to=to, as_of=instant))

    async def withdraw(self, node: str | NodeId, partition: str, *, reason: str) -> Release:
        """See `Governance.withdraw`."""
        known, why = self._declared(node), _reason(reason)
        return await self._do(lambda ports: governing.withdraw(ports, known, partition, why))

    async def compact(self, node: str | NodeId, unit: PartitionUnit | None = None) -> CompactReport:
        """See `Governance.compact`."""
        known = self._declared(node)
        if unit is not None and unit not in UNITS:
            raise InvalidChoice(f"unit {unit!r} is not one of {', '.join(UNITS)}", value=unit, choices=UNITS)
        return await self._do(lambda ports: compacting.compact(ports, known, unit))

    async def gc(self, node: str | NodeId | None = None, *, grace_s: float = GRACE_S) -> list[CleanUpReport]:
        """See `Governance.gc`."""
        nodes = self._nodes() if node is None else [self._declared(node)]
        if not grace_s >= 0:
            raise InvalidInput(f"grace_s is {grace_s!r}; give seconds from 0 up", value=grace_s)

        async def work(ports: Ports) -> list[CleanUpReport]:
            return [await cleaning.clean_up(ports, known, grace_s) for known in nodes]

        return await self._do(work)

    async def verify(
        self, node: str | NodeId, *, on_progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        """See `Governance.verify`."""
        parsed = NodeId.parse(node)
        return await self._do(lambda ports: verifying.verify(ports, parsed, on_progress))

    async def diff(self, node: str | NodeId, before: Any, after: Any = None) -> SnapshotDiff:
        """See `Governance.diff`."""
        parsed, bounds = NodeId.parse(node), (_instant(before), _instant(after))
        return await self._do(lambda ports: governing.diff(ports, parsed, *bounds))

    async def releases(self, node: str | NodeId) -> list[Release]:
        """See `Governance.releases`."""
        parsed = NodeId.parse(node)
        return await self._do(lambda ports: ports.artifacts.list_releases(parsed))

    async def manifest(self, node: str | NodeId, ref: ArtifactRef) -> Manifest:
        """See `Governance.manifest`."""
        parsed = NodeId.parse(node)
        return await self._do(lambda ports: ports.artifacts.load_manifest(parsed, ref))

    async def released_window(
        self, node: str | NodeId, as_of: Any = None, *, dataset_fingerprint: str | None = None
    ) -> Segment:
        """See `Governance.released_window`."""
        parsed = NodeId.parse(node)
        context = ComputeContext(as_of=as_of, dataset_fingerprint=dataset_fingerprint)
        snapshot = await self._do(lambda ports: released.bind_snapshot(ports, parsed, context))
        return Segment(snapshot.artifacts[0].start, max(ref.end for ref in snapshot.artifacts))

    async def snapshot_files(
        self, node: str | NodeId, as_of: Any = None, *, dataset_fingerprint: str | None = None
    ) -> list[str]:
        """See `Governance.snapshot_files`."""
        parsed = NodeId.parse(node)
        context = ComputeContext(as_of=as_of, dataset_fingerprint=dataset_fingerprint)
        return await self._do(lambda ports: released.snapshot_files(ports, parsed, context))


class Governance(Face):
    """What decides of a node's releases, and what tells of them."""

    aio: AsyncGovernance

    def release(
        self,
        node: str | NodeId,
        *,
        reason: str,
        partition: str | None = None,
        fingerprint: str | None = None,
    ) -> Release:
        """Release by hand what waits for it, whatever its checks said.

        Of each partition that is what was sealed last, where it was not decided on since, or where a
        rollback or withdrawal holds it back. With a `partition` (`2025-01-31`, `2025-01`, `2025`) it is
        what waits inside that, with a `fingerprint` the artifact of that content. The pins of what is
        touched are lifted, no others. Raises `NothingReleased` where there is nothing, `ReleaseRefused`
        where nothing can be put in force while pins stay, or where several wait, pinned ones among them,
        and no partition is given.
        """
        return self._run(self.aio.release(node, reason=reason, partition=partition, fingerprint=fingerprint))

    def unpin(self, node: str | NodeId, *, reason: str) -> Release:
        """Lift all pins of a node: releases may change again what rollbacks and withdrawals hold.

        What is in force stays so until then. Raises `NothingReleased` where nothing ever was.
        """
        return self._run(self.aio.unpin(node, reason=reason))

    def rollback(
        self, node: str | NodeId, *, reason: str, to: int | None = None, as_of: Any = None
    ) -> Release:
        """Put in force again what was so after release `to`, or at `as_of`, as a new release.

        What that changes is pinned: materializing does not touch it until a release by hand. Older
        `as_of` read as before. Raises `NothingReleased`, `InvalidInput`.
        """
        return self._run(self.aio.rollback(node, reason=reason, to=to, as_of=as_of))

    def withdraw(self, node: str | NodeId, partition: str, *, reason: str) -> Release:
        """Take a partition (`2025-01-31`, `2025-01`, `2025`) out of force, and pin it so.

        Raises `NothingReleased` where nothing of it is in force.
        """
        return self._run(self.aio.withdraw(node, partition, reason=reason))

    def compact(self, node: str | NodeId, unit: PartitionUnit | None = None) -> CompactReport:
        """Merge small artifacts into one for each closed month (or `unit`), as an ordinary release.

        Bars stay the same, which `verify` proves, and every older `as_of` reads its old files.
        """
        return self._run(self.aio.compact(node, unit))

    def gc(self, node: str | NodeId | None = None, *, grace_s: float = GRACE_S) -> list[CleanUpReport]:
        """Remove files that no release names and nobody waits for, older than `grace_s` seconds.

        Of all declared nodes, or of one. No release, of any writer at any time, misses a file after it.
        """
        return self._run(self.aio.gc(node, grace_s=grace_s))

    def verify(
        self, node: str | NodeId, *, on_progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        """Prove every hash from the release log down to the bars; each fault is in the report.

        `on_progress` is called, in the pipeline's thread, with the artifacts that are proven and with all.
        """
        return self._run(self.aio.verify(node, on_progress=on_progress))

    def diff(self, node: str | NodeId, before: Any, after: Any = None) -> SnapshotDiff:
        """How the dataset changed from one `as_of` to another, by default the newest one."""
        return self._run(self.aio.diff(node, before, after))

    def releases(self, node: str | NodeId) -> list[Release]:
        """The node's release log, oldest first; any entry's `as_of` can be passed back to `read`."""
        return self._run(self.aio.releases(node))

    def manifest(self, node: str | NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of a released artifact, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        return self._run(self.aio.manifest(node, ref))

    def released_window(
        self, node: str | NodeId, as_of: Any = None, *, dataset_fingerprint: str | None = None
    ) -> Segment:
        """From the first to the last released bar at `as_of`. Raises `NothingReleased`."""
        return self._run(self.aio.released_window(node, as_of, dataset_fingerprint=dataset_fingerprint))

    def snapshot_files(
        self, node: str | NodeId, as_of: Any = None, *, dataset_fingerprint: str | None = None
    ) -> list[str]:
        """The Parquet files that are the dataset at `as_of`, ascending, for engines that read such files.

        They are immutable and hold each bar once. Raises `NothingReleased`.
        """
        return self._run(self.aio.snapshot_files(node, as_of, dataset_fingerprint=dataset_fingerprint))


def _reason(reason: Any) -> str:
    if not is_text(reason) or not reason.strip():
        raise InvalidInput("what is done by hand needs a reason that the next reader of the log understands")
    return str(reason)


def _instant(as_of: Any) -> str | None:
    return None if as_of is None else instant_text(epoch_micros(as_of, "as_of"))
