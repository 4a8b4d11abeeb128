"""Ingest: bars that a person has as files become a release, whole or not at all.

Artifacts are sealed first and one record of the release log puts all of them in force, so whoever dies on the
way leaves what nobody reads. What the hot store is told comes after that, and a second run tells it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.bars.conformance.flags import count_warnings
from seamless_assets.core.bars.table import between, changes, new_values, stack, timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.coverage.coverage import DECLARED, Coverage, bars_of
from seamless_assets.core.coverage.ledger import FROM_TRADES, Fact, MadeRange, proven_gaps, recorded_by
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.events import ImportEvent
from seamless_assets.errors import ArtifactDiscarded, ReleasePinned, ReleaseRefused, RevisionsUnconfirmed
from seamless_assets.flows.filling.clocks import dated_now, recorded_now
from seamless_assets.flows.filling.history import coverage_and_facts, ledger
from seamless_assets.flows.filling.trades.provenance import provenance_lacking
from seamless_assets.flows.importing.plan import (
    QUIET,
    ImportPart,
    IngestRequest,
    declared_hole,
    plan_import,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.publish import Imported, Sealed, release, seal_known, total_coverage

PRODUCER = "import"
NAMED = 10
"""Opens of revised bars that a report and an error name."""
FLAT = "a flat bar without volume stood in a file that was imported"
UNSETTLED = "nothing of it is settled yet"


@dataclass(frozen=True, slots=True)
class ImportedPartition:
    """What an import makes of one partition: bars added and revised, coverage of its part, problems.

    `start` and `end` bound that part, which reaches from the bars in force to those of the files.
    """

    key: str
    start: int
    end: int
    added: int
    revised: int
    coverage: Coverage
    problems: tuple[str, ...]
    released: bool = False


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do where `is_dry_run`.

    `rows` and `flags` are of the files, `left_out` rows outside of the window, `unsettled` bars that may
    still change and are not imported. `revised` bars were known by other values, `examples` are the opens
    of the first of them. `released`: all that is settled is in force; `partitions` has those that change.
    `as_of` and `dataset_fingerprint` are of the node's dataset afterwards, None before its first release.
    """

    node_id: str
    start: int
    end: int
    rows: int
    bars: int
    added: int
    revised: int
    unsettled: int
    left_out: int
    examples: tuple[int, ...]
    flags: Mapping[str, int]
    coverage: Coverage
    released: bool
    is_dry_run: bool
    as_of: str | None
    dataset_fingerprint: str | None
    problems: tuple[str, ...]
    partitions: tuple[ImportedPartition, ...]
    release: Release | None = None


async def ingest(ports: Ports, node: NodeId, request: IngestRequest) -> ImportReport:
    """Release the settled bars of files, by one record for all partitions that pass their checks.

    Those that do not are sealed and wait for a release by hand. Raises `RevisionsUnconfirmed` where known
    bars would change and nobody confirmed that, `ReleasePinned` where a rollback or withdrawal holds a range,
    and `StoreError`; nothing is imported then.
    """
    while True:
        now = await dated_now(ports, node)
        before = await ports.artifacts.load_snapshot(node)
        parts = await plan_import(ports, node, request, before, now)
        if request.is_dry_run:
            return _report(node, request, parts, before.release, None)
        _refuse_unconfirmed(node, request, parts)
        try:
            entry = await _release(ports, node, request, parts, before, now)
        except ArtifactDiscarded:
            continue
        except ReleaseRefused as refused:
            newest = await ports.artifacts.load_snapshot(node)
            if isinstance(refused, ReleasePinned) or newest.release == before.release:
                raise
            # Others released meanwhile: what is known is another, and so is what the files change.
            continue
        await _tell_hot_store(ports, node, request, parts, now)
        if not all(part.is_known for part in parts):
            _tell_observer(ports, node, request, parts)
        return _report(node, request, parts, entry or before.release, entry)


def _refuse_unconfirmed(node: NodeId, request: IngestRequest, parts: Sequence[ImportPart]) -> None:
    if not request.confirms and (revised := _revised(parts)):
        raise RevisionsUnconfirmed(
            f"{_differing(node, parts)}; nothing was imported. Confirm that those of the files are right by "
            '--confirm-revisions or revisions="confirm", or leave these bars out',
            node_id=str(node),
            count=revised,
            opens=_examples(parts),
        )


def _differing(node: NodeId, parts: Sequence[ImportPart]) -> str:
    opens = ", ".join(map(seconds_text, _examples(parts)))
    more = ", ..." if _revised(parts) > NAMED else ""
    return f"{node}: {_revised(parts)} bars are known by other values than the files have, {opens}{more}"


def _revised(parts: Sequence[ImportPart]) -> int:
    return sum(part.revisions.num_rows for part in parts)


def _examples(parts: Sequence[ImportPart]) -> tuple[int, ...]:
    revised = stack([part.revisions.select(["ts"]) for part in parts if part.revisions.num_rows])
    return tuple(timestamps(revised)[:NAMED].tolist())


async def _release(
    ports: Ports,
    node: NodeId,
    request: IngestRequest,
    parts: Sequence[ImportPart],
    before: Snapshot,
    now: float,
) -> Release | None:
    """Seal what changes, and put in force what passes; None where nothing does."""
    passed: list[tuple[ImportPart, Sealed]] = []
    for part in parts:
        if not part.is_known:
            sealed = await _seal(ports, node, request, part, before, now)
            passed += [(part, sealed)] if part.checked.passed else []
    if not passed:
        return None
    checks = {
        name if len(passed) == 1 else f"{name} of {part.partition.key}": is_passed
        for part, _ in passed
        for name, is_passed in part.checked.checks.items()
    }
    entry = await release(
        ports,
        node,
        [sealed.ref for _, sealed in passed],
        checks,
        _reason(request),
        in_force=[ref for _, sealed in passed for ref in sealed.in_force],
        kind="import",
    )
    return entry if entry is not None and entry.kind == "import" else None


async def _seal(
    ports: Ports, node: NodeId, request: IngestRequest, part: ImportPart, before: Snapshot, now: float
) -> Sealed:
    revised = part.revisions.num_rows
    return await seal_known(
        ports,
        node,
        part.partition,
        part.window,
        part.bars,
        before,
        now,
        flags={"revised": revised} if revised else {},
        imported=Imported(
            {**ports.policy.producer, "name": PRODUCER},
            _record(request, part),
            part.absent,
            part.declared,
            _brought(node, part),
            _made_of_trades(node, request, part),
        ),
    )


def _made_of_trades(node: NodeId, request: IngestRequest, part: ImportPart) -> list[MadeRange]:
    """Which bars of a part the files' trades make that were not known, or others."""
    if not request.imported.is_of_trades:
        return []
    files = request.imported.sources_of(part.told)
    evidence = "imported trades of " + ", ".join(f"{source.name} {source.sha256}" for source in files)
    return [MadeRange(*bars, evidence) for bars in _brought(node, part)]


def _brought(node: NodeId, part: ImportPart) -> list[Segment]:
    """The bars of a part that were not known, or others."""
    return join_segments([*part.added_in, *bars_of(timestamps(part.revisions), node.timeframe)])


def _reason(request: IngestRequest) -> str:
    names = list(dict.fromkeys(source.name for source, _ in request.imported.extents))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    note = f": {request.note}" if request.note else ""
    return f"imported {', '.join(names[:3])}{more} by {request.by}{note}"


def _record(request: IngestRequest, part: ImportPart) -> dict[str, object]:
    """What a manifest keeps of the import: the files, what they told of, who brought them."""
    return {
        "start": part.told.start,
        "end": part.told.end,
        "added": part.added,
        "revised": part.revisions.num_rows,
        "is_complete": request.is_complete,
        "by": request.by,
        "note": request.note,
        "files": [source.as_record() for source in request.imported.sources_of(part.told)],
    }


async def _tell_hot_store(
    ports: Ports, node: NodeId, request: IngestRequest, parts: Sequence[ImportPart], now: float
) -> None:
    """Keep there what was declared, and the released values of bars that it holds by others."""
    differing, facts = [], []
    for part in parts:
        if part.is_released:
            held = await ports.hot.load_bars(node, part.told)
            _, revisions = changes(held, between(request.imported.bars, *part.told), now)
            differing.append(new_values(revisions))
            facts += await _provenance(ports, node, request, part, revisions, now)
            if request.is_complete or part.quiet:
                facts += await _unrecorded(ports, node, request, part, now)
    bars = stack(differing)
    if bars.num_rows or facts:
        at = max(now, await recorded_now(ports, node))
        await ports.hot.write_bars(node, bars, recorded_by(facts, at), recorded_at=at)


async def _provenance(
    ports: Ports, node: NodeId, request: IngestRequest, part: ImportPart, revised: pa.Table, now: float
) -> list[Fact]:
    """The facts that the ledger lacks of what bars are made of; `revised` are those that were hot by others.

    What an import released that died before it told the ledger is told by the next one.
    """
    made = [
        Fact(*one.segment, FROM_TRADES, one.evidence, now) for one in _made_of_trades(node, request, part)
    ]
    facts = [*await ledger(ports, node, part.told), *made]
    replaced = join_segments([*_brought(node, part), *bars_of(timestamps(revised), node.timeframe)])
    return made + await provenance_lacking(ports, node, part.told, facts, replaced)


async def _unrecorded(
    ports: Ports, node: NodeId, request: IngestRequest, part: ImportPart, now: float
) -> list[Fact]:
    """The facts that the ledger lacks of what the files say is not in a partition."""
    _, proven = await coverage_and_facts(ports, node, part.told)
    known = [gap.segment for gap in proven_gaps(proven)]
    quiet = subtract(part.quiet, known, node.timeframe)
    facts = [Fact(*rest, QUIET, FLAT, now) for rest in quiet]
    if request.is_complete:
        declared = [gap.segment.intersect(part.told) for gap in part.coverage.gaps if gap.reason == DECLARED]
        left = subtract([hole for hole in declared if not hole.is_empty], known, node.timeframe)
        facts += [declared_hole(request, node, hole, now) for hole in left]
    return facts


def _tell_observer(ports: Ports, node: NodeId, request: IngestRequest, parts: Sequence[ImportPart]) -> None:
    imported = request.imported
    ports.observer.notify(
        ImportEvent(
            node_id=str(node),
            interval=node.timeframe.seconds or str(node.timeframe),
            start=imported.window.start,
            end=imported.window.end,
            rows=imported.rows,
            added=sum(part.added for part in parts),
            revised=_revised(parts),
            flags=dict(imported.flags),
            warnings=count_warnings(imported.flags, ports.policy.severities),
            by=request.by,
        )
    )


def _report(
    node: NodeId,
    request: IngestRequest,
    parts: Sequence[ImportPart],
    newest: Release | None,
    entry: Release | None,
) -> ImportReport:
    imported = request.imported
    settled_bars = sum(between(imported.bars, *part.told).num_rows for part in parts)
    problems = [problem for part in parts if not part.is_known for problem in part.checked.problems]
    problems += [] if parts else [UNSETTLED]
    if request.is_dry_run and not request.confirms and _revised(parts):
        problems.append(f"{_differing(node, parts)}: a person has to confirm that")
    return ImportReport(
        node_id=str(node),
        start=imported.window.start,
        end=imported.window.end,
        rows=imported.rows,
        bars=imported.bars.num_rows,
        added=sum(part.added for part in parts),
        revised=_revised(parts),
        unsettled=imported.bars.num_rows - settled_bars,
        left_out=imported.left_out,
        examples=_examples(parts),
        flags=imported.flags,
        coverage=total_coverage([part.coverage for part in parts]),
        released=bool(parts) and all(part.is_released for part in parts) and not request.is_dry_run,
        is_dry_run=request.is_dry_run,
        as_of=newest.as_of if newest else None,
        dataset_fingerprint=newest.dataset_fingerprint if newest else None,
        problems=tuple(problems),
        partitions=tuple(_outcome(part, request) for part in parts if not part.is_known),
        release=entry,
    )


def _outcome(part: ImportPart, request: IngestRequest) -> ImportedPartition:
    return ImportedPartition(
        part.partition.key,
        *part.window,
        added=part.added,
        revised=part.revisions.num_rows,
        coverage=part.coverage,
        problems=part.checked.problems,
        released=part.is_released and not request.is_dry_run,
    )
