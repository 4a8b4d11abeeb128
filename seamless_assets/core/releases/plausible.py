"""Whether a stored record or manifest can be what it says: a right hash does not prove that it is so.

Whoever may write to a store may write any record. What is refused here is what no node can have, and what
would take a reader out of the store, past its memory or past the end of time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from seamless_assets.core.calendar.instant import instant_text, is_instant_text
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidInput

if TYPE_CHECKING:
    from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
    from seamless_assets.core.releases.release import Release

MAX_BARS = 32_000_000
"""In one artifact: a year of seconds."""
MAX_RECORDS = 10**10 - 1
LAST_MICROS = 4_100_000_000 * 1_000_000
"""No release is dated later, in the year 2099: up to there numbers are taken for epoch seconds."""
_FIRST, _LAST = -62_135_596_800, 253_402_300_800
"""The years 1 to 9999."""
_LAST_AS_OF = instant_text(LAST_MICROS)
_MAX_COPIES = 1_000_000
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_THREE_DIGESTS = re.compile(" ".join([_DIGEST.pattern] * 3))
_KEY = re.compile(r"[0-9A-Za-z:+.-]{1,64}")


def refuse_implausible_release(release: Release) -> None:
    """Raise `ValueError` where a record says what no record can say."""
    node = _node_of(release.node_id)
    _require(0 < release.seq <= MAX_RECORDS, "its number is none")
    _require_instant(release.as_of, "as_of")
    if not _are_digests(release.previous, release.dataset_fingerprint, release.hash):
        for name in ("previous", "dataset_fingerprint", "hash"):
            _require(_DIGEST.fullmatch(getattr(release, name)), f"its {name} is no SHA-256")
    for name, refs in (("added", release.added), ("withdrawn", release.withdrawn)):
        for ref in refs:
            refuse_implausible_ref(ref, node.timeframe)
        if len(refs) > 1:
            named = {ref.manifest_sha256 for ref in refs}
            _require(len(named) == len(refs), f"it names an artifact twice in {name}")
    is_apart = not release.withdrawn or set(release.added).isdisjoint(release.withdrawn)
    _require(is_apart, "it adds what it withdraws")
    for revision in release.revisions:
        counts = (revision.added, revision.removed, revision.changed)
        _require(all(0 <= count <= MAX_BARS for count in counts), "it counts revised bars that cannot be")


def refuse_implausible_manifest(manifest: Manifest) -> None:
    """Raise `ValueError` where a manifest says what no artifact can be."""
    node = _node_of(manifest.node_id)
    _require(
        manifest.interval == (node.timeframe.seconds or str(node.timeframe)),
        "its interval is not that of its node",
    )
    _require_range(manifest.start, manifest.end, manifest.rows, node.timeframe)
    _require(_KEY.fullmatch(manifest.partition), "its partition is no key")
    for name in ("dataset_fingerprint", "file_sha256"):
        _require(_DIGEST.fullmatch(getattr(manifest, name)), f"its {name} is no SHA-256")
    for gaps in (manifest.absent, manifest.missing):
        _require_gaps(gaps, manifest.start, manifest.end)
    _require(_FIRST <= manifest.publication_watermark < _LAST, "its publication_watermark is no time")
    _require_instant(manifest.as_of, "as_of")


def refuse_implausible_ref(ref: ArtifactRef, timeframe: Timeframe) -> None:
    """Raise `ValueError` where a record names an artifact that cannot be."""
    _require_range(ref.start, ref.end, ref.rows, timeframe)
    _require(_KEY.fullmatch(ref.partition), "the partition of an artifact is no key")
    if not _are_digests(ref.fingerprint, ref.file_sha256, ref.manifest_sha256):
        for name in ("fingerprint", "file_sha256", "manifest_sha256"):
            _require(_DIGEST.fullmatch(getattr(ref, name)), f"the {name} of an artifact is no SHA-256")
    _require(0 <= ref.edition <= _MAX_COPIES and 0 <= ref.copy <= _MAX_COPIES, "an artifact has no such name")


def _are_digests(first: str, second: str, third: str) -> bool:
    # One look at all three takes half as long as one at each: a year of days is a thousand of them.
    return _THREE_DIGESTS.fullmatch(f"{first} {second} {third}") is not None


def _require_range(start: int, end: int, rows: int, timeframe: Timeframe) -> None:
    _require(_FIRST <= start <= end <= _LAST, "the range of an artifact is none")
    try:
        expected = timeframe.count(start, end)
    except InvalidInput as error:
        raise ValueError("the range of an artifact leaves the calendar") from error
    _require(0 <= rows <= expected <= MAX_BARS, "an artifact has more bars than its range can hold")


def _require_gaps(gaps: Sequence[Gap], start: int, end: int) -> None:
    if not gaps:
        return
    is_inside = start <= gaps[0].start and gaps[-1].end <= end
    is_in_order = all(gap.start < gap.end for gap in gaps) and all(
        left.end <= right.start for left, right in pairwise(gaps)
    )
    _require(is_inside and is_in_order, "its gaps overlap, or lie outside of its range")


def _require_instant(text: str, name: str) -> None:
    _require(is_instant_text(text), f"its {name} is no instant, or is not written as one is")
    _require(text <= _LAST_AS_OF, f"its {name} lies past the year 2099")


def _node_of(text: str) -> NodeId:
    try:
        return NodeId.parse(text)
    except InvalidInput as error:
        raise ValueError("its node_id is none") from error


def _require(holds: object, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
