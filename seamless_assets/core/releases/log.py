"""The release log: a chain of records, the only thing that moves a node's `as_of`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import GENESIS, Release
from seamless_assets.core.releases.snapshot import Snapshot, differing, ordered
from seamless_assets.errors import ArtifactCorrupt

MAX_MERGES = 16
"""Days become months and months years; nobody merges more often."""
_CHECKPOINT_EVERY, _KEPT_SNAPSHOTS = 256, 64
_Span = tuple[int, int, str]
"""Start and end of an artifact, and the hash of its manifest."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a log: its number and its hash."""

    seq: int
    hash: str


class ReleaseLog:
    """A node's log in memory: grows at its end, and knows the snapshot after any of its records."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.releases: list[Release] = []
        self._newest = _State(node_id)
        self._checkpoints = [_State(node_id)]
        self._snapshots: dict[int, Snapshot] = {}
        self._spans: list[_Span] = []
        self._depths: Mapping[str, int] = {}

    def extend(self, fresh: Sequence[Release], uri: str) -> None:
        """Add the records that follow.

        Raises `ArtifactCorrupt` unless they continue the node's chain and keep what is in force disjoint.
        """
        for release in fresh:
            if release.node_id != self.node_id:
                raise ArtifactCorrupt(
                    f"release log {uri} of {self.node_id} holds record {release.seq} of {release.node_id}; "
                    "move the files back to where they belong",
                    uri=uri,
                    seq=release.seq,
                )
        verify_chain(fresh, uri, after=self.releases[-1] if self.releases else None)
        depths = _depths_after(self._depths, fresh, uri)
        self._spans = _spans_after(self._spans, fresh, uri)
        self._depths = depths
        for release in fresh:
            self._newest.apply(release)
            self.releases.append(release)
            if len(self.releases) % _CHECKPOINT_EVERY == 0:
                self._checkpoints.append(self._newest.copy())

    @property
    def head(self) -> Head | None:
        """Its last record; None of an empty log."""
        return Head(self.releases[-1].seq, self.releases[-1].hash) if self.releases else None

    def holds(self, head: Head) -> bool:
        """Whether it is the log that once ended with `head`, or goes on from it."""
        return 0 < head.seq <= len(self.releases) and self.releases[head.seq - 1].hash == head.hash

    def snapshot(self, as_of: str | None = None, fingerprint: str | None = None) -> Snapshot:
        """The snapshot after the last record at or before `as_of` that has the dataset `fingerprint`.

        None means any. A snapshot without a release answers where there is no such record.
        """
        count = len(self.releases)
        if as_of is not None:
            count = bisect_right(self.releases, as_of, key=lambda release: release.as_of)
        while fingerprint and count and self.releases[count - 1].dataset_fingerprint != fingerprint:
            count -= 1
        if count not in self._snapshots:
            if len(self._snapshots) >= _KEPT_SNAPSHOTS:
                self._snapshots.pop(next(iter(self._snapshots)))
            self._snapshots[count] = self._replayed(count)
        return self._snapshots[count]

    def _replayed(self, count: int) -> Snapshot:
        if count == len(self.releases):
            return self._newest.snapshot()
        state = self._checkpoints[count // _CHECKPOINT_EVERY].copy()
        for release in self.releases[count - count % _CHECKPOINT_EVERY : count]:
            state.apply(release)
        return state.snapshot()


class _State:
    """What is in force while a log is replayed."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.release: Release | None = None
        self.held: dict[str, ArtifactRef] = {}
        self.parts: dict[str, tuple[ArtifactRef, ...]] = {}
        self.pinned: list[Segment] = []
        self.discarded: set[str] = set()
        self.since: dict[str, str] = {}

    def copy(self) -> _State:
        twin = _State(self.node_id)
        twin.release, twin.held, twin.parts = self.release, dict(self.held), dict(self.parts)
        twin.pinned, twin.discarded = list(self.pinned), set(self.discarded)
        twin.since = dict(self.since)
        return twin

    def apply(self, release: Release) -> None:
        for ref in release.withdrawn:
            self.held.pop(ref.manifest_sha256, None)
        self.held.update((ref.manifest_sha256, ref) for ref in release.added)
        self.discarded.update(release.discarded)
        if release.kind == "compaction":
            self.parts.update(_parts_of(release))
        elif release.kind in ("rollback", "withdrawal"):
            self.pinned = join_segments([*self.pinned, *self._touched(release)])
        elif release.kind == "by_hand":
            freed = self._touched(release) if release.added else self.pinned
            self.pinned = [part for pin in self.pinned for part in outside(pin, freed)]
        new, _ = differing(self.parts, release.added, release.withdrawn)
        self.since.update((ref.manifest_sha256, release.as_of) for ref in new)
        self.release = release

    def _touched(self, release: Release) -> list[Segment]:
        new, old = differing(self.parts, release.added, release.withdrawn)
        return [ref.segment for ref in (*new, *old)]

    def snapshot(self) -> Snapshot:
        return Snapshot(
            node_id=self.node_id,
            release=self.release,
            artifacts=ordered(self.held.values()),
            parts=dict(self.parts),
            pinned=tuple(self.pinned),
            discarded=frozenset(self.discarded),
            since=dict(self.since),
        )


def snapshot_at(node_id: str, log: Sequence[Release], as_of: str | None = None) -> Snapshot:
    """The snapshot after the last release with `release.as_of <= as_of` (None: after all)."""
    state = _State(node_id)
    for release in log:
        if as_of is not None and release.as_of > as_of:
            break
        state.apply(release)
    return state.snapshot()


def verify_chain(log: Iterable[Release], uri: str, after: Release | None = None) -> None:
    """Raise `ArtifactCorrupt` unless `log` is one unbroken chain from its first record, or from `after`."""
    last, previous, as_of = (after.seq, after.hash, after.as_of) if after else (0, GENESIS, "")
    for seq, release in enumerate(log, start=last + 1):
        problem = _break(release, seq, previous, as_of)
        if problem:
            raise _breaks(uri, seq, problem)
        previous, as_of = release.hash, release.as_of


def _breaks(uri: str, seq: int, problem: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"release log {uri} breaks at record {seq}: {problem}", uri=uri, seq=seq)


def _break(release: Release, seq: int, previous: str, as_of: str) -> str | None:
    if release.seq != seq:
        return f"it says it is number {release.seq}"
    if release.previous != previous:
        return "it does not follow the record before it"
    if release.as_of <= as_of:
        return f"its as_of {release.as_of} is not after {as_of}"
    return None


def _spans_after(spans: Sequence[_Span], fresh: Iterable[Release], uri: str) -> list[_Span]:
    """Where artifacts in force lie once the records took effect. Raises `ArtifactCorrupt` if two overlap."""
    held = list(spans)
    for release in fresh:
        for span in map(_span, release.withdrawn):
            at = bisect_left(held, span)
            if at < len(held) and held[at] == span:
                del held[at]
        for span in map(_span, release.added):
            at = bisect_left(held, span)
            before, after = held[max(0, at - 1) : at], held[at : at + 1]
            if any(one[0] < span[1] and span[0] < one[1] for one in (*before, *after)):
                raise _breaks(uri, release.seq, "artifacts that it puts in force overlap")
            held.insert(at, span)
    return held


def _depths_after(depths: Mapping[str, int], fresh: Sequence[Release], uri: str) -> Mapping[str, int]:
    """How often merged artifacts were merged, by the hash of their manifest. Raises `ArtifactCorrupt`."""
    found = dict(depths)
    for release in (release for release in fresh if release.kind == "compaction"):
        for name, parts in _parts_of(release).items():
            depth = 1 + max(found.get(part.manifest_sha256, 0) for part in parts)
            if depth > MAX_MERGES:
                raise _breaks(uri, release.seq, f"it merges what was merged {MAX_MERGES} times before")
            found[name] = depth
    return found


def _span(ref: ArtifactRef) -> _Span:
    return ref.start, ref.end, ref.manifest_sha256


def _parts_of(release: Release) -> dict[str, tuple[ArtifactRef, ...]]:
    """The artifacts that each of a compaction stands for, by the hash of its manifest.

    Each is smaller than the whole, so that no artifact is a part of itself.
    """
    withdrawn = ordered(release.withdrawn)
    found = {}
    for ref in release.added:
        first = bisect_left(withdrawn, ref.start, key=lambda part: part.start)
        last = bisect_left(withdrawn, ref.end, key=lambda part: part.start)
        parts = [
            part for part in withdrawn[first:last] if part.end <= ref.end and part.segment != ref.segment
        ]
        if parts:
            found[ref.manifest_sha256] = tuple(parts)
    return found
