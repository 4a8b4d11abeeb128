"""Publish: seal what is settled as artifacts, and release them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import count_warnings
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import settled, watermark
from seamless_assets.core.coverage.coverage import Coverage, Gap, with_absent
from seamless_assets.core.coverage.declaration import Declaration
from seamless_assets.core.coverage.ledger import FROM_TRADES, MadeRange, without
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import (
    ArtifactRef,
    SealedArtifact,
    aliases_record,
    archives_record,
    declared_record,
    imports_record,
    trades_record,
)
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.core.releases.release import Release, ReleaseKind, Revision
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.core.releases.supersession import refuse_pinned, supersede
from seamless_assets.core.sharing.aliases import alias_records
from seamless_assets.core.sharing.events import SealEvent
from seamless_assets.errors import FingerprintCollision, ReleaseLosesBars, ReleaseOutdated
from seamless_assets.flows.filling.history import NO_OPENS, coverage_of_known, declared_of, known_bars, ledger
from seamless_assets.flows.filling.trades.provenance import (
    made_of_trades,
    manifests_in_force,
    of_archives,
)
from seamless_assets.flows.ports import Facts, Ports
from seamless_assets.flows.releasing.commit import commit, instant_micros, refuse_discarded, revisions
from seamless_assets.flows.releasing.sealing import sealed_artifact
from seamless_assets.flows.sharing.tracing import traced


@dataclass(frozen=True, slots=True)
class Sealed:
    """A stored artifact with what the checks need to know of it.

    `in_force` is what was released of its range before its bars were read. `preview_fingerprint`, where
    the policy asks for it, is of all that is known of the partition, bars that may still change among
    them. It names nothing that is stored and decides nothing.
    """

    ref: ArtifactRef
    coverage: Coverage
    flags: Mapping[str, int]
    blocking: tuple[str, ...]
    manifest_uri: str
    artifact_uri: str
    in_force: tuple[ArtifactRef, ...]
    preview_fingerprint: str | None = None


async def seal(
    ports: Ports,
    node: NodeId,
    partition: Partition,
    now: float,
    flags: Mapping[str, int] | None = None,
    seen: np.ndarray = NO_OPENS,
) -> Sealed | None:
    """Seal the settled bars of a partition as they are known; None where nothing is settled yet.

    `flags` are conformance flags of the fetch that filled the hot store, `seen` the opens of the bars that it
    brought (see `known_bars`). The same content again finds the artifact that is there.
    """
    window = settled(partition.window, node.timeframe, now, ports.policy.stabilization_bars)
    if window.is_empty:
        return None
    began = ports.clock.now()
    # Hot bars are written before they are released, so those read after a look at the log are no older.
    before = await ports.artifacts.load_snapshot(node)
    stored = await known_bars(ports, node, window, seen)
    return await seal_known(ports, node, partition, window, stored, before, now, flags=flags, began=began)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a person brings into a range.

    `producer` and `record` are kept in the manifest: who made the artifact, and what was imported. `absent`
    is what is said of bars that are not there, `declared` who said that. `replaced` are the ranges of
    the bars that were others or none, ascending and disjoint, and `made` those that are made of trades.
    """

    producer: Mapping[str, str]
    record: Mapping[str, Any]
    absent: Sequence[Gap] = ()
    declared: Sequence[Declaration] = ()
    replaced: Sequence[Segment] = ()
    made: Sequence[MadeRange] = ()


def _facts(node: NodeId, partition: Partition, window: Segment, *_: object, **__: object) -> Facts:
    named = {"node_id": str(node), "partition": partition.key}
    return {**named, "start": window.start, "end": window.end}


@traced("seamless.publish", _facts)
async def seal_known(
    ports: Ports,
    node: NodeId,
    partition: Partition,
    window: Segment,
    stored: pa.Table,
    before: Snapshot,
    now: float,
    *,
    flags: Mapping[str, int] | None = None,
    imported: Imported | None = None,
    began: float | None = None,
) -> Sealed:
    """Seal the bars `stored` of a `window` in a partition; what was in force was looked at `before` them."""
    began = ports.clock.now() if began is None else began
    bars, report = conform(stored, node.timeframe, severities=ports.policy.severities)
    known = await coverage_of_known(ports, node, window, timestamps(bars))
    declared = await declared_of(ports, node, window, known.gaps)
    in_force = await manifests_in_force(ports, node, before, window)
    imports: list[Mapping[str, Any]] = [record for manifest in in_force for record in manifest.imports]
    if imported is not None:
        known = with_absent(known, node.timeframe, imported.absent)
        declared, imports = [*declared, *imported.declared], [*imports, imported.record]
    facts = await ledger(ports, node, window)
    made = made_of_trades(facts, in_force, window)
    archived, differing = of_archives(facts, in_force, window)
    if imported is not None:
        archived, differing = without(archived, imported.replaced), without(differing, imported.replaced)
        made = sorted([*without(made, imported.replaced), *imported.made], key=lambda one: one.start)
    count = sum(int(np.diff(np.searchsorted(timestamps(bars), one.segment))[0]) for one in made)
    all_flags = {**(flags or {}), **report.flags, **({FROM_TRADES: count} if count else {})}
    artifact = await sealed_artifact(
        ports,
        node,
        bars,
        partition=partition.key,
        window=window,
        gaps=known.gaps,
        flags=all_flags,
        watermark=watermark(node.timeframe, now, ports.policy.stabilization_bars),
        after=before.release,
        conformance_version=ports.policy.conformance_version,
        volume=_volume_unit(ports, node),
        decisions={
            **declared_record(declared),
            **imports_record(imports),
            **trades_record(made if count else ()),
            **archives_record(archived, differing),
            **aliases_record(alias_records(window, ports.policy.aliases_of(node))),
        },
        # Once for all that is imported at once: an exchange that is away is waited for.
        dated=int(now * 1_000_000) if imported else None,
        producer=imported.producer if imported else None,
    )
    warnings = count_warnings(all_flags, ports.policy.severities)
    ref = await put_sealed(ports, artifact, before, began, warnings)
    return Sealed(
        ref=ref,
        coverage=known,
        flags=all_flags,
        blocking=report.blocking,
        manifest_uri=ports.artifacts.file_uri(node, ref.manifest_path),
        artifact_uri=ports.artifacts.file_uri(node, ref.file_path),
        in_force=before.overlapping(window),
        preview_fingerprint=await _preview(ports, node, partition)
        if ports.policy.early_fingerprint
        else None,
    )


def _volume_unit(ports: Ports, node: NodeId) -> VolumeUnit | None:
    """What the node's volume counts; amounts of trades are of the base, whatever candles count."""
    unit = ports.source.volume_unit(node)
    if unit is None or node not in ports.policy.made_of_trades:
        return unit
    return VolumeUnit("base", node.symbol.partition("/")[0])


async def put_sealed(
    ports: Ports, artifact: SealedArtifact, before: Snapshot, began: float, warnings: int
) -> ArtifactRef:
    """Store an artifact that was begun at `began` (epoch seconds), and tell who watches. Raises as the store.

    `warnings` are those of its conformance.
    """
    tell = partial(_tell, ports, artifact, began, warnings)
    try:
        ref = await ports.artifacts.put_artifact(artifact, before.discarded)
    except FingerprintCollision:
        tell(is_new=False, collides=True)
        raise
    tell(is_new=ref not in before.artifacts)
    return ref


def _tell(
    ports: Ports,
    artifact: SealedArtifact,
    began: float,
    warnings: int,
    *,
    is_new: bool,
    collides: bool = False,
) -> None:
    manifest, timeframe = artifact.manifest, artifact.node.timeframe
    ports.observer.notify(
        SealEvent(
            node_id=str(artifact.node),
            interval=timeframe.seconds or str(timeframe),
            partition=manifest.partition,
            fingerprint=manifest.dataset_fingerprint,
            rows=manifest.rows,
            file_bytes=len(artifact.payload) if is_new else 0,
            duration_ms=(ports.clock.now() - began) * 1000,
            flags=dict(manifest.conformance_flags),
            warnings=warnings,
            collides=collides,
        )
    )


async def _preview(ports: Ports, node: NodeId, partition: Partition) -> str:
    known = await known_bars(ports, node, partition.window)
    bars, _ = conform(known, node.timeframe, severities=ports.policy.severities)
    return fingerprint(
        bars, node_id=node, interval=node.timeframe, conformance_version=ports.policy.conformance_version
    )


async def release(
    ports: Ports,
    node: NodeId,
    refs: Sequence[ArtifactRef],
    checks: Mapping[str, bool],
    reason: str,
    *,
    in_force: Sequence[ArtifactRef] | None = None,
    dated: int | None = None,
    kind: ReleaseKind = "automatic",
) -> Release | None:
    """Put `refs` in force with one record of the log; what is in force already changes nothing.

    The record is `dated` (epoch microseconds; None: now), and after the last one. Returns the release that
    holds them (None where there is nothing to hold). Raises `ReleasePinned` where a rollback or withdrawal
    holds their range, `ReleaseOutdated` where what is in force of it is no longer `in_force` (None: whatever
    it is), `ArtifactDiscarded` where a clean-up was quicker, `ReleaseLosesBars` where what is in force by now
    holds bars that `refs` do not.
    """

    async def plan(before: Snapshot) -> Release | None:
        change = supersede(before, refs)
        if not change.added:
            return None
        _refuse_outdated(node, before, refs, in_force)
        refuse_discarded(node, before, change.added)
        refuse_pinned(before, change)
        revised = await revisions(ports, node, before, change)
        _refuse_loss(node, revised)
        return next_release(
            before,
            added=change.added,
            withdrawn=change.withdrawn,
            now_micros=await instant_micros(ports, node) if dated is None else dated,
            checks=checks,
            reason=reason,
            kind=kind,
            revisions=revised,
        )

    return await commit(ports, node, plan)


def _refuse_outdated(
    node: NodeId, before: Snapshot, refs: Sequence[ArtifactRef], known: Sequence[ArtifactRef] | None
) -> None:
    by_now = {held for ref in refs for held in before.overlapping(ref.segment)}
    if known is not None and by_now != set(known):
        raise ReleaseOutdated(
            f"{node}: {', '.join(ref.partition for ref in refs)} was released by another since it was "
            "sealed; seal it again",
            node_id=str(node),
        )


def _refuse_loss(node: NodeId, revised: Sequence[Revision]) -> None:
    if losing := [revision for revision in revised if revision.removed]:
        parts = ", ".join(f"{revision.removed} of {revision.partition}" for revision in losing)
        raise ReleaseLosesBars(
            f"{node}: released bars would vanish ({parts}); if they never were, withdraw the partition first",
            node_id=str(node),
            revisions=tuple(losing),
        )


def total_coverage(parts: Sequence[Coverage]) -> Coverage:
    """Coverage of adjoining windows as one, ascending."""
    gaps: list[Gap] = []
    for gap in (gap for part in parts for gap in part.gaps):
        if gaps and gaps[-1].end == gap.start and gaps[-1].reason == gap.reason:
            gaps[-1] = Gap(gaps[-1].start, gap.end, gap.reason)
        else:
            gaps.append(gap)
    return Coverage(
        expected=sum(part.expected for part in parts),
        present=sum(part.present for part in parts),
        absent=sum(part.absent for part in parts),
        missing=sum(part.missing for part in parts),
        gaps=tuple(gaps),
        retention=sum(part.retention for part in parts),
        declared=sum(part.declared for part in parts),
    )
