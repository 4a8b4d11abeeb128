"""Govern: what people do to a release log by hand, each an ordinary record with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import window_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import (
    ArtifactRef,
    Manifest,
    file_path,
    manifest_edition,
    manifest_path,
)
from seamless_assets.core.releases.gate import check_manifests
from seamless_assets.core.releases.release import Release, ReleaseKind, Revision
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.core.releases.supersession import (
    Change,
    awaiting,
    by_path,
    in_the_way,
    is_pinned,
    remove,
    restore,
    supersede,
)
from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    InvalidChoice,
    NothingReleased,
    ReleaseRefused,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import (
    commit,
    instant_micros,
    refuse_discarded,
    revision_of,
    revisions,
)

SHOWN = 5
"""Partitions that a message names."""


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """How the dataset at release `after` differs from that at `before`: artifacts, and bars one by one.

    `bars` counts the bars that only `after` has, that only `before` has, and whose values differ.
    """

    node_id: str
    before: Release
    after: Release
    added: tuple[ArtifactRef, ...]
    withdrawn: tuple[ArtifactRef, ...]
    bars: Revision


async def release_by_hand(
    ports: Ports,
    node: NodeId,
    reason: str,
    partition: str | None = None,
    fingerprint: str | None = None,
    *,
    force: bool = False,
) -> Release:
    """Release what waits for it, whatever its checks said, and lift the pins of what that touches.

    The record names the checks, passed or not; what holds no bar at all is released by `force` alone.

    With a `partition` it is what waits inside that; with a `fingerprint` it is the artifact of that
    content, released before or not. What is so already changes nothing. Raises `NothingReleased` where
    nothing was ever published, `ReleaseRefused` where nothing can be put in force and pins stay, or where
    several partitions wait, pinned ones among them, and none is named.
    """
    window = None if partition is None else window_of_key(node.timeframe, partition)

    async def plan(before: Snapshot) -> Release | None:
        log = await ports.artifacts.list_releases(node)
        stored = await unreleased(ports, node, log, before.discarded)
        if fingerprint is None:
            wanted = _inside(window, awaiting(before, log, stored))
            if window is None:
                _refuse_to_guess(before, wanted)
        else:
            known = [*(ref for entry in log for ref in entry.added), *(ref for ref, _ in stored)]
            wanted = _of_content(node, _inside(window, known), fingerprint)
        change = supersede(before, wanted)
        if change.added:
            manifests = [await ports.artifacts.load_manifest(node, ref) for ref in change.added]
            if not force:
                _refuse_empty(node, manifests)
            policy = ports.policy
            checks = check_manifests(manifests, policy.severities, policy.coverage_ratio_threshold)
            return await _entry(ports, node, before, change, reason, "by_hand", checks)
        _refuse_in_vain(before, wanted, window)
        return None

    entry = await commit(ports, node, plan)
    if entry is None:
        raise NothingReleased(f"{node} has no artifact; publish or materialize it first", node_id=str(node))
    return entry


async def unpin(ports: Ports, node: NodeId, reason: str) -> Release:
    """Let releases change again what rollbacks and withdrawals hold; what is in force stays as it is.

    Where nothing is pinned nothing changes. Raises `NothingReleased` where nothing ever was.
    """

    async def plan(before: Snapshot) -> Release | None:
        if not before.pinned:
            return None
        return await _entry(ports, node, before, Change((), ()), reason, "by_hand")

    entry = await commit(ports, node, plan)
    if entry is None:
        raise NothingReleased(f"{node} has no release, so nothing is pinned", node_id=str(node))
    return entry


async def rollback(
    ports: Ports, node: NodeId, reason: str, *, to: int | None = None, as_of: str | None = None
) -> Release:
    """Put the artifacts in force again that were so after release `to` (or at `as_of`), and pin them.

    What they already are changes nothing. Raises `NothingReleased` where there was no such release.
    """

    async def plan(before: Snapshot) -> Release | None:
        instant = await _instant_of(ports, node, to) if to is not None else as_of
        target = await ports.artifacts.load_snapshot(node, instant)
        if target.release is None:
            raise NothingReleased(f"{node} has no release at or before {instant}", node_id=str(node))
        change = restore(before, target)
        if not change.added and not change.withdrawn:
            return None
        return await _entry(ports, node, before, change, reason, "rollback")

    entry = await commit(ports, node, plan)
    assert entry is not None, "a log with a target has a newest record"
    return entry


async def withdraw(ports: Ports, node: NodeId, partition: str, reason: str) -> Release:
    """Take the artifacts of a partition out of force, and keep it so until a release by hand.

    What is withdrawn already changes nothing. Raises `NothingReleased` where nothing of it is in force,
    `ReleaseRefused` where an artifact reaches beyond it.
    """
    window = window_of_key(node.timeframe, partition)

    async def plan(before: Snapshot) -> Release | None:
        change = remove(before, window)
        if change.withdrawn:
            return await _entry(ports, node, before, change, reason, "withdrawal")
        if before.release is not None and any(not window.intersect(pin).is_empty for pin in before.pinned):
            return None
        raise NothingReleased(f"{node} has nothing in force of {partition}", node_id=str(node))

    entry = await commit(ports, node, plan)
    assert entry is not None, "what is pinned was released"
    return entry


async def diff(ports: Ports, node: NodeId, as_of_before: str | None, as_of_after: str | None) -> SnapshotDiff:
    """How the dataset changed between two `as_of`; None is now. Raises `NothingReleased`."""
    before, after = [await ports.artifacts.load_snapshot(node, at) for at in (as_of_before, as_of_after)]
    if before.release is None or after.release is None:
        at = as_of_before if before.release is None else as_of_after
        raise NothingReleased(
            f"{node} has no release{f' at or before {at}' if at else ''}", node_id=str(node)
        )
    change = restore(before, after)
    old, new = [await ports.artifacts.load_scan(node, refs) for refs in (change.withdrawn, change.added)]
    bars = revision_of("", old.bars, new.bars)
    return SnapshotDiff(str(node), before.release, after.release, change.added, change.withdrawn, bars)


async def unreleased(
    ports: Ports, node: NodeId, log: Sequence[Release], discarded: Collection[str]
) -> list[tuple[ArtifactRef, Manifest]]:
    """Stored artifacts that no release ever named and no clean-up gave up, the oldest file first.

    Raises `ArtifactCorrupt`.
    """
    listed = sorted(await ports.artifacts.list_files(node), key=lambda file: (file.modified, file.path))
    files, named = {file.path for file in listed} - set(discarded), by_path(log)
    paths = [file.path for file in listed if file.path in files and file.path not in named]
    found = [
        await read_unreleased(ports, node, path, files)
        for path in paths
        if manifest_edition(path) is not None
    ]
    return [item for item in found if item is not None]


async def read_unreleased(
    ports: Ports, node: NodeId, path: str, files: Collection[str]
) -> tuple[ArtifactRef, Manifest] | None:
    """The artifact of a stored manifest; None without its file in `files`. Raises `ArtifactCorrupt`."""
    uri = ports.artifacts.file_uri(node, path)
    try:
        payload = await ports.artifacts.read_file(node, path)
    except ArtifactMissing:
        # A clean-up removed it since it was listed.
        return None
    manifest = Manifest.from_json(payload, uri)
    edition = manifest_edition(path)
    if edition is None or manifest_path(manifest.partition, manifest.dataset_fingerprint, edition) != path:
        raise ArtifactCorrupt(f"{uri} describes another artifact; remove it", uri=uri)
    for copy in range(len(files)):
        if file_path(manifest.partition, manifest.dataset_fingerprint, copy) in files:
            return ArtifactRef.of(manifest, edition, copy), manifest
    return None


async def _entry(
    ports: Ports,
    node: NodeId,
    before: Snapshot,
    change: Change,
    reason: str,
    kind: ReleaseKind,
    checks: Mapping[str, bool] | None = None,
) -> Release:
    refuse_discarded(node, before, change.added)
    return next_release(
        before,
        added=change.added,
        withdrawn=change.withdrawn,
        now_micros=await instant_micros(ports, node),
        checks=checks or {},
        reason=reason,
        kind=kind,
        revisions=await revisions(ports, node, before, change),
    )


async def _instant_of(ports: Ports, node: NodeId, seq: int) -> str:
    log = await ports.artifacts.list_releases(node)
    if not 1 <= seq <= len(log):
        known = f"1 to {len(log)}" if log else "none yet"
        raise NothingReleased(f"{node} has no release {seq}; there is {known}", node_id=str(node), seq=seq)
    return log[seq - 1].as_of


def _inside(window: Segment | None, refs: Iterable[ArtifactRef]) -> list[ArtifactRef]:
    return [ref for ref in refs if window is None or (window.start <= ref.start and ref.end <= window.end)]


def _of_content(node: NodeId, known: Sequence[ArtifactRef], fingerprint: str) -> list[ArtifactRef]:
    found = [ref for ref in known if ref.fingerprint == fingerprint]
    if not found:
        raise InvalidChoice(
            f"{node} has no artifact of fingerprint {fingerprint}; publish it first", value=fingerprint
        )
    return found[-1:]


def _refuse_to_guess(before: Snapshot, wanted: Sequence[ArtifactRef]) -> None:
    """Nobody puts back what was withdrawn by releasing something else."""
    if len(wanted) > 1 and any(is_pinned(before, ref) for ref in wanted):
        keys = tuple(sorted(ref.partition for ref in wanted))
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        raise ReleaseRefused(
            f"{before.node_id}: {', '.join(keys[:SHOWN])}{more} wait for a release by hand, some of them "
            "since a rollback or withdrawal; say which by a partition, or a month or year for all inside",
            node_id=before.node_id,
            partitions=keys,
        )


def _refuse_empty(node: NodeId, manifests: Sequence[Manifest]) -> None:
    if empty := [manifest.partition for manifest in manifests if not manifest.rows]:
        raise ReleaseRefused(
            f"{node}: {', '.join(empty[:SHOWN])} holds no bar; force it if readers are to find just that",
            node_id=str(node),
            partitions=tuple(empty),
        )


def _refuse_in_vain(before: Snapshot, wanted: Sequence[ArtifactRef], window: Segment | None) -> None:
    """Say what keeps `wanted` from being put in force, or why there is nothing to put there."""
    for ref in wanted:
        if held := in_the_way(before, ref):
            raise ReleaseRefused(
                f"{before.node_id}: {ref.fingerprint} ends at {seconds_text(ref.end)}, and what is in force "
                f"of {held.partition} goes on to {seconds_text(held.end)}, so bars would be lost; withdraw "
                f"{held.partition} first",
                node_id=before.node_id,
                partition=held.partition,
            )
    if not wanted and any(window is None or not pin.intersect(window).is_empty for pin in before.pinned):
        raise ReleaseRefused(
            f"{before.node_id}: nothing waits for a release by hand, what was sealed last is in force; unpin "
            "the node if releases may change again what a rollback or withdrawal holds",
            node_id=before.node_id,
            pinned=before.pinned,
        )
    if not wanted and window is not None and not before.overlapping(window):
        raise NothingReleased(
            f"{before.node_id} has no artifact of that partition; publish or materialize it first",
            node_id=before.node_id,
        )
