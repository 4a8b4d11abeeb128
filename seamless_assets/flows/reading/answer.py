"""From what a read gathered to what it serves: the verdict, the frame and the whole metadata."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from seamless_assets.aio.shield import leave_running
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.reading.admission import Admission
from seamless_assets.core.reading.carry import FILLED, carry_previous_close
from seamless_assets.core.reading.context import NEWEST, ComputeContext, Verdict
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ManifestUris, ReadMetadata, ReadResult
from seamless_assets.core.reading.sla import LONGEST_BUDGET_MS, SLAReport
from seamless_assets.core.reading.verdict import Evidence, Judgement, judge
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.events import ReadEvent, UnrecordedVerdict
from seamless_assets.core.worlds.decision import Decision
from seamless_assets.core.worlds.session import SessionKey, SessionRecord
from seamless_assets.errors import CoverageMissing, NothingReleased, ReadRefused, SeamlessSLAExceeded
from seamless_assets.flows.filling.clocks import known_now
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.deadline import Deadline, PhaseCut
from seamless_assets.flows.reading.sessions import is_remembered, remember

NO_SESSION = SessionRecord()
"""Nothing that a world has seen before."""
_CODES: dict[type[ReadRefused], str] = {
    CoverageMissing: "coverage_missing",
    NothingReleased: "nothing_released",
    SeamlessSLAExceeded: "sla_exceeded",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A read that has gathered what it can. `problems` are those of its fills."""

    request: ReadRequest
    admission: Admission
    snapshot: Snapshot
    gathered: Gathered
    problems: tuple[str, ...]
    sla: SLAReport
    session: SessionRecord = NO_SESSION
    decision: Decision | None = None

    @property
    def context(self) -> ComputeContext:
        """The context that the caller named, or that of the newest release."""
        return self.request.context or NEWEST

    @property
    def as_of(self) -> str | None:
        """The release that is served."""
        return self.snapshot.release.as_of if self.snapshot.release else None


async def serve(ports: Ports, answer: Answer, key: SessionKey | None, deadline: Deadline) -> ReadResult:
    """The result of a read, judged; what it saw is remembered of its session.

    Raises `SessionStoreError`, and `PhaseCut` where that cannot be remembered in time by a read that then
    fails fast.
    """
    # Judged and reported as one: what comes between takes time too.
    lag = _lag(ports, answer)
    judgement = _judged(ports, answer, lag)
    if key is not None and not await _noted(ports, key, judgement, answer.snapshot, deadline):
        if answer.request.sla.on_violation == "FAIL_FAST":
            raise PhaseCut("total")
        answer = replace(answer, sla=deadline.report())
        judgement = _judged(ports, answer, lag)
        # It comes later too, behind the first one, so that the last verdict on record is the one served.
        await _noted(ports, key, judgement, answer.snapshot, deadline)
    return _result(ports, answer, judgement, lag)


def serve_at_hand(ports: Ports, answer: Answer, key: SessionKey | None) -> ReadResult | None:
    """The same where the read's session need not be written to; None else, and then nothing was told."""
    lag = _lag(ports, answer)
    judgement = _judged(ports, answer, lag)
    if key is not None and not is_remembered(ports, key, judgement, answer.snapshot):
        return None
    return _result(ports, answer, judgement, lag)


def _result(ports: Ports, answer: Answer, judgement: Judgement, lag: float | None) -> ReadResult:
    """What is served, and told to the observer."""
    bars, columns = _frame(answer)
    node, gathered = answer.request.node, answer.gathered
    _tell(ports, answer, judgement, lag)
    folder = ports.artifacts.file_uri(node, "")
    metadata = ReadMetadata(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        start=gathered.window.start,
        end=gathered.window.end,
        rows=bars.num_rows,
        coverage_bounds=_bounds(bars, node.timeframe),
        coverage_ratio=gathered.coverage.ratio,
        gaps=gathered.coverage.gaps,
        conformance_flags=dict(gathered.flags),
        conformance_version=ports.policy.conformance_version,
        dataset_fingerprint=answer.snapshot.dataset_fingerprint,
        as_of=answer.as_of,
        requested_as_of=answer.context.as_of,
        manifest_uris=ManifestUris(folder, gathered.refs),
        world_id=answer.context.world_id,
        domain=answer.context.domain,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        source=gathered.source,
        staleness_seconds=lag,
        sla=answer.sla.as_record(),
    )
    return ReadResult(bars if answer.request.columns == COLUMNS else bars.select(columns), metadata)


async def refuse(
    ports: Ports,
    request: ReadRequest,
    admission: Admission,
    deadline: Deadline,
    refusal: ReadRefused,
    key: SessionKey | None,
) -> None:
    """Count a read that is refused, and remember it of its session as REJECT.

    Raises `SessionStoreError`, and `StoreError` where it cannot be known what the read was bound to.
    """
    _notify(ports, request, admission, deadline.report(), "REJECT")
    if key is not None:
        bound = _bound_at_hand(ports, request)
        if bound is None:
            # Who ran out of time asks a store for nothing more.
            is_late = isinstance(refusal, SeamlessSLAExceeded)
            bound = _nothing(request) if is_late else await _bound(ports, request, deadline)
        await _noted(ports, key, _refused(refusal), bound, deadline)


def refuse_at_hand(
    ports: Ports,
    request: ReadRequest,
    admission: Admission,
    deadline: Deadline,
    refusal: ReadRefused,
    key: SessionKey | None,
) -> bool:
    """The same where the read's session need not be written to; False else, and then nothing is counted."""
    if key is not None:
        bound = _bound_at_hand(ports, request)
        if bound is None or not is_remembered(ports, key, _refused(refusal), bound):
            return False
    _notify(ports, request, admission, deadline.report(), "REJECT")
    return True


def _refused(refusal: ReadRefused) -> Judgement:
    return Judgement("REJECT", (f"{_CODES[type(refusal)]}: {refusal}",))


async def _bound(ports: Ports, request: ReadRequest, deadline: Deadline) -> Snapshot:
    """The release that a refused read was bound to; none where that takes longer than the read may."""
    context = request.context or NEWEST
    loading = ports.artifacts.load_snapshot(request.node, context.as_of, context.dataset_fingerprint)
    try:
        return await deadline.run("total", loading)
    except PhaseCut:
        return _nothing(request)


def _bound_at_hand(ports: Ports, request: ReadRequest) -> Snapshot | None:
    """The same where it is known at once; a live session knows by itself what it is bound to."""
    context = request.context or NEWEST
    if context.domain == "live":
        return _nothing(request)
    return ports.artifacts.snapshot_at_hand(request.node, context.as_of, context.dataset_fingerprint)


def _nothing(request: ReadRequest) -> Snapshot:
    return Snapshot(str(request.node), None, ())


async def _noted(
    ports: Ports, key: SessionKey, judgement: Judgement, snapshot: Snapshot, deadline: Deadline
) -> bool:
    """Remember a verdict of a session; False where that takes longer than the read may, and comes later."""
    noting = asyncio.ensure_future(remember(ports, key, judgement, snapshot))
    try:
        await deadline.run("total", asyncio.shield(noting))
    except PhaseCut:
        return False
    finally:
        leave_running(noting)
        if not noting.done():
            noting.add_done_callback(partial(_tell_unrecorded, ports, key, judgement))
    return True


def _tell_unrecorded(
    ports: Ports, key: SessionKey, judgement: Judgement, noting: asyncio.Future[SessionRecord]
) -> None:
    """Tell of an error that came when nobody waited for it any more."""
    error = None if noting.cancelled() else noting.exception()
    if error is not None:
        reason = f"{type(error).__name__}: {error}"
        lost = UnrecordedVerdict(key.world_id, key.domain, key.node_id, judgement.verdict, reason)
        ports.observer.notify(lost)


def _tell(ports: Ports, answer: Answer, judgement: Judgement, lag: float | None) -> None:
    _notify(
        ports,
        answer.request,
        answer.admission,
        answer.sla,
        judgement.verdict,
        coverage_ratio=answer.gathered.coverage.ratio,
        rows=answer.gathered.bars.num_rows,
        staleness_seconds=lag,
    )


def _notify(
    ports: Ports,
    request: ReadRequest,
    admission: Admission,
    sla: SLAReport,
    verdict: Verdict,
    coverage_ratio: float | None = None,
    rows: int = 0,
    staleness_seconds: float | None = None,
) -> None:
    deadline = request.sla.total_deadline_ms
    ports.observer.notify(
        ReadEvent(
            node_id=str(request.node),
            world_id=request.context.world_id if request.context and admission.domain else "",
            domain=admission.domain or "",
            verdict=verdict,
            phases=sla.taken_ms,
            violations=sla.violations,
            deadline_ms=deadline if deadline < LONGEST_BUDGET_MS else None,
            coverage_ratio=coverage_ratio,
            rows=rows,
            staleness_seconds=staleness_seconds,
        )
    )


def _frame(answer: Answer) -> tuple[pa.Table, list[str]]:
    """The bars that are served, and their columns."""
    request, bars = answer.request, answer.gathered.bars
    columns = list(request.columns)
    if request.fill is not None:
        bars = carry_previous_close(bars, request.node.timeframe, answer.gathered.window)
        columns.append(FILLED)
    if request.limit is not None:
        bars = bars.slice(max(0, bars.num_rows - request.limit))
    return bars, columns


def _judged(ports: Ports, answer: Answer, lag: float | None) -> Judgement:
    context, sla, settings = answer.context, answer.request.sla, ports.reading
    is_live = answer.admission.domain == "live"
    return judge(
        Evidence(
            domain=answer.admission.domain,
            expected=answer.gathered.coverage.expected,
            absent=answer.gathered.coverage.absent,
            missing=answer.gathered.coverage.missing,
            retention=answer.gathered.coverage.retention,
            declared=answer.gathered.coverage.declared,
            min_coverage=_first(
                context.min_coverage, sla.min_coverage, settings.min_coverage if is_live else 0.0
            ),
            allow_partial=settings.allow_partial or not is_live,
            lag_s=lag,
            max_lag_s=_first(context.max_lag, sla.max_lag, settings.max_lag),
            as_of=answer.as_of,
            dataset_fingerprint=answer.snapshot.dataset_fingerprint,
            bound_as_of=answer.session.as_of,
            bound_fingerprint=answer.session.dataset_fingerprint,
            pinned=answer.session.pinned,
            pin_reason=answer.session.pin_reason,
            decision=answer.decision.mode if answer.decision else "live",
            decision_reason=answer.decision.reason if answer.decision else "",
            violations=answer.sla.violations,
            on_violation=sla.on_violation,
            problems=answer.problems,
            nearest=None if answer.gathered.bars.num_rows else settings.nearest(answer.request.node),
        )
    )


def _lag(ports: Ports, answer: Answer) -> float | None:
    """Seconds since the last gathered bar of a live read closed by the exchange's clock, or None."""
    if answer.admission.domain != "live":
        return None
    bounds = _bounds(answer.gathered.bars, answer.request.node.timeframe)
    return known_now(ports, answer.request.node) - bounds[1] if bounds else None


def _bounds(bars: pa.Table, timeframe: Timeframe) -> tuple[int, int] | None:
    """From the first bar's open to the last one's close; None where there is no bar."""
    ts = bars.column("ts")
    return (ts[0].as_py(), timeframe.shift(ts[-1].as_py(), 1)) if len(ts) else None


def _first(asked: float | None, agreed: float | None, usual: float) -> float:
    """What a call asks for, else what its service level says, else what is usual."""
    return asked if asked is not None else agreed if agreed is not None else usual
