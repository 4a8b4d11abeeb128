"""Verify: every hash of a node, from its release log down to the bars, against what is stored now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest, artifact_number
from seamless_assets.core.releases.audit import (
    AuditFinding,
    audit_compaction,
    audit_file,
    audit_log,
    audit_manifest,
)
from seamless_assets.core.releases.log import Head
from seamless_assets.core.releases.release import Release, record_number, record_path
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import dated_ahead

AT_ONCE = 16
"""Files read side by side."""
NOT_THERE = "it is not there; it was removed or never written"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the URI of the file, and what is wrong with it."""

    uri: str
    problem: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at, and every fault. `file_bytes` counts the Parquet files.

    `warnings` say what is as it was written and still hinders readers, such as a release that is dated ahead.
    `orphans` are the URIs of files that are neither records nor artifacts by their names: nothing reads or
    removes them, and they are no faults.
    """

    node_id: str
    releases: int
    artifacts: int
    file_bytes: int
    faults: tuple[Fault, ...]
    orphans: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every byte is what the release log promises."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class _Examined:
    """What was found of one artifact; bars only where they are what the log promises."""

    manifest: Manifest | None
    bars: pa.Table | None
    size: int
    findings: tuple[AuditFinding, ...]


async def verify(
    ports: Ports, node: NodeId, on_progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Prove every record, manifest and file that the log ever named; nothing is taken from a cache.

    A log that ends before the last record that this machine has seen of it is a fault too, and so is a place
    where no record can be written. `on_progress` hears how many artifacts are proven, of how many. Raises
    `ArtifactStoreError` where the store cannot be asked; what is wrong is in `faults`.
    """
    stored, blocked, releases, findings = await _whole_log(ports, node)
    if not findings and not blocked:
        # So it is read as readers do, and its end is remembered.
        await ports.artifacts.list_releases(node)
    ahead = dated_ahead(ports, node, max(releases, key=lambda entry: entry.seq, default=None))
    refs = list(dict.fromkeys(ref for entry in releases for ref in entry.added))
    done = 0

    async def examine(ref: ArtifactRef) -> tuple[int, tuple[AuditFinding, ...]]:
        nonlocal done
        item = await _examine_again(ports, node, ref)
        done += 1
        if on_progress is not None:
            on_progress(done, len(refs))
        return item.size, item.findings

    examined = await map_bounded(examine, refs, AT_ONCE)
    size = sum(size for size, _ in examined)
    findings += [finding for _, found in examined for finding in found]
    merged = [(ref, entry) for entry in releases if entry.kind == "compaction" for ref in entry.added]
    for ref, entry in merged:
        findings += await _compaction(ports, node, ref, entry)
    return VerifyReport(
        node_id=str(node),
        releases=len(releases),
        artifacts=len(refs),
        file_bytes=size,
        faults=(
            *blocked,
            *(Fault(ports.artifacts.file_uri(node, finding.path), finding.problem) for finding in findings),
        ),
        orphans=tuple(
            ports.artifacts.file_uri(node, path)
            for path in sorted(stored)
            if record_number(path) is None and artifact_number(path) is None
        ),
        warnings=(ahead,) if ahead else (),
    )


async def _whole_log(
    ports: Ports, node: NodeId
) -> tuple[list[str], list[Fault], list[Release], list[AuditFinding]]:
    """What lies in the node's folder, what stands in the way of that, the log, and what is wrong with it.

    Where it does not seem to go as far as it should, a writer may have been quicker: the folder is listed
    again, until that shows no record more.
    """
    known = -1
    while True:
        stored, blocked = await _stored(ports, node)
        releases, findings = await _log(ports, node, stored)
        cut = await _end_of_log(ports, node, releases)
        if not cut or len(releases) == known:
            return stored, blocked, releases, findings + cut
        known = len(releases)


async def _stored(ports: Ports, node: NodeId) -> tuple[list[str], list[Fault]]:
    """Paths of what lies in the node's folder, or what stands in the way of a look."""
    try:
        files = await ports.artifacts.list_files(node)
    except ArtifactCorrupt as error:
        return [], [Fault(str(error.facts.get("uri", "")), str(error))]
    return [file.path for file in files if not file.is_leftover], []


async def _log(ports: Ports, node: NodeId, stored: Iterable[str]) -> tuple[list[Release], list[AuditFinding]]:
    """The readable records of the log among the `stored` files, and what is wrong with any."""
    numbers = [number for path in stored if (number := record_number(path)) is not None]

    async def audited() -> tuple[list[Release], list[AuditFinding]]:
        read = await map_bounded(lambda n: _read(ports, node, record_path(n)), numbers, AT_ONCE)
        held = {
            number: payload for number, (payload, _) in zip(numbers, read, strict=True) if payload is not None
        }
        releases, findings = audit_log(node, held)
        return releases, [*(finding for _, lost in read for finding in lost), *findings]

    releases, findings = await audited()
    # Bytes can be damaged on their way: what is read twice alike is true.
    return await audited() if findings else (releases, findings)


async def _end_of_log(ports: Ports, node: NodeId, releases: Sequence[Release]) -> list[AuditFinding]:
    """Whether the log goes as far as it was ever seen, and the next record has a place."""
    findings = []
    seen = await ports.artifacts.last_seen(node)
    if seen is not None and not any(Head(entry.seq, entry.hash) == seen for entry in releases):
        findings.append(
            AuditFinding(
                record_path(seen.seq),
                f"this machine has seen record {seen.seq} with the hash {seen.hash}, and it is not there; "
                "restore the log, or if it was begun anew on purpose, remove state_dir/heads",
            )
        )
    following = record_path(max((entry.seq for entry in releases), default=0) + 1)
    payload, lost = await _read(ports, node, following)
    if payload is not None:
        findings.append(AuditFinding(following, "it is there, and the listing of the log does not show it"))
    return findings + [finding for finding in lost if finding.problem != NOT_THERE]


async def _examine_again(ports: Ports, node: NodeId, ref: ArtifactRef) -> _Examined:
    item = await _examine(ports, node, ref)
    return await _examine(ports, node, ref) if item.findings else item


async def _examine(ports: Ports, node: NodeId, ref: ArtifactRef) -> _Examined:
    stored, lost = await _read(ports, node, ref.manifest_path)
    payload, lost_file = await _read(ports, node, ref.file_path)
    findings = [*lost, *lost_file]
    manifest = bars = None
    if stored is not None:
        manifest, found = audit_manifest(node, ref, stored)
        findings += found
    if payload is not None:
        bars, found = audit_file(node, ref, manifest, payload)
        findings += found
    return _Examined(manifest, bars, len(payload or b""), tuple(findings))


async def _compaction(ports: Ports, node: NodeId, ref: ArtifactRef, entry: Release) -> list[AuditFinding]:
    """Whether a merged artifact holds the bars of its parts; flaws of either are reported already."""
    parts = [part for part in entry.withdrawn if ref.start <= part.start and part.end <= ref.end]
    whole, *pieces = [await _examine(ports, node, one) for one in (ref, *parts)]
    tables = [piece.bars for piece in pieces if piece.bars is not None]
    if whole.manifest is None or len(tables) < len(parts):
        return []
    return audit_compaction(node, ref, whole.manifest, tables)


async def _read(ports: Ports, node: NodeId, path: str) -> tuple[bytes | None, list[AuditFinding]]:
    try:
        return await ports.artifacts.read_file(node, path), []
    except ArtifactMissing:
        return None, [AuditFinding(path, NOT_THERE)]
    except ArtifactCorrupt as error:
        return None, [AuditFinding(path, str(error))]
