"""What a release puts in the place of what: artifacts in force never overlap and never lose bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from seamless_assets.core.calendar.partition import PartitionUnit, partitions
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot, differing
from seamless_assets.errors import ReleasePinned, ReleaseRefused


@dataclass(frozen=True, slots=True)
class Change:
    """The artifacts that a release puts in force and those that it withdraws."""

    added: tuple[ArtifactRef, ...]
    withdrawn: tuple[ArtifactRef, ...]


def supersede(before: Snapshot, refs: Iterable[ArtifactRef]) -> Change:
    """Put `refs` in force, in the place of what they overlap; nothing where they stand already.

    Of a compacted artifact that is overlapped, the parts that are not come back. Raises `ReleaseRefused`
    where something in force would lose bars.
    """
    fresh = [ref for ref in refs if not _stands(before, before.overlapping(ref.segment), ref)]
    segments = [ref.segment for ref in fresh]
    return _replaced(before, fresh, segments)


def remove(before: Snapshot, window: Segment) -> Change:
    """Take what lies in `window` out of force. Raises `ReleaseRefused` where an artifact reaches beyond."""
    return _replaced(before, [], [window])


def restore(before: Snapshot, target: Snapshot) -> Change:
    """Make the artifacts of `target` those in force."""
    held, wanted = set(before.artifacts), set(target.artifacts)
    return Change(
        tuple(ref for ref in target.artifacts if ref not in held),
        tuple(ref for ref in before.artifacts if ref not in wanted),
    )


def refuse_pinned(before: Snapshot, change: Change) -> None:
    """Raise `ReleasePinned` where the change touches what a rollback or withdrawal holds."""
    new, old = differing(before.parts, change.added, change.withdrawn)
    for pin in before.pinned:
        for ref in (*new, *old):
            if not ref.segment.intersect(pin).is_empty:
                raise ReleasePinned(
                    f"{before.node_id}: {ref.partition} was rolled back or withdrawn by hand, so it waits "
                    "for a release by hand",
                    node_id=before.node_id,
                    segment=pin,
                )


def compactable(
    before: Snapshot, timeframe: Timeframe, unit: PartitionUnit
) -> list[tuple[str, tuple[ArtifactRef, ...]]]:
    """Runs of two and more adjoining artifacts that fill a closed `unit` to its end, by partition key."""
    if not before.artifacts:
        return []
    span = Segment(before.artifacts[0].start, max(ref.end for ref in before.artifacts))
    found = []
    for partition in partitions(timeframe, unit, span):
        start, end = partition.window
        inside = [ref for ref in before.artifacts if start <= ref.start and ref.end <= end]
        if inside and inside[-1].end == end:
            found += [(partition.key, run) for run in _runs(inside) if len(run) > 1]
    return found


def awaiting(
    before: Snapshot, log: Iterable[Release], unreleased: Iterable[tuple[ArtifactRef, Manifest]]
) -> list[ArtifactRef]:
    """What waits for a release by hand: the artifact of each partition that was sealed last.

    One that was never released waits where nothing was decided of its partition since, one that was
    released before where a rollback or withdrawal holds it back.
    """
    waiting, decided = _sealed_last(before, log)
    waiting = {key: ref for key, ref in waiting.items() if is_pinned(before, ref)}
    for ref, manifest in sorted(unreleased, key=lambda item: item[1].as_of):
        if COMPACTED not in manifest.policy and manifest.as_of > decided.get(ref.partition, ""):
            waiting[ref.partition] = ref
    return [ref for ref in waiting.values() if not _stands(before, before.overlapping(ref.segment), ref)]


def is_pinned(before: Snapshot, ref: ArtifactRef) -> bool:
    """Whether a rollback or withdrawal holds any of the artifact's range."""
    return any(not ref.segment.intersect(pin).is_empty for pin in before.pinned)


def in_the_way(before: Snapshot, ref: ArtifactRef) -> ArtifactRef | None:
    """What is in force of the partition of `ref` and reaches further, unless `ref` is in force itself."""
    every = list(_with_parts(before, before.overlapping(ref.segment)))
    if any(one.manifest_sha256 == ref.manifest_sha256 for one in every):
        return None
    return next((one for one in every if _reaches_further(one, ref)), None)


COMPACTED = "compacted"
"""The policy decision by which a manifest lists the fingerprints of the artifacts it was merged from."""


def _replaced(before: Snapshot, fresh: Sequence[ArtifactRef], segments: Sequence[Segment]) -> Change:
    added, withdrawn = list(fresh), []
    for held in before.artifacts:
        if _meets(held, segments):
            withdrawn.append(held)
            added += _rest(before, held, segments)
    return Change(tuple(added), tuple(withdrawn))


def _rest(before: Snapshot, held: ArtifactRef, segments: Sequence[Segment]) -> list[ArtifactRef]:
    if not _meets(held, segments):
        return [held]
    parts = before.parts.get(held.manifest_sha256)
    if parts is not None:
        return [kept for part in parts for kept in _rest(before, part, segments)]
    if outside(held.segment, segments):
        raise ReleaseRefused(
            f"{before.node_id}: what is in force of {held.partition} reaches beyond what would take its "
            "place, so bars would be lost; publish the whole of it, or withdraw it first",
            node_id=before.node_id,
            partition=held.partition,
        )
    return []


def _stands(before: Snapshot, held: Iterable[ArtifactRef], ref: ArtifactRef) -> bool:
    """Whether `ref` is in force, alone or in a compacted artifact, or an artifact that reaches further is."""
    return any(
        one.manifest_sha256 == ref.manifest_sha256 or _reaches_further(one, ref)
        for one in _with_parts(before, held)
    )


def _reaches_further(one: ArtifactRef, ref: ArtifactRef) -> bool:
    return one.partition == ref.partition and one.start <= ref.start and one.end > ref.end


def _with_parts(before: Snapshot, held: Iterable[ArtifactRef]) -> Iterator[ArtifactRef]:
    """`held`, and of compacted artifacts their parts at every level."""
    for one in held:
        yield one
        yield from _with_parts(before, before.parts.get(one.manifest_sha256, ()))


def _sealed_last(before: Snapshot, log: Iterable[Release]) -> tuple[dict[str, ArtifactRef], dict[str, str]]:
    """By partition: which of its released artifacts was sealed last, and the `as_of` of the last decision.

    A record of what was fetched or imported names what was just sealed, and so does the first record that
    names an artifact.
    """
    last: dict[str, ArtifactRef] = {}
    decided: dict[str, str] = {}
    seen: set[ArtifactRef] = set()
    for entry in log:
        new, old = differing(before.parts, entry.added, entry.withdrawn)
        decided.update((ref.partition, entry.as_of) for ref in (*new, *old))
        is_sealed = entry.kind in ("automatic", "import")
        last.update((ref.partition, ref) for ref in new if is_sealed or ref not in seen)
        seen.update(new)
    return last, decided


def _meets(ref: ArtifactRef, segments: Sequence[Segment]) -> bool:
    return any(start < ref.end and ref.start < end for start, end in segments)


def _runs(refs: Sequence[ArtifactRef]) -> list[tuple[ArtifactRef, ...]]:
    cuts = [0, *(at for at, (left, right) in enumerate(pairwise(refs), 1) if left.end != right.start)]
    return [tuple(refs[start:end]) for start, end in pairwise([*cuts, len(refs)])]


def by_path(log: Iterable[Release]) -> Mapping[str, ArtifactRef]:
    """Every file that any record of the log names, by its path below the node's folder."""
    refs = (ref for entry in log for ref in (*entry.added, *entry.withdrawn))
    return {path: ref for ref in refs for path in (ref.file_path, ref.manifest_path)}
