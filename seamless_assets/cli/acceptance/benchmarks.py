"""The benchmarks: each asks a pipeline of the settings, opened anew, what users of it rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from seamless_assets.cli.acceptance.outcome import LEAST_COVERAGE, Outcome, name_of, outcome
from seamless_assets.config.load import Settings
from seamless_assets.core.bars.table import between
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import VIOLATIONS
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.errors import AsOfRegression, NothingReleased, SeamlessSLAExceeded
from seamless_assets.pipeline.connect import Seamless, connect
from seamless_assets.pipeline.wiring.metrics import metrics_file, scrape

WORLD = "seamless-accept"
"""The world that the benchmarks read as; its sessions stay, as those of any world do."""
CADENCES = ("1m", "5m")
MAX_DAYS = 7
MAX_RELEASES = MAX_ARTIFACTS = 5
PATIENT = {
    "max_wait_storage_ms": 60_000,
    "max_wait_backfill_ms": 60_000,
    "max_wait_live_ms": 60_000,
    "total_deadline_ms": 120_000,
}
CUT = {**PATIENT, "max_wait_storage_ms": 0.001}
"""No store answers that fast."""
NO_LAG = 1e12
Benchmark = Callable[[Settings, NodeId], Outcome]


def reruns_are_identical(settings: Settings, node: NodeId) -> Outcome:
    """The same session again, in a new process as far as it can tell: the same bytes and metadata."""
    with connect(settings) as s:
        newest = _newest(s, node)
        as_of, window = newest.as_of, s.released_window(node)
    first, second = (_run(settings, node, as_of, (window.start, window.end)) for _ in range(2))
    faults = [f"the {part} differ" for part in first if first[part] != second[part]]
    rows = first["metadata"].rows
    return outcome(reruns_are_identical, str(node), f"{rows} bars as of {as_of}", faults)


def _run(settings: Settings, node: NodeId, as_of: str, window: tuple[int, int]) -> Mapping[str, Any]:
    """What a session serves, and the manifests of what it is served from; times taken do not count."""
    with connect(settings) as s, s.session(WORLD, "backtest", as_of=as_of) as world:
        result = world.read(node, *window)
        artifacts = s.snapshot(node, as_of).artifacts
        return {
            "bars": _bytes_of(result.to_arrow()),
            "metadata": result.metadata,
            "artifacts": artifacts,
            "manifests": [s.manifest(node, ref).to_json() for ref in artifacts[-MAX_ARTIFACTS:]],
        }


def as_of_never_regresses(settings: Settings, node: NodeId) -> Outcome:
    """A live session goes forward alone, also where it is opened again, and holds what would set it back."""
    faults = []
    with connect(settings) as s:
        log = s.releases(node)
        world = s.session(WORLD, "live", max_lag=NO_LAG, min_coverage=0.0, sla=PATIENT)
        bound, moved = world.as_of(node), world.advance(node)
        if bound is not None and moved is not None and moved < bound:
            faults.append(f"advance went from {bound} to {moved}")
        earlier = [release.as_of for release in log if moved is not None and release.as_of < moved]
        if earlier:
            faults += _going_back(s, node, earlier[-1])
    with connect(settings) as s:
        again = s.session(WORLD, "live", max_lag=NO_LAG).as_of(node)
        if again is None or moved is None or again < moved:
            faults.append(f"opened again it went from {moved} to {again}")
    tried = "the way back refused" if earlier else "the way back not tried, there is one release"
    return outcome(as_of_never_regresses, str(node), f"{bound} to {again}, {tried}", faults)


def _going_back(s: Seamless, node: NodeId, as_of: str) -> list[str]:
    faults = []
    try:
        s.session(WORLD, "live", max_lag=NO_LAG).advance(node, as_of)
        faults.append(f"advance to {as_of} was not refused")
    except AsOfRegression:
        pass
    context = ComputeContext(WORLD, "live", as_of, max_lag=NO_LAG, min_coverage=0.0)
    verdict = s.read(node, limit=1, context=context, strategy="FAIL_FAST", sla=PATIENT).metadata.verdict
    if verdict != "HOLD":
        faults.append(f"a live read as of {as_of} was judged {verdict}")
    return faults


def coverage_is_kept(settings: Settings, node: NodeId) -> Outcome:
    """Of the last released days at most a fiftieth of the bars is missing, for 1m and 5m."""
    if str(node.timeframe) not in CADENCES:
        return Outcome(
            name_of(coverage_is_kept), str(node), "not tried", "", f"for {' and '.join(CADENCES)} alone"
        )
    with connect(settings) as s:
        window = s.released_window(node)
        start = max(window.start, window.end - MAX_DAYS * 86_400)
        found = s.read(node, start, window.end).metadata
    faults = [f"{found.coverage_ratio:.4f} of the bars"] if found.coverage_ratio < LEAST_COVERAGE else []
    days = (window.end - start) / 86_400
    return outcome(coverage_is_kept, str(node), f"{found.coverage_ratio:.4f} of {days:.1f} days", faults)


def violations_are_counted(settings: Settings, node: NodeId) -> Outcome:
    """A budget that cannot be kept is cut, reported, counted, and leads to what its policy says."""
    before = _counted(settings)
    with connect(settings) as s:
        window = s.released_window(node)
        faults_by_policy = {
            policy: _violating(s, node, (window.start, window.end), policy) for policy in VIOLATIONS
        }
    faults = [f"{policy}: {fault}" for policy, fault in faults_by_policy.items() if fault]
    counted = _counted(settings) - before
    if counted < len(VIOLATIONS):
        faults.append(f"{len(VIOLATIONS)} cuts were counted as {counted:g}")
    return outcome(violations_are_counted, str(node), f"{counted:g} counted", faults)


def _violating(s: Seamless, node: NodeId, window: tuple[int, int], policy: str) -> str:
    """What is wrong with a read whose store is given no time; empty where nothing is."""
    context = ComputeContext(WORLD, "live", max_lag=NO_LAG, min_coverage=0.0)
    sla = {**CUT, "on_violation": policy}
    try:
        metadata = s.read(node, *window, context=context, strategy="FAIL_FAST", sla=sla).metadata
    except SeamlessSLAExceeded as error:
        is_named = policy == "FAIL_FAST" and error.phase == "storage_wait"
        return "" if is_named else f"it raised and named {error.phase}"
    if policy == "FAIL_FAST":
        return f"it was served, with {metadata.verdict}"
    if metadata.verdict not in ("HOLD", "PARTIAL"):
        return f"it was judged {metadata.verdict}"
    return (
        "" if any(reason.startswith("sla_exceeded") for reason in metadata.reasons) else "no reason names it"
    )


def fingerprints_select(settings: Settings, node: NodeId) -> Outcome:
    """A dataset is read by its fingerprint, whatever was released since, and holds what that promises."""
    faults, bars = [], 0
    with connect(settings) as s:
        _newest(s, node)
        releases = {release.dataset_fingerprint: release.as_of for release in s.releases(node)}
    for promised in list(releases)[-MAX_RELEASES:]:
        with connect(settings) as s:
            snapshot = s.snapshot(node, dataset_fingerprint=promised)
            for ref in snapshot.artifacts[-1:]:
                result = _selected(s, node, ref, promised)
                bars += result.metadata.rows
                if result.metadata.dataset_fingerprint != promised:
                    faults.append(f"{promised} gave {result.metadata.dataset_fingerprint}")
                if (found := _fingerprint(node, ref, result)) != ref.fingerprint:
                    faults.append(f"the bars of {ref.partition} are {found}, sealed as {ref.fingerprint}")
    measured = f"{min(len(releases), MAX_RELEASES)} datasets, {bars} bars"
    return outcome(fingerprints_select, str(node), measured, faults)


def _selected(s: Seamless, node: NodeId, ref: ArtifactRef, promised: str) -> ReadResult:
    context = ComputeContext(WORLD, "backtest", dataset_fingerprint=promised)
    return s.read(node, ref.start, ref.end, context=context)


def _fingerprint(node: NodeId, ref: ArtifactRef, result: ReadResult) -> str:
    return fingerprint(
        between(result.bars, ref.start, ref.end),
        node_id=str(node),
        interval=node.timeframe,
        conformance_version=result.metadata.conformance_version,
    )


BENCHMARKS: tuple[Benchmark, ...] = (
    reruns_are_identical,
    as_of_never_regresses,
    coverage_is_kept,
    violations_are_counted,
    fingerprints_select,
)


def _newest(s: Seamless, node: NodeId) -> Any:
    log = s.releases(node)
    if not log:
        raise NothingReleased(f"{node} has no release; materialize it first", node_id=str(node), as_of=None)
    return log[-1]


def _bytes_of(bars: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, bars.schema) as stream:
        stream.write_table(bars.combine_chunks())
    return bytes(sink.getvalue().to_pybytes())


def _counted(settings: Settings) -> float:
    """SLA violations that the processes of this machine have counted so far."""
    file: Path = metrics_file(settings)
    if not file.exists():
        return 0.0
    lines = asyncio.run(scrape(file)).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("seamless_sla_violations"))
