"""Snapshots: the artifacts in force after a record of the log, and the record that follows them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.fingerprint import dataset_fingerprint
from seamless_assets.core.releases.plausible import LAST_MICROS
from seamless_assets.core.releases.release import (
    GENESIS,
    Release,
    ReleaseKind,
    Revision,
    as_record,
    epoch_micros_after,
)
from seamless_assets.errors import ReleaseRefused

_KEPT_WINDOWS = 1_024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The artifacts that make a node's dataset at an `as_of`, ordered by start, disjoint.

    `parts` says which artifacts a compacted one stands for (by the hash of its manifest), `pinned` which
    ranges only a release by hand may change, `discarded` which paths below the node's folder are given up,
    `since` the `as_of` of the record that put an artifact in force last (by the hash of its manifest; of a
    compacted one those of its parts).
    """

    node_id: str
    release: Release | None
    artifacts: Sequence[ArtifactRef]
    parts: Mapping[str, tuple[ArtifactRef, ...]] = field(default_factory=dict)
    pinned: tuple[Segment, ...] = ()
    discarded: frozenset[str] = frozenset()
    since: Mapping[str, str] = field(default_factory=dict)
    _lacking: dict[Segment, tuple[Segment, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def dataset_fingerprint(self) -> str | None:
        """The Merkle root of its artifacts; None before the first release."""
        return self.release.dataset_fingerprint if self.release else None

    def whole(self) -> Snapshot:
        """The same of tuples and dictionaries, which can be pickled and written as JSON."""
        return replace(self, artifacts=tuple(self.artifacts), parts=dict(self.parts), since=dict(self.since))

    def overlapping(self, window: Segment) -> tuple[ArtifactRef, ...]:
        """Its artifacts that hold any time of `window`, ascending."""
        first = bisect_right(self.artifacts, window.start, key=lambda ref: ref.end)
        last = bisect_left(self.artifacts, window.end, key=lambda ref: ref.start)
        return tuple(self.artifacts[first:last])

    def lacking(self, window: Segment) -> tuple[Segment, ...]:
        """The parts of `window` that none of its artifacts holds, ascending."""
        # Readers ask for the same windows again and again, and a year is hundreds of artifacts.
        if window not in self._lacking:
            if len(self._lacking) >= _KEPT_WINDOWS:
                self._lacking.clear()
            held = [(ref.start, ref.end) for ref in self.overlapping(window)]
            self._lacking[window] = tuple(outside(window, held))
        return self._lacking[window]

    def leaves(self, window: Segment | None = None) -> tuple[ArtifactRef, ...]:
        """The artifacts that make it (or what it holds of `window`), a compacted one taken for its parts."""
        every = self.artifacts if window is None else self.overlapping(window)
        found = ordered(leaves(self.parts, every))
        return tuple(leaf for leaf in found if window is None or not leaf.segment.intersect(window).is_empty)

    def leaves_of(self, ref: ArtifactRef) -> tuple[ArtifactRef, ...]:
        """The artifacts that a compacted one stands for, down to those that are none; of others itself."""
        return tuple(leaves(self.parts, [ref]))

    def dated(self, ref: ArtifactRef) -> Iterator[tuple[Segment, str]]:
        """Ranges of an artifact, each with the `as_of` of the record that put its content in force last."""
        for leaf in leaves(self.parts, [ref]):
            if leaf.manifest_sha256 in self.since:
                yield leaf.segment, self.since[leaf.manifest_sha256]


def next_release(
    before: Snapshot,
    *,
    added: Sequence[ArtifactRef],
    withdrawn: Sequence[ArtifactRef],
    now_micros: int,
    checks: Mapping[str, bool],
    reason: str,
    kind: ReleaseKind = "automatic",
    revisions: Sequence[Revision] = (),
    discarded: Sequence[str] = (),
) -> Release:
    """The record that follows `before`; its `as_of` is `now`, or a millisecond after the last one.

    Raises `ReleaseRefused` where artifacts in force would overlap, or no instant is left.
    """
    last = before.release
    gone = {ref.manifest_sha256 for ref in withdrawn}
    kept = [ref for ref in before.artifacts if ref.manifest_sha256 not in gone]
    in_force = ordered([*kept, *added])
    _refuse_overlap(before.node_id, in_force)
    as_of = max(now_micros, epoch_micros_after(last) if last else now_micros)
    if as_of > LAST_MICROS:
        way_out = f", and take the record away that is dated {last.as_of}" if last else ""
        raise ReleaseRefused(
            f"{before.node_id}: a release would be dated past the year 2099; set this machine's clock"
            f"{way_out}",
            node_id=before.node_id,
        )
    draft = Release(
        node_id=before.node_id,
        seq=last.seq + 1 if last else 1,
        as_of=instant_text(as_of),
        previous=last.hash if last else GENESIS,
        dataset_fingerprint=dataset_fingerprint(before.node_id, in_force),
        added=tuple(added),
        withdrawn=tuple(withdrawn),
        checks=dict(checks),
        reason=reason,
        kind=kind,
        revisions=tuple(revisions),
        discarded=tuple(discarded),
    )
    return replace(draft, hash=as_record(draft)["hash"])


def differing(
    parts: Mapping[str, tuple[ArtifactRef, ...]],
    added: Iterable[ArtifactRef],
    withdrawn: Iterable[ArtifactRef],
) -> tuple[list[ArtifactRef], list[ArtifactRef]]:
    """Artifacts that are new and that are gone, a compacted one being taken for its `parts`; ascending."""
    new, old = set(leaves(parts, added)), set(leaves(parts, withdrawn))
    return list(ordered(new - old)), list(ordered(old - new))


def ordered(refs: Iterable[ArtifactRef]) -> tuple[ArtifactRef, ...]:
    """Artifacts by start."""
    return tuple(sorted(refs, key=lambda ref: (ref.start, ref.end, ref.fingerprint)))


def _refuse_overlap(node_id: str, artifacts: Sequence[ArtifactRef]) -> None:
    for left, right in pairwise(artifacts):
        if right.start < left.end:
            raise ReleaseRefused(
                f"{node_id}: the artifacts of {left.partition} and {right.partition} overlap; release one of "
                "them alone, or withdraw what is in force there first",
                node_id=node_id,
                partitions=(left.partition, right.partition),
            )


def leaves(
    parts: Mapping[str, tuple[ArtifactRef, ...]], refs: Iterable[ArtifactRef]
) -> Iterator[ArtifactRef]:
    left = list(refs)[::-1]
    while left:
        ref = left.pop()
        below = parts.get(ref.manifest_sha256)
        if below is None:
            yield ref
        else:
            left += reversed(below)
