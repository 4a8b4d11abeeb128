"""Commit: one more record at the end of a node's release log, however many writers want that place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import difference
from seamless_assets.core.bars.table import COLUMNS, between, timestamps
from seamless_assets.core.calendar.instant import CLOCKS_DIFFER_S, epoch_micros
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import Release, Revision
from seamless_assets.core.releases.snapshot import Snapshot, differing
from seamless_assets.core.releases.supersession import Change
from seamless_assets.core.sharing.events import MirrorEvent
from seamless_assets.errors import ArtifactDiscarded, InvalidInput, ReleaseConflict, StoreError
from seamless_assets.flows.filling.clocks import dated_now
from seamless_assets.flows.ports import Ports

REVISION_EXAMPLES = 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 1.0


async def commit(
    ports: Ports, node: NodeId, plan: Callable[[Snapshot], Awaitable[Release | None]]
) -> Release | None:
    """Append the record that `plan` makes of the newest snapshot; None from it means nothing to do.

    Where another writer takes the place first, plan anew after a pause that grows and is jittered.
    Returns the record, or the newest one where there was nothing to do.
    """
    pause = FIRST_PAUSE_S
    while True:
        before = await ports.artifacts.load_snapshot(node)
        entry = await plan(before)
        if entry is None:
            return before.release
        try:
            await ports.artifacts.append_release(node, entry)
        except ReleaseConflict:
            await ports.clock.sleep(ports.rng.random() * pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            continue
        await _mirror_release(ports, node)
        return entry


async def _mirror_release(ports: Ports, node: NodeId) -> None:
    """Show a node's newest release in the mirror, where there is one.

    A release stands whether it could be mirrored or not: what is missing is told, and made up for with the
    next one.
    """
    if ports.mirror is None:
        return
    began = ports.clock.now()
    try:
        await ports.mirror.follow(node)
        problem = ""
    except StoreError as error:
        problem = str(error)
    ports.observer.notify(MirrorEvent(str(node), (ports.clock.now() - began) * 1000, problem))


async def mirror(ports: Ports, node: NodeId) -> str | None:
    """Bring a node's mirror up to its log, all of it; its URL, None before the first release.

    Raises `InvalidInput` where there is no mirror, `StoreError`.
    """
    if ports.mirror is None:
        raise InvalidInput("there is no mirror; set seamless.artifact.mirror to iceberg")
    return await ports.mirror.follow(node, is_thorough=True)


async def instant_micros(ports: Ports, node: NodeId) -> int:
    """The instant that a record is dated by, in epoch microseconds: none that the exchange contradicts."""
    return int(await dated_now(ports, node) * 1_000_000)


def dated_ahead(ports: Ports, node: NodeId, newest: Release | None) -> str | None:
    """What there is to say of a log whose last record is dated after our clock; None where it is not."""
    if newest is None or epoch_micros(newest.as_of, "as_of") / 1e6 <= ports.clock.now() + CLOCKS_DIFFER_S:
        return None
    return (
        f"{node}: release {newest.seq} is dated {newest.as_of}, ahead of this machine's clock, so that who "
        "reads as of now sees neither it nor what is released after it; see docs/reading-snapshots.md, "
        "a release dated ahead"
    )


def refuse_discarded(node: NodeId, before: Snapshot, refs: Iterable[ArtifactRef]) -> None:
    """Raise `ArtifactDiscarded` where a clean-up gave an artifact up: its files may go at any moment."""
    for ref in refs:
        if before.discarded & {ref.file_path, ref.manifest_path}:
            raise ArtifactDiscarded(
                f"{node}: a clean-up gave the artifact {ref.fingerprint} of {ref.partition} up before it was "
                "released; publish it again",
                node_id=str(node),
                uri=ref.file_path,
            )


async def revisions(ports: Ports, node: NodeId, before: Snapshot, change: Change) -> list[Revision]:
    """What a change does to bars of ranges that are in force before and after it."""
    new, old = differing(before.parts, change.added, change.withdrawn)
    starts, ends = [ref.start for ref in old], [ref.end for ref in old]
    found = []
    for ref in new:
        for gone in old[bisect_right(ends, ref.start) : bisect_left(starts, ref.end)]:
            if gone.fingerprint == ref.fingerprint:
                continue
            both = ref.segment.intersect(gone.segment)
            held = between(await ports.artifacts.load_artifact(node, gone), *both)
            put = between(await ports.artifacts.load_artifact(node, ref), *both)
            revision = revision_of(ref.partition, held, put)
            if revision.added or revision.removed or revision.changed:
                found.append(revision)
    return found


def revision_of(partition: str, before: pa.Table, after: pa.Table) -> Revision:
    """How the bars of one range differ; tables are sorted by `ts`."""
    ts_before, ts_after = timestamps(before), timestamps(after)
    both, at_before, at_after = np.intersect1d(ts_before, ts_after, return_indices=True)
    differs = np.zeros(len(both), dtype=bool)
    for name in COLUMNS[1:]:
        held, put = before[name].to_numpy()[at_before], after[name].to_numpy()[at_after]
        # Not known before and after is no change.
        differs |= (held != put) & ~(np.isnan(held) & np.isnan(put))
    changed = both[differs]
    new, gone = difference(ts_after, ts_before), difference(ts_before, ts_after)
    examples = np.sort(np.concatenate((new, gone, changed)))[:REVISION_EXAMPLES]
    return Revision(partition, len(new), len(gone), len(changed), tuple(int(ts) for ts in examples))
