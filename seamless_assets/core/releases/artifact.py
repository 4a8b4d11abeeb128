"""Artifacts: one immutable Parquet segment each, with the manifest that explains it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from msgspec import ValidationError, convert
from msgspec.json import Decoder

from seamless_assets.core.bars.extents import VALUES, Extents, Packing
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import canonical_json, read_record, sha256_text
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, Gap
from seamless_assets.core.coverage.declaration import Declaration
from seamless_assets.core.coverage.ledger import MadeRange
from seamless_assets.core.node import NodeId, path_value
from seamless_assets.core.releases.plausible import refuse_implausible_manifest
from seamless_assets.errors import ArtifactCorrupt

T = TypeVar("T")
MANIFEST_VERSION: Literal[1] = 1
EXTENTS, VOLUME, INPUTS = "extents", "volume", "inputs"
IMPORTS, ALIASES, TRADES = "imports", "aliases", "trades"
ARCHIVES, ARCHIVE_DIFFERENCES = "archives", "archive_differences"
SEALED = "sealed"
"""What a manifest's `policy` says beside the decisions: where its values lie, what volume counts, what it
was derived from, which files were imported into its range, which symbols its bars were of before, which of
its bars are made of trades, and of one that was merged when its parts were sealed.

Who declared bars absent stands there too, under `DECLARED`.

Versions that share a store pass over what they do not know there; any other name they refuse.
"""
FILE_SUFFIX = ".parquet"
MANIFEST_SUFFIX = ".manifest.json"
_ARTIFACT_PATH = re.compile(
    r"[^/]+/(?P<digest>[0-9a-f]{64})(\.(?P<number>[1-9][0-9]*))?(\.parquet|\.manifest\.json)"
)


@dataclass(frozen=True, slots=True)
class InputVersion:
    """The bars of `[start, end)` of one node (epoch seconds) as something was derived from them.

    `fingerprint` is that of the `rows` bars, `gaps` the SHA-256 of what was not there and why. `as_of` and
    `dataset_fingerprint` name the release that was read.
    """

    node_id: str
    start: int
    end: int
    rows: int
    fingerprint: str
    gaps: str
    as_of: str
    dataset_fingerprint: str

    @property
    def content(self) -> tuple[str, int, int, str, str]:
        """What decides whether something is to be derived anew, whoever released it when."""
        return (self.node_id, self.start, self.end, self.fingerprint, self.gaps)


@dataclass(frozen=True, slots=True)
class SealedRange:
    """A range of a merged artifact (epoch seconds), and the `as_of` by which what it holds was sealed."""

    start: int
    end: int
    as_of: str

    def __post_init__(self) -> None:
        """Refuse what is no instant, wherever it was read."""
        epoch_micros(self.as_of, "as_of")

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one artifact holds and how it came to be.

    `range` is the sealed `[start, end)` in epoch seconds, `interval` the bar's length in seconds (the
    timeframe's text for months and years), `as_of` the instant of first publication, `extents` the packing of
    a file by earlier versions, whose volumes are split. Only the bars, node, interval and conformance version
    enter `dataset_fingerprint`.
    """

    node_id: str
    interval: int | str
    partition: str
    range: tuple[int, int]
    rows: int
    dataset_fingerprint: str
    file_sha256: str
    file_bytes: int
    conformance_version: str
    conformance_flags: Mapping[str, int]
    absent: tuple[Gap, ...]
    missing: tuple[Gap, ...]
    producer: Mapping[str, str]
    exchange: str
    policy: Mapping[str, Any]
    publication_watermark: int
    as_of: str
    extents: Extents = ()
    manifest_version: Literal[1] = MANIFEST_VERSION

    @property
    def start(self) -> int:
        """Where the sealed range starts."""
        return self.range[0]

    @property
    def end(self) -> int:
        """Where the sealed range ends."""
        return self.range[1]

    @property
    def segment(self) -> Segment:
        """The sealed range."""
        return Segment(self.start, self.end)

    @property
    def packing(self) -> Packing:
        """Where its values lie in the file; no extents where only a Parquet reader can find them."""
        extents = self.extents or _converted(self.policy.get(EXTENTS), Extents) or ()
        return Packing(extents, bool(self.extents)) if len(extents) == len(VALUES) else Packing()

    @property
    def volume(self) -> VolumeUnit | None:
        """What one of `volume` is; None where nobody could tell when it was sealed."""
        return _converted(self.policy.get(VOLUME), VolumeUnit)

    @property
    def declared(self) -> tuple[Declaration, ...]:
        """Who said of its bars told as `declared` that they do not exist, when and why."""
        return _converted(self.policy.get(DECLARED), tuple[Declaration, ...]) or ()

    @property
    def inputs(self) -> tuple[InputVersion, ...]:
        """What it was derived from; nothing for bars that an exchange sent."""
        return _converted(self.policy.get(INPUTS), tuple[InputVersion, ...]) or ()

    @property
    def aliases(self) -> tuple[dict[str, Any], ...]:
        """Other symbols that its bars are of: which, of which times, and the factor of prices."""
        return _converted(self.policy.get(ALIASES), tuple[dict[str, Any], ...]) or ()

    @property
    def from_trades(self) -> tuple[MadeRange, ...]:
        """Where its bars are made of trades, ascending, and of which; all others are candles."""
        return _converted(self.policy.get(TRADES), tuple[MadeRange, ...]) or ()

    @property
    def from_archives(self) -> tuple[MadeRange, ...]:
        """Where its bars are of files of the exchange's archive, ascending, and of which."""
        return _converted(self.policy.get(ARCHIVES), tuple[MadeRange, ...]) or ()

    @property
    def archive_differences(self) -> tuple[MadeRange, ...]:
        """Where the exchange sent other bars than that file of its archive has; the exchange's count."""
        return _converted(self.policy.get(ARCHIVE_DIFFERENCES), tuple[MadeRange, ...]) or ()

    @property
    def imports(self) -> tuple[dict[str, Any], ...]:
        """What was imported into its range so far: files and their SHA-256, of which times, by whom."""
        return _converted(self.policy.get(IMPORTS), tuple[dict[str, Any], ...]) or ()

    @property
    def sealed(self) -> tuple[SealedRange, ...]:
        """When its parts were sealed, ascending; nothing where it is none, or of an earlier version.

        What does not make up its range, part after part, is as if it were not said.
        """
        found = _converted(self.policy.get(SEALED), tuple[SealedRange, ...]) or ()
        edges = [self.range[0], *(one.end for one in found)]
        is_whole = all(one.start == at < one.end for one, at in zip(found, edges, strict=False))
        return found if is_whole and edges[-1] == self.range[1] else ()

    def opens(self, timeframe: Timeframe, part: Segment) -> np.ndarray:
        """Sorted opens of its bars inside `part`, int64 epoch seconds: all of the grid but its gaps."""
        return _opens_but((*self.absent, *self.missing), timeframe, self.segment.intersect(part))

    def to_json(self) -> bytes:
        """Its canonical bytes."""
        return canonical_json(_stored(self))

    def same_facts(self, other: Manifest) -> bool:
        """Whether both say the same of the bars, whoever published them when."""
        return _facts(self) == _facts(other)

    @classmethod
    def from_json(cls, payload: bytes, uri: str) -> Manifest:
        """The manifest of stored bytes; raises `ArtifactCorrupt` where they are none."""
        try:
            manifest = read_record(payload, _DECODER, "manifest_version", MANIFEST_VERSION, _stored)
            refuse_implausible_manifest(manifest)
            return manifest
        except ValueError as error:
            raise ArtifactCorrupt(f"{uri} is not a readable manifest: {error}", uri=uri) from error


_DECODER = Decoder(Manifest)
_FIELDS = tuple(each.name for each in fields(Manifest))


def declared_record(declared: Iterable[Declaration]) -> dict[str, Any]:
    """What a manifest's `policy` says of who declared bars absent; nothing where nobody did."""
    records = [one.as_record() for one in dict.fromkeys(declared)]
    return {DECLARED: records} if records else {}


def inputs_record(inputs: Iterable[InputVersion]) -> dict[str, Any]:
    """What a manifest's `policy` says of what it was derived from."""
    return {INPUTS: [asdict(one) for one in inputs]}


def aliases_record(aliases: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a manifest's `policy` says of other symbols that its bars are of; nothing where there is none."""
    records = list(aliases)
    return {ALIASES: records} if records else {}


def trades_record(made: Iterable[MadeRange]) -> dict[str, Any]:
    """What a manifest's `policy` says of bars that are made of trades; nothing where none is."""
    records = [asdict(one) for one in made]
    return {TRADES: records} if records else {}


def archives_record(made: Iterable[MadeRange], differing: Iterable[MadeRange]) -> dict[str, Any]:
    """What a manifest's `policy` says of bars of the exchange's archive, and of those it has otherwise."""
    said = {ARCHIVES: [asdict(one) for one in made], ARCHIVE_DIFFERENCES: [asdict(one) for one in differing]}
    return {name: records for name, records in said.items() if records}


def imports_record(imported: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a manifest's `policy` says of what was imported; nothing where nothing was."""
    records: list[Mapping[str, Any]] = []
    for record in imported:
        if record not in records:
            records.append(record)
    return {IMPORTS: records} if records else {}


def sealed_record(ranges: Iterable[SealedRange]) -> dict[str, Any]:
    """What a manifest's `policy` says of when its parts were sealed, those of one instant as one."""
    joined: list[SealedRange] = []
    for one in ranges:
        if joined and (joined[-1].end, joined[-1].as_of) == (one.start, one.as_of):
            joined[-1] = replace(joined[-1], end=one.end)
        else:
            joined.append(one)
    return {SEALED: [asdict(one) for one in joined]}


def packing_facts(policy: Mapping[str, Any], packing: Packing) -> dict[str, Any]:
    """The fields of a manifest that tell of a packing, `policy` among them."""
    decisions = {name: value for name, value in policy.items() if name != EXTENTS}
    if packing.is_split:
        return {"extents": packing.extents, "policy": decisions}
    places = [list(extent) for extent in packing.extents]
    return {"extents": (), "policy": {**decisions, EXTENTS: places} if places else decisions}


def opens_of(manifests: Sequence[Manifest], timeframe: Timeframe) -> np.ndarray:
    """Sorted opens of the bars of ascending artifacts that do not overlap, int64 epoch seconds."""
    holes = [gap for one in manifests for gaps in (one.absent, one.missing) for gap in gaps]
    between = ((left.end, right.start) for left, right in pairwise(manifests))
    holes += [Gap(end, start, MISSING) for end, start in between if end != start]
    return _opens_but(holes, timeframe, Segment(manifests[0].start, manifests[-1].end))


def file_path(partition: str, fingerprint: str, copy: int = 0) -> str:
    """Path of a Parquet file below its node's folder: `<partition>/<digest>.parquet`."""
    return _path(partition, fingerprint, copy, FILE_SUFFIX)


def manifest_path(partition: str, fingerprint: str, edition: int = 0) -> str:
    """Path of a manifest below its node's folder: `<partition>/<digest>.manifest.json`."""
    return _path(partition, fingerprint, edition, MANIFEST_SUFFIX)


def artifact_number(path: str) -> tuple[str, int] | None:
    """Digest and number of an artifact's file or manifest; None for a path of another form."""
    found = _ARTIFACT_PATH.fullmatch(path)
    return (found["digest"], int(found["number"] or 0)) if found else None


def manifest_edition(path: str) -> int | None:
    """The edition in a manifest's path; None for a path of another form."""
    numbered = artifact_number(path) if path.endswith(MANIFEST_SUFFIX) else None
    return numbered[1] if numbered else None


def _converted(value: Any, kind: type[T]) -> T | None:
    try:
        return None if value is None else convert(value, kind)
    except ValidationError:
        return None


def _opens_but(holes: Sequence[Gap], timeframe: Timeframe, window: Segment) -> np.ndarray:
    """The opens of a window that lie in none of the holes, which do not overlap."""
    every = timeframe.opens_array(*window)
    if not holes:
        return every
    starts, ends, _ = zip(*holes, strict=True)
    edges = np.sort(np.searchsorted(every, np.array(starts + ends)))
    # From edge to edge bars are there and not there by turns.
    is_there = np.arange(len(edges) + 1) % 2 == 0
    opens: np.ndarray = every[np.repeat(is_there, np.diff(edges, prepend=0, append=len(every)))]
    return opens


def _path(partition: str, fingerprint: str, number: int, suffix: str) -> str:
    digest = fingerprint.removeprefix("sha256:")
    return f"{path_value(partition)}/{digest}{f'.{number}' if number else ''}{suffix}"


def _stored(manifest: Manifest) -> dict[str, Any]:
    """What is written of it: all but extents that it has none of."""
    record = {name: getattr(manifest, name) for name in _FIELDS}
    if not manifest.extents:
        del record["extents"]
    return record


def _facts(manifest: Manifest) -> tuple[Any, ...]:
    return (
        manifest.node_id,
        manifest.partition,
        manifest.segment,
        manifest.rows,
        manifest.dataset_fingerprint,
        manifest.conformance_version,
        manifest.absent,
        manifest.missing,
        [one.content for one in manifest.inputs],
        join_segments([one.segment for one in manifest.from_trades]),
    )


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """How a release names an artifact: enough to find it and to prove every byte of it.

    The same bars can be sealed again under other facts (a range that grew by bars without trades):
    one file, and for each set of facts an `edition` of the manifest, counted from 0. `copy` counts the
    files; it grows only where a clean-up gave the name of the one before up.
    """

    partition: str
    start: int
    end: int
    rows: int
    fingerprint: str
    file_sha256: str
    manifest_sha256: str
    edition: int = 0
    copy: int = 0

    @classmethod
    def of(cls, manifest: Manifest, edition: int = 0, copy: int = 0) -> ArtifactRef:
        """The reference to the artifact of `manifest`."""
        return cls(
            partition=manifest.partition,
            start=manifest.start,
            end=manifest.end,
            rows=manifest.rows,
            fingerprint=manifest.dataset_fingerprint,
            file_sha256=manifest.file_sha256,
            manifest_sha256=sha256_text(manifest.to_json()),
            edition=edition,
            copy=copy,
        )

    @property
    def segment(self) -> Segment:
        """The sealed range."""
        return Segment(self.start, self.end)

    @property
    def file_path(self) -> str:
        """Path of its Parquet file below its node's folder."""
        return file_path(self.partition, self.fingerprint, self.copy)

    @property
    def manifest_path(self) -> str:
        """Path of its manifest below its node's folder."""
        return manifest_path(self.partition, self.fingerprint, self.edition)

    def is_of(self, manifest: Manifest) -> bool:
        """Whether it says of the artifact what the manifest says."""
        return (
            replace(ArtifactRef.of(manifest, self.edition, self.copy), manifest_sha256=self.manifest_sha256)
            == self
        )


@dataclass(frozen=True, slots=True)
class SealedArtifact:
    """An artifact on its way into the store: manifest, Parquet bytes, and the bars that they hold."""

    node: NodeId
    manifest: Manifest
    payload: bytes = field(repr=False)
    bars: pa.Table = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a node's folder: its path there, bytes, and when it was written (epoch seconds).

    Its `signature` changes when it does. A leftover is what a writer that was killed left of a file that
    never came to be.
    """

    path: str
    size: int
    modified: float
    signature: str
    is_leftover: bool = False
