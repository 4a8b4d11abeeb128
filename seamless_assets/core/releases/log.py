"""The release log: a chain of records, the only thing that moves a node's `as_of`.

In memory its records are packed, but for the last few hundred, and so is what was in force between them: a
log takes a few hundred bytes a record, and a snapshot unpacks the records from the mark before it.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, TypeVar, overload

import pyarrow as pa
from msgspec.json import Decoder, encode

from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import GENESIS, Release
from seamless_assets.core.releases.snapshot import Snapshot, differing, leaves, ordered
from seamless_assets.errors import ArtifactCorrupt

MAX_MERGES = 16
"""Days become months and months years; nobody merges more often."""
_KEPT_SNAPSHOTS, _KEPT_ARTIFACTS = 64, 50_000
_OPEN, _PACKED = 1_536, 192
"""How many records and artifacts they name are held unpacked, and are packed together, about."""
_MARK_PER_RECORDS = 2
"""Marks take at most so many times the bytes of the records between them."""
T = TypeVar("T")
_Span = tuple[int, int, str]
"""Start and end of an artifact, and the hash of its manifest."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a log: its number and its hash."""

    seq: int
    hash: str


class ReleaseLog:
    """A node's log in memory: grows at its end, and knows the snapshot after any of its records.

    `newest` is its last record, `added` how many artifacts its records put in force.
    """

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.newest: Release | None = None
        self.added = 0
        self._releases = _Releases()
        self._state = _State(node_id)
        self._marks: list[tuple[int, _Packed[_State]]] = [(0, _STATES.pack(_State(node_id)))]
        self._unmarked = 0
        self._as_ofs: list[str] = []
        # Tells the records apart that may have a dataset fingerprint; of these the record itself is asked.
        self._sums = array("I")
        self._snapshots: dict[int, Snapshot] = {}
        self._replayed_last = (0, _State(node_id))
        self._spans: list[_Span] = []
        self._depths: Mapping[str, int] = {}

    @property
    def releases(self) -> Sequence[Release]:
        """Its records, each made when it is asked for."""
        return self._releases

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
        verify_chain(fresh, uri, after=self.newest)
        depths = _depths_after(self._depths, fresh, uri)
        self._spans = _spans_after(self._spans, fresh, uri)
        self._depths = depths
        for release in fresh:
            self._state.apply(release)
            self._as_ofs.append(release.as_of)
            self._sums.append(_sum_of(release.dataset_fingerprint))
            self.added += len(release.added)
            self._unmarked += self._releases.append(release)
            self.newest = release
            if self._unmarked * _MARK_PER_RECORDS > self._marks[-1][1].bytes:
                self._mark()

    def _mark(self) -> None:
        """Keep what is in force here, from where later snapshots are replayed."""
        self._state.forget()
        self._marks.append((len(self._releases), _STATES.pack(self._state)))
        self._unmarked = 0

    @property
    def head(self) -> Head | None:
        """Its last record; None of an empty log."""
        return Head(self.newest.seq, self.newest.hash) if self.newest else None

    def holds(self, head: Head) -> bool:
        """Whether it is the log that once ended with `head`, or goes on from it."""
        return 0 < head.seq <= len(self._releases) and self._releases[head.seq - 1].hash == head.hash

    def snapshot(self, as_of: str | None = None, fingerprint: str | None = None) -> Snapshot:
        """The snapshot after the last record at or before `as_of` that has the dataset `fingerprint`.

        None means any. A snapshot without a release answers where there is no such record.
        """
        count = len(self._releases)
        if as_of is not None:
            count = bisect_right(self._as_ofs, as_of, hi=count)
        if fingerprint:
            count = self._last_of(fingerprint, count)
        if count not in self._snapshots:
            made = self._replayed(count)
            kept = sum(len(one.artifacts) for one in self._snapshots.values()) + len(made.artifacts)
            while self._snapshots and (len(self._snapshots) >= _KEPT_SNAPSHOTS or kept > _KEPT_ARTIFACTS):
                kept -= len(self._snapshots.pop(next(iter(self._snapshots))).artifacts)
            self._snapshots[count] = made
        return self._snapshots[count]

    def _last_of(self, fingerprint: str, count: int) -> int:
        """How many records there are up to the last of the first `count` that has a `fingerprint`."""
        wanted = _sum_of(fingerprint)
        while count and not (
            self._sums[count - 1] == wanted and self._releases[count - 1].dataset_fingerprint == fingerprint
        ):
            count -= 1
        return count

    def _replayed(self, count: int) -> Snapshot:
        if count == len(self._releases):
            return self._state.snapshot()
        at, state = self._before(count)
        for release in self._releases[at:count]:
            state.apply(release)
        self._replayed_last = count, state
        return state.snapshot()

    def _before(self, count: int) -> tuple[int, _State]:
        """After which record, at most `count`, the nearest known state is, and this state to go on from."""
        at, packed = self._marks[bisect_right(self._marks, count, key=lambda mark: mark[0]) - 1]
        # Who walks on asks for one soon after the other.
        last, replayed = self._replayed_last
        if at <= last <= count:
            return last, replayed.copy()
        state = _STATES.unpack(packed)
        # What is in force at the end as well is held but once.
        state.held = {name: self._shared(ref) for name, ref in state.held.items()}
        return at, state

    def _shared(self, ref: ArtifactRef) -> ArtifactRef:
        newest = self._state.held.get(ref.manifest_sha256)
        return newest if newest is not None and newest == ref else ref


@dataclass(slots=True)
class _State:
    """What is in force while a log is replayed."""

    node_id: str
    release: Release | None = None
    held: dict[str, ArtifactRef] = field(default_factory=dict)
    parts: dict[str, tuple[ArtifactRef, ...]] = field(default_factory=dict)
    pinned: list[Segment] = field(default_factory=list)
    discarded: set[str] = field(default_factory=set)
    since: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make segments of the pairs that were packed."""
        self.pinned = [Segment(*pin) for pin in self.pinned]

    def copy(self) -> _State:
        held, parts, since = dict(self.held), dict(self.parts), dict(self.since)
        return replace(self, held=held, parts=parts, discarded=set(self.discarded), since=since)

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
        new: Iterable[ArtifactRef] = release.added
        if self.parts or release.withdrawn:
            new, _ = differing(self.parts, release.added, release.withdrawn)
        for ref in new:
            self.since[ref.manifest_sha256] = release.as_of
        self.release = release

    def forget(self) -> None:
        """Forget since when artifacts were in force that are no longer."""
        self.since = self._since_in_force()

    def _since_in_force(self) -> dict[str, str]:
        names = (leaf.manifest_sha256 for leaf in leaves(self.parts, self.held.values()))
        return {name: self.since[name] for name in names if name in self.since}

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
            since=self._since_in_force(),
        )


@dataclass(frozen=True, slots=True)
class _Packed(Generic[T]):
    """A value, compressed; `length` is that of its JSON."""

    body: bytes
    length: int

    @property
    def bytes(self) -> int:
        return len(self.body)


class _Packing(Generic[T]):
    """Packs values of one type."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = Decoder(kind)
        self._codec = pa.Codec("zstd", compression_level=1)

    def pack(self, value: T) -> _Packed[T]:
        told = encode(value)
        return _Packed(self._codec.compress(told, asbytes=True), len(told))

    def unpack(self, packed: _Packed[T]) -> T:
        return self._decoder.decode(self._codec.decompress(packed.body, packed.length, asbytes=True))


_STATES, _RECORDS = _Packing(_State), _Packing(list[Release])


class _Releases(Sequence[Release]):
    """The records of a log, packed but for the last few hundred. It may be read while one is appended."""

    def __init__(self) -> None:
        self._packed: list[tuple[int, _Packed[list[Release]]]] = []
        self._open: tuple[int, list[Release]] = (0, [])
        self._weight = 0

    def append(self, release: Release) -> int:
        """Add a record; the bytes that others were packed to for it, 0 where none were."""
        first, last = self._open
        last.append(release)
        self._weight += _weight(release)
        if self._weight <= _OPEN:
            return 0
        count = weight = 0
        while weight < _PACKED:
            weight += _weight(last[count])
            count += 1
        packed = _RECORDS.pack(last[:count])
        self._packed.append((first, packed))
        self._open, self._weight = (first + count, last[count:]), self._weight - weight
        return packed.bytes

    def __len__(self) -> int:
        first, last = self._open
        return first + len(last)

    @overload
    def __getitem__(self, at: int) -> Release: ...
    @overload
    def __getitem__(self, at: slice) -> list[Release]: ...
    def __getitem__(self, at: int | slice) -> Release | list[Release]:
        asked = range(len(self))[at]
        if isinstance(asked, int):
            return next(self._from(asked))
        assert asked.step == 1, "records are read in their order"
        return list(islice(self._from(asked.start), len(asked)))

    def __iter__(self) -> Iterator[Release]:
        return self._from(0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _from(self, start: int) -> Iterator[Release]:
        open_from, last = self._open
        while start < open_from:
            first, packed = self._packed[bisect_right(self._packed, start, key=lambda one: one[0]) - 1]
            found = _RECORDS.unpack(packed)
            yield from found[start - first :]
            start = first + len(found)
        yield from last[start - open_from :]


def _weight(release: Release) -> int:
    return 1 + len(release.added) + len(release.withdrawn)


def _sum_of(fingerprint: str) -> int:
    return zlib.crc32(fingerprint.encode())


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
