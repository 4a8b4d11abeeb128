"""The release log: a chain of records, the only thing that moves a node's `as_of`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.canonical import canonical_json, sha256_text
from seamless_assets.core.instant import epoch_micros, instant_text
from seamless_assets.errors import ArtifactCorrupt

GENESIS = "sha256:" + "0" * 64
"""What the first release names as the one before it."""
RECORD_VERSION = 1


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

    `as_of` (ISO text, UTC, microseconds) grows strictly with `seq`; `previous` is the hash of the record
    before; `dataset_fingerprint` is the Merkle root over all artifacts in force after this entry.
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
    revisions: tuple[Revision, ...] = ()
    hash: str = ""

    def to_json(self) -> bytes:
        """Its canonical bytes, which end with the record's own hash."""
        body = {"record_version": RECORD_VERSION, **asdict(self)}
        del body["hash"]
        return canonical_json({**body, "hash": sha256_text(canonical_json(body))})

    @classmethod
    def from_json(cls, payload: bytes, uri: str) -> Release:
        """The release of stored bytes; raises `ArtifactCorrupt` where they were altered."""
        try:
            record = json.loads(payload)
            version, claimed = record["record_version"], record.pop("hash")
            if version != RECORD_VERSION:
                raise ValueError(f"record version {version} is not {RECORD_VERSION}")
            if canonical_json({**record, "hash": claimed}) != payload:
                raise ValueError("it is not in canonical form")
            if sha256_text(canonical_json(record)) != claimed:
                raise ValueError("it does not match its own hash")
            del record["record_version"]
            for name in ("added", "withdrawn"):
                record[name] = tuple(ArtifactRef(**ref) for ref in record[name])
            revisions = tuple(
                Revision(**{**item, "examples": tuple(item["examples"])}) for item in record.pop("revisions")
            )
            return cls(**record, revisions=revisions, hash=claimed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactCorrupt(f"{uri} is not a readable release record: {error}", uri=uri) from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The artifacts that make a node's dataset at an `as_of`, ordered by start, disjoint."""

    node_id: str
    release: Release | None
    artifacts: tuple[ArtifactRef, ...]

    @property
    def dataset_fingerprint(self) -> str | None:
        """The Merkle root of its artifacts; None before the first release."""
        return self.release.dataset_fingerprint if self.release else None

    def find(self, partition: str) -> tuple[ArtifactRef, ...]:
        """Its artifacts of one partition."""
        return tuple(ref for ref in self.artifacts if ref.partition == partition)


def snapshot_at(node_id: str, log: Sequence[Release], as_of: str | None = None) -> Snapshot:
    """The snapshot after the last release with `release.as_of <= as_of` (None: after all)."""
    held: dict[str, ArtifactRef] = {}
    last: Release | None = None
    for release in log:
        if as_of is not None and release.as_of > as_of:
            break
        for ref in release.withdrawn:
            held.pop(ref.manifest_sha256, None)
        held.update((ref.manifest_sha256, ref) for ref in release.added)
        last = release
    return Snapshot(node_id, last, _ordered(held.values()))


def next_release(
    before: Snapshot,
    *,
    added: Sequence[ArtifactRef],
    withdrawn: Sequence[ArtifactRef],
    now_micros: int,
    checks: Mapping[str, bool],
    reason: str,
    revisions: Sequence[Revision] = (),
) -> Release:
    """The record that follows `before`; its `as_of` is `now`, or a microsecond after the last one."""
    last = before.release
    gone = {ref.manifest_sha256 for ref in withdrawn}
    kept = [ref for ref in before.artifacts if ref.manifest_sha256 not in gone]
    as_of = max(now_micros, epoch_micros_after(last) if last else now_micros)
    draft = Release(
        node_id=before.node_id,
        seq=last.seq + 1 if last else 1,
        as_of=instant_text(as_of),
        previous=last.hash if last else GENESIS,
        dataset_fingerprint=dataset_fingerprint(before.node_id, _ordered([*kept, *added])),
        added=tuple(added),
        withdrawn=tuple(withdrawn),
        checks=dict(checks),
        reason=reason,
        revisions=tuple(revisions),
    )
    return replace(draft, hash=json.loads(draft.to_json())["hash"])


def epoch_micros_after(release: Release) -> int:
    """The first instant (epoch microseconds) that a later release may carry."""
    return epoch_micros(release.as_of, "as_of") + 1


def verify_chain(log: Iterable[Release], uri: str) -> None:
    """Raise `ArtifactCorrupt` unless `log` is one unbroken chain from its first record."""
    previous, as_of = GENESIS, ""
    for seq, release in enumerate(log, start=1):
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


def _digest(prefix: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(prefix + b"".join(parts)).digest()


def _ordered(refs: Iterable[ArtifactRef]) -> tuple[ArtifactRef, ...]:
    return tuple(sorted(refs, key=lambda ref: (ref.start, ref.end, ref.fingerprint)))


def as_record(release: Release) -> dict[str, Any]:
    """A release as plain JSON values, for tables and logs."""
    record: dict[str, Any] = json.loads(release.to_json())
    return record
