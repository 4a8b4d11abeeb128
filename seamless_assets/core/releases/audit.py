"""Audit: what stored bytes say against what the release log promises, fault by fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.extents import find_packing
from seamless_assets.core.bars.parquet import decode_bars
from seamless_assets.core.bars.stored import misplaced
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.fingerprint import dataset_fingerprint, fingerprint
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release, record_path
from seamless_assets.errors import ArtifactCorrupt, InvalidFrame


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong: the path below the node's folder, and what is wrong with it."""

    path: str
    problem: str


def audit_log(node: NodeId, records: Mapping[int, bytes]) -> tuple[list[Release], list[AuditFinding]]:
    """Read every stored record by its number: those that can be read, and all flaws."""
    releases: list[Release] = []
    findings: list[AuditFinding] = []
    log = ReleaseLog(str(node))
    expected = 1
    for seq, payload in sorted(records.items()):
        path, problem = record_path(seq), None
        if seq > expected:
            findings.append(
                AuditFinding(record_path(expected), "the record is missing, and later ones are there")
            )
        expected = seq + 1
        try:
            release = Release.from_json(payload, path)
        except ArtifactCorrupt as error:
            problem = str(error)
        else:
            problem = _out_of_place(node, path, release)
            if problem is None and len(log.releases) == seq - 1:
                problem = _unfounded(log, release, path)
            releases.append(release)
        if problem:
            findings.append(AuditFinding(path, problem))
    return releases, findings


def audit_manifest(
    node: NodeId, ref: ArtifactRef, payload: bytes
) -> tuple[Manifest | None, list[AuditFinding]]:
    """A stored manifest against the reference that a release holds of it."""
    path = ref.manifest_path
    found = sha256_text(payload)
    if found != ref.manifest_sha256:
        return None, [AuditFinding(path, f"it holds {found}, its release promises {ref.manifest_sha256}")]
    try:
        manifest = Manifest.from_json(payload, path)
    except ArtifactCorrupt as error:
        return None, [AuditFinding(path, str(error))]
    if not ref.is_of(manifest) or manifest.node_id != str(node):
        return None, [
            AuditFinding(path, "it says other things of its artifact than the release that names it")
        ]
    return manifest, []


def audit_file(
    node: NodeId, ref: ArtifactRef, manifest: Manifest | None, payload: bytes
) -> tuple[pa.Table | None, list[AuditFinding]]:
    """A stored Parquet file against its release and manifest: bytes, content, range and count of bars.

    Without its manifest only the bytes can be judged. The bars come back where nothing is wrong.
    """
    path = ref.file_path
    found = sha256_text(payload)
    if found != ref.file_sha256:
        return None, [AuditFinding(path, f"it holds {found}, its release promises {ref.file_sha256}")]
    if manifest is None:
        return None, []
    try:
        bars = decode_bars(payload)
        content = fingerprint(
            bars, node_id=node, interval=node.timeframe, conformance_version=manifest.conformance_version
        )
    except (pa.ArrowException, OSError, InvalidFrame) as error:
        return None, [AuditFinding(path, f"it is no Parquet file of bars: {error}")]
    problems = _misplaced(node, ref, manifest, bars)
    if content != ref.fingerprint:
        problems.append(f"its bars have the fingerprint {content}, its name says {ref.fingerprint}")
    if len(payload) != manifest.file_bytes or bars.num_rows != ref.rows:
        problems.append(f"it holds {bars.num_rows} bars, its manifest promises {manifest.rows}")
    if manifest.packing.extents and find_packing(payload, bars) != manifest.packing:
        problems.append("its extents lie elsewhere than its manifest says")
    return bars, [AuditFinding(path, problem) for problem in problems]


def audit_compaction(
    node: NodeId, ref: ArtifactRef, manifest: Manifest, parts: Sequence[pa.Table]
) -> list[AuditFinding]:
    """Whether the bars of the parts together have the fingerprint of the artifact that took their place."""
    content = fingerprint(
        pa.concat_tables(parts),
        node_id=node,
        interval=node.timeframe,
        conformance_version=manifest.conformance_version,
    )
    if content == ref.fingerprint:
        return []
    return [AuditFinding(ref.file_path, f"the artifacts it was compacted from hold the bars of {content}")]


def _out_of_place(node: NodeId, path: str, release: Release) -> str | None:
    if release.node_id != str(node):
        return f"it is a record of {release.node_id}"
    return None if record_path(release.seq) == path else f"it says it is number {release.seq}"


def _unfounded(log: ReleaseLog, release: Release, path: str) -> str | None:
    """Why a record does not follow from the log before it; it joins the log where it does."""
    before = log.snapshot()
    if not set(release.withdrawn) <= set(before.artifacts):
        return "it withdraws an artifact that was not in force"
    try:
        log.extend([release], path)
    except ArtifactCorrupt as error:
        return str(error)
    after = log.snapshot()
    if dataset_fingerprint(after.node_id, after.artifacts) != release.dataset_fingerprint:
        return "its dataset_fingerprint is not that of the artifacts in force after it"
    overlaps = [
        left.partition
        for left, right in zip(after.artifacts, after.artifacts[1:], strict=False)
        if right.start < left.end
    ]
    return f"artifacts in force overlap at {overlaps[0]}" if overlaps else None


def _misplaced(node: NodeId, ref: ArtifactRef, manifest: Manifest, bars: pa.Table) -> list[str]:
    ts = timestamps(bars)
    problem = misplaced(ts, node.timeframe, ref.segment)
    problems = [problem] if problem else []
    absences = sum(node.timeframe.count(gap.start, gap.end) for gap in (*manifest.absent, *manifest.missing))
    expected = node.timeframe.count(ref.start, ref.end)
    if len(ts) + absences != expected:
        problems.append(
            f"{len(ts)} bars and {absences} that are accounted for are not the {expected} of its range"
        )
    elif not np.array_equal(manifest.opens(node.timeframe, ref.segment), ts):
        problems.append("its bars are not those that its manifest leaves in its range")
    return problems
