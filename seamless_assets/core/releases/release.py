"""The release log: a chain of records, the only thing that moves a node's `as_of`."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from msgspec.json import Decoder, decode

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.canonical import canonical_json, read_record, sha256_text
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.errors import ArtifactCorrupt, ReleaseRefused

ReleaseKind = Literal["automatic", "by_hand", "rollback", "withdrawal", "compaction", "clean_up"]
KINDS: tuple[ReleaseKind, ...] = get_args(ReleaseKind)
LOG_FOLDER = "_releases"
"""Where a node's records lie below its folder."""
GENESIS = "sha256:" + "0" * 64
"""What the first release names as the one before it."""
RECORD_VERSION: Literal[1] = 1
LEAST_STEP_MICROS = 1_000
"""From one `as_of` to the next, so that they stay apart where only milliseconds are kept.

Records of earlier versions may stand closer.
"""
_RECORD_PATH = re.compile(rf"{LOG_FOLDER}/(?P<seq>[0-9]{{10}})\.json")
_CHECKPOINT_EVERY, _KEPT_SNAPSHOTS = 256, 64


@dataclass(frozen=True, slots=True)
class Revision:
    """What a release changed in bars that an earlier one held: counts, and the first changed opens."""

    partition: str
    added: int
    removed: int
    changed: int
    examples: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """One entry of a node's release log.

    `as_of` (ISO text, UTC, microseconds) grows with `seq`, by a millisecond at least; `previous` is the hash
    of the record before; `dataset_fingerprint` is the Merkle root over all artifacts in force after it.

    What a `rollback` or a `withdrawal` touches is pinned: no `automatic` release changes it until one
    `by_hand` does; one that changes nothing frees all. A `compaction` puts artifacts in force that hold the
    bars of those it withdraws. A `clean_up` changes nothing in force; it gives up the names `discarded`
    (paths below the node's folder) for ever, so that their files can be removed however slow another
    writer is.
    """

    node_id: str
    seq: int
    as_of: str
    previous: str
    dataset_fingerprint: str
    added: tuple[ArtifactRef, ...]
    withdrawn: tuple[ArtifactRef, ...]
    checks: Mapping[str, bool]
    reason: str
    kind: ReleaseKind = "automatic"
    revisions: tuple[Revision, ...] = ()
    discarded: tuple[str, ...] = ()
    hash: str = ""
    record_version: Literal[1] = RECORD_VERSION

    def to_json(self) -> bytes:
        """Its canonical bytes, the record's own hash among them."""
        body = asdict(self)
        del body["hash"]
        return canonical_json({**body, "hash": sha256_text(canonical_json(body))})

    @classmethod
    def from_json(cls, payload: bytes, uri: str) -> Release:
        """The release of stored bytes; raises `ArtifactCorrupt` where they were altered."""
        try:
            release = read_record(payload, _DECODER, "record_version", RECORD_VERSION)
            # Keys are sorted, so the hash stands inside, a comma follows it, and the rest is what it covers.
            if sha256_text(payload.replace(f'"hash":"{release.hash}",'.encode(), b"", 1)) != release.hash:
                raise ValueError("it does not match its own hash")
            return release
        except ValueError as error:
            raise ArtifactCorrupt(f"{uri} is not a readable release record: {error}", uri=uri) from error


_DECODER = Decoder(Release)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The artifacts that make a node's dataset at an `as_of`, ordered by start, disjoint.

    `parts` says which artifacts a compacted one stands for (by the hash of its manifest), `pinned` which
    ranges only a release by hand may change, `discarded` which paths below the node's folder are given up.
    """

    node_id: str
    release: Release | None
    artifacts: tuple[ArtifactRef, ...]
    parts: Mapping[str, tuple[ArtifactRef, ...]] = field(default_factory=dict)
    pinned: tuple[Segment, ...] = ()
    discarded: frozenset[str] = frozenset()

    @property
    def dataset_fingerprint(self) -> str | None:
        """The Merkle root of its artifacts; None before the first release."""
        return self.release.dataset_fingerprint if self.release else None

    def overlapping(self, window: Segment) -> tuple[ArtifactRef, ...]:
        """Its artifacts that hold any time of `window`, ascending."""
        start, end = window
        return tuple(ref for ref in self.artifacts if ref.start < end and start < ref.end)


class ReleaseLog:
    """A node's log in memory: grows at its end, and knows the snapshot after any of its records."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.releases: list[Release] = []
        self._newest = _State(node_id)
        self._checkpoints = [_State(node_id)]
        self._snapshots: dict[int, Snapshot] = {}

    def extend(self, fresh: Sequence[Release], uri: str) -> None:
        """Add the records that follow. Raises `ArtifactCorrupt` unless they continue the node's chain."""
        for release in fresh:
            if release.node_id != self.node_id:
                raise ArtifactCorrupt(
                    f"release log {uri} of {self.node_id} holds record {release.seq} of {release.node_id}; "
                    "move the files back to where they belong",
                    uri=uri,
                    seq=release.seq,
                )
        verify_chain(fresh, uri, after=self.releases[-1] if self.releases else None)
        for release in fresh:
            self._newest.apply(release)
            self.releases.append(release)
            if len(self.releases) % _CHECKPOINT_EVERY == 0:
                self._checkpoints.append(self._newest.copy())

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

    def copy(self) -> _State:
        twin = _State(self.node_id)
        twin.release, twin.held, twin.parts = self.release, dict(self.held), dict(self.parts)
        twin.pinned, twin.discarded = list(self.pinned), set(self.discarded)
        return twin

    def apply(self, release: Release) -> None:
        for ref in release.withdrawn:
            self.held.pop(ref.manifest_sha256, None)
        self.held.update((ref.manifest_sha256, ref) for ref in release.added)
        self.discarded.update(release.discarded)
        if release.kind == "compaction":
            self.parts.update((ref.manifest_sha256, _within(ref, release.withdrawn)) for ref in release.added)
        elif release.kind in ("rollback", "withdrawal"):
            self.pinned = join_segments([*self.pinned, *self._touched(release)])
        elif release.kind == "by_hand":
            freed = self._touched(release) if release.added else self.pinned
            self.pinned = [part for pin in self.pinned for part in outside(pin, freed)]
        self.release = release

    def _touched(self, release: Release) -> list[Segment]:
        new, old = differing(self.parts, release.added, release.withdrawn)
        return [ref.segment for ref in (*new, *old)]

    def snapshot(self) -> Snapshot:
        return Snapshot(
            node_id=self.node_id,
            release=self.release,
            artifacts=_ordered(self.held.values()),
            parts=dict(self.parts),
            pinned=tuple(self.pinned),
            discarded=frozenset(self.discarded),
        )


def snapshot_at(node_id: str, log: Sequence[Release], as_of: str | None = None) -> Snapshot:
    """The snapshot after the last release with `release.as_of <= as_of` (None: after all)."""
    state = _State(node_id)
    for release in log:
        if as_of is not None and release.as_of > as_of:
            break
        state.apply(release)
    return state.snapshot()


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

    Raises `ReleaseRefused` where artifacts in force would overlap.
    """
    last = before.release
    gone = {ref.manifest_sha256 for ref in withdrawn}
    kept = [ref for ref in before.artifacts if ref.manifest_sha256 not in gone]
    in_force = _ordered([*kept, *added])
    _refuse_overlap(before.node_id, in_force)
    as_of = max(now_micros, epoch_micros_after(last) if last else now_micros)
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
    new, old = set(_leaves(parts, added)), set(_leaves(parts, withdrawn))
    return list(_ordered(new - old)), list(_ordered(old - new))


def record_path(seq: int) -> str:
    """Path of a record below its node's folder."""
    return f"{LOG_FOLDER}/{seq:010}.json"


def record_number(path: str) -> int | None:
    """The number in a record's path below its node's folder; None for a path of another form."""
    found = _RECORD_PATH.fullmatch(path)
    return int(found["seq"]) if found else None


def epoch_micros_after(release: Release) -> int:
    """The first instant (epoch microseconds) that a later release may carry."""
    return epoch_micros(release.as_of, "as_of") + LEAST_STEP_MICROS


def verify_chain(log: Iterable[Release], uri: str, after: Release | None = None) -> None:
    """Raise `ArtifactCorrupt` unless `log` is one unbroken chain from its first record, or from `after`."""
    last, previous, as_of = (after.seq, after.hash, after.as_of) if after else (0, GENESIS, "")
    for seq, release in enumerate(log, start=last + 1):
        problem = _break(release, seq, previous, as_of)
        if problem:
            raise ArtifactCorrupt(f"release log {uri} breaks at record {seq}: {problem}", uri=uri, seq=seq)
        previous, as_of = release.hash, release.as_of


def dataset_fingerprint(node_id: str, artifacts: Sequence[ArtifactRef]) -> str:
    """Merkle root over `(start, end, fingerprint)` of ordered artifacts, bound to the node."""
    leaves = [_digest(b"\0", f"{ref.start}:{ref.end}:{ref.fingerprint}".encode()) for ref in artifacts]
    while len(leaves) > 1:
        pairs = [leaves[at : at + 2] for at in range(0, len(leaves), 2)]
        leaves = [_digest(b"\1", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    root = _digest(b"\2", f"{len(artifacts)}:{node_id}".encode(), *leaves)
    return f"sha256:{root.hex()}"


def _break(release: Release, seq: int, previous: str, as_of: str) -> str | None:
    if release.seq != seq:
        return f"it says it is number {release.seq}"
    if release.previous != previous:
        return "it does not follow the record before it"
    if release.as_of <= as_of:
        return f"its as_of {release.as_of} is not after {as_of}"
    return None


def _refuse_overlap(node_id: str, artifacts: Sequence[ArtifactRef]) -> None:
    for left, right in pairwise(artifacts):
        if right.start < left.end:
            raise ReleaseRefused(
                f"{node_id}: the artifacts of {left.partition} and {right.partition} overlap; release one of "
                "them alone, or withdraw what is in force there first",
                node_id=node_id,
                partitions=(left.partition, right.partition),
            )


def _leaves(
    parts: Mapping[str, tuple[ArtifactRef, ...]], refs: Iterable[ArtifactRef]
) -> Iterator[ArtifactRef]:
    for ref in refs:
        below = parts.get(ref.manifest_sha256)
        if below is None:
            yield ref
        else:
            yield from _leaves(parts, below)


def _within(ref: ArtifactRef, others: Iterable[ArtifactRef]) -> tuple[ArtifactRef, ...]:
    return tuple(other for other in others if ref.start <= other.start and other.end <= ref.end)


def _digest(prefix: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(prefix + b"".join(parts)).digest()


def _ordered(refs: Iterable[ArtifactRef]) -> tuple[ArtifactRef, ...]:
    return tuple(sorted(refs, key=lambda ref: (ref.start, ref.end, ref.fingerprint)))


def as_record(release: Release) -> dict[str, Any]:
    """A release as plain JSON values, for tables and logs."""
    record: dict[str, Any] = decode(release.to_json())
    return record
