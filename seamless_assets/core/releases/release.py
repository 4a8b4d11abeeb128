"""Records of a release log: what each says, how it is stored, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from msgspec.json import Decoder, decode

from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.canonical import canonical_json, read_record, sha256_text
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.plausible import refuse_implausible_release
from seamless_assets.errors import ArtifactCorrupt

ReleaseKind = Literal["automatic", "by_hand", "rollback", "withdrawal", "compaction", "clean_up", "import"]
KINDS: tuple[ReleaseKind, ...] = get_args(ReleaseKind)
LOG_FOLDER = "_releases"
"""Where a node's records lie below its folder."""
MIRROR_FOLDER = "_iceberg"
"""Where they are shown as a table, below the same."""
GENESIS = "sha256:" + "0" * 64
"""What the first release names as the one before it."""
RECORD_VERSION: Literal[1] = 1
LEAST_STEP_MICROS = 1_000
"""From one `as_of` to the next, so that they stay apart where only milliseconds are kept.

Records of earlier versions may stand closer.
"""
_RECORD_PATH = re.compile(rf"{LOG_FOLDER}/(?P<seq>[0-9]{{10}})\.json")


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
    `by_hand` does; one that changes nothing frees all. An `import` puts bars of files in force, and
    none that is pinned. A `compaction` puts artifacts in force that hold the
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
            refuse_implausible_release(release)
            return release
        except ValueError as error:
            raise ArtifactCorrupt(f"{uri} is not a readable release record: {error}", uri=uri) from error


_DECODER = Decoder(Release)


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


def as_record(release: Release) -> dict[str, Any]:
    """A release as plain JSON values, for tables and logs."""
    record: dict[str, Any] = decode(release.to_json())
    return record
