"""A read: admitted before anything is asked, gathered within its deadline, judged before it is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import Admission, admit
from seamless_assets.core.reading.context import NEWEST, ComputeContext
from seamless_assets.core.reading.gathered import nothing_gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import UNBOUNDED
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.decision import DRY_MODES, Decision, unavailable
from seamless_assets.core.worlds.session import SessionKey
from seamless_assets.errors import CoverageMissing, NothingReleased, SeamlessSLAExceeded
from seamless_assets.flows.ports import Facts, Ports, WorldDecisions
from seamless_assets.flows.reading.answer import Answer, refuse, serve
from seamless_assets.flows.reading.blended import live_window, read_blended
from seamless_assets.flows.reading.deadline import Deadline, PhaseCut
from seamless_assets.flows.reading.published import load_published
from seamless_assets.flows.reading.released import load_released
from seamless_assets.flows.reading.sessions import bind_live, session_of
from seamless_assets.flows.sharing.tracing import traced

Columns = Sequence[str] | str | None


def _facts(request: ReadRequest) -> Facts:
    context = request.context
    asked = {"node_id": str(request.node), "start": request.start, "end": request.end, "limit": request.limit}
    if context is not None:
        asked |= {"world_id": context.world_id, "domain": context.domain, "as_of": context.as_of}
    return {name: value for name, value in asked.items() if value is not None}


@traced("seamless.read", _facts)
async def read(ports: Ports, request: ReadRequest) -> ReadResult:
    """Serve one read with its verdict.

    Raises `AsOfRequired`, `AsOfInFuture`, `NothingReleased`, `CoverageMissing`, `StoreError`, and
    `SeamlessSLAExceeded` where a phase was cut and nothing else may be served.
    """
    admission = admit(request.context, request.strategy, ports.reading)
    deadline = Deadline(request.sla)
    # Whatever a service decides, the verdict is that of the session which asked.
    key = session_of(request)
    decision: Decision | None = None
    if request.context is not None and request.context.domain == "live" and ports.decisions is not None:
        request, decision = await _decided(ports, ports.decisions, request.context, request, deadline)
        admission = admit(request.context, request.strategy, ports.reading)
    if admission.asks_exchange:
        ports.fills.look_after_others(ports)
    gather = _live if admission.blends else _published if admission.publishes else _released
    try:
        answer = await gather(ports, request, admission, deadline)
        if answer.sla.violations and request.sla.on_violation == "FAIL_FAST":
            raise _exceeded(request, deadline)
    except (SeamlessSLAExceeded, CoverageMissing, NothingReleased) as refusal:
        await refuse(ports, request, admission, deadline, refusal, key)
        raise
    if decision is not None:
        answer = replace(answer, decision=decision)
    try:
        return await serve(ports, answer, key, deadline)
    except PhaseCut:
        # What was judged may be on its way to the session's record; the refusal comes after it.
        refused = _exceeded(request, deadline)
        await refuse(ports, request, admission, deadline, refused, key)
        raise refused from None


async def read_released(
    ports: Ports, node: NodeId, window: Segment, context: ComputeContext = NEWEST, *, columns: Columns = None
) -> ReadResult:
    """The whole bars of `window` from releases at the context's `as_of`, by default the newest.

    Nothing else is touched, whatever the context's domain. Raises as `read` does.
    """
    is_bound = context.as_of is not None or context.dataset_fingerprint is not None
    bound = replace(context, domain="backtest") if is_bound else None
    request = ReadRequest.parse(node, *window, context=bound, columns=columns, default_sla=UNBOUNDED)
    return await read(ports, request)


async def _decided(
    ports: Ports,
    decisions: WorldDecisions,
    context: ComputeContext,
    request: ReadRequest,
    deadline: Deadline,
) -> tuple[ReadRequest, Decision]:
    """What the world service decides of a live read, and the request as it is served then."""
    bound = context.as_of
    try:
        if bound is None:
            key = SessionKey.of(context, str(request.node))
            bound = (await deadline.run("storage_wait", ports.sessions.load(key))).as_of
        decision = await deadline.run("live_wait", decisions.in_force(context.world_id, bound))
    except PhaseCut:
        decision = unavailable("it took longer than the read may wait for it")
    if decision.mode not in DRY_MODES:
        return request, decision
    now = instant_text(int(ports.clock.now() * 1_000_000))
    # Released bars do not age.
    dry = replace(context, domain="dryrun", as_of=decision.as_of or bound or now, max_lag=None)
    return replace(request, context=dry, keeps_as_of=False), decision


async def _released(ports: Ports, request: ReadRequest, admission: Admission, deadline: Deadline) -> Answer:
    try:
        gathered, snapshot = await deadline.run("storage_wait", load_released(ports, request))
    except PhaseCut:
        raise _exceeded(request, deadline) from None
    return Answer(request, admission, snapshot, gathered, (), deadline.report())


async def _published(ports: Ports, request: ReadRequest, admission: Admission, deadline: Deadline) -> Answer:
    try:
        gathered, snapshot, problems = await load_published(ports, request, admission, deadline)
    except PhaseCut:
        raise _exceeded(request, deadline) from None
    return Answer(request, admission, snapshot, gathered, problems, deadline.report())


async def _live(ports: Ports, request: ReadRequest, admission: Admission, deadline: Deadline) -> Answer:
    node, context = request.node, request.context or NEWEST
    window = live_window(ports, request)
    try:
        session, snapshot = await deadline.run("storage_wait", bind_live(ports, request, context))
    except PhaseCut:
        nothing = nothing_gathered(node, window)
        return Answer(request, admission, Snapshot(str(node), None, ()), nothing, (), deadline.report())
    gathered, problems = await read_blended(ports, request, admission, window, snapshot, deadline)
    return Answer(request, admission, snapshot, gathered, problems, deadline.report(), session)


def _exceeded(request: ReadRequest, deadline: Deadline) -> SeamlessSLAExceeded:
    report, phase = deadline.report(), deadline.first_cut
    budget_ms, taken_ms = request.sla.budget_ms(phase), report.taken_ms[phase]
    given = f"{phase} was given {budget_ms:g} ms and was cut after {taken_ms:.0f} ms"
    if phase != "total" and "total" in report.violations and taken_ms < budget_ms:
        given += f", as total_deadline_ms of {request.sla.total_deadline_ms:g} were over"
    return SeamlessSLAExceeded(
        f"{request.node}: {given}; read again, ask for less, or raise the budget in sla",
        node_id=str(request.node),
        phase=phase,
        budget_ms=budget_ms,
        taken_ms=taken_ms,
        violations=report.violations,
    )
