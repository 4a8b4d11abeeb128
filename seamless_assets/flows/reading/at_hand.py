"""Reads of which everything is in memory already, served at once by whoever calls.

The same read as `flows/reading/read.py` makes, where that would wait for nothing: what differs is that no
store, exchange or service is asked and no task begun. Whatever it cannot do so is left to that one, untold.
"""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.reading.admission import admit, seconds_open
from seamless_assets.core.reading.context import NEWEST
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.session import SessionKey, SessionRecord
from seamless_assets.errors import CoverageMissing
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.answer import NO_SESSION, Answer, refuse_at_hand, serve_at_hand
from seamless_assets.flows.reading.blended import earliest, live_window
from seamless_assets.flows.reading.deadline import Deadline, Timer
from seamless_assets.flows.reading.gather import cache_key
from seamless_assets.flows.reading.released import reach, refuse_uncovered
from seamless_assets.flows.reading.sessions import asked_as_of, session_of


@dataclass(frozen=True, slots=True)
class Found:
    """What is in memory for a read, all of it."""

    gathered: Gathered
    snapshot: Snapshot
    session: SessionRecord = NO_SESSION


def read_at_hand(ports: Ports, request: ReadRequest, timer: Timer = monotonic) -> ReadResult | None:
    """Serve one read with its verdict; None where anything must be asked, written or waited for.

    `timer` is the loop's clock unless told. Raises as `read` does.
    """
    admission = admit(request.context, request.strategy, ports.reading)
    is_decided = admission.blends and ports.decisions is not None
    if ports.tracer is not None or admission.asks_exchange or admission.publishes or is_decided:
        return None
    deadline, key = Deadline(request.sla, timer), session_of(request)
    find = _live if admission.blends else _released
    try:
        found = deadline.call("storage_wait", lambda: find(ports, request))
    except CoverageMissing as refusal:
        if refuse_at_hand(ports, request, admission, deadline, refusal, key):
            raise
        return None
    report = deadline.report()
    if found is None or report.violations:
        return None
    answer = Answer(request, admission, found.snapshot, found.gathered, (), report, found.session)
    return serve_at_hand(ports, answer, key)


def _released(ports: Ports, request: ReadRequest) -> Found | None:
    context, node = request.context or NEWEST, request.node
    snapshot = ports.artifacts.snapshot_at_hand(node, context.as_of, context.dataset_fingerprint)
    if snapshot is None or snapshot.release is None or not snapshot.artifacts:
        return None
    if context.as_of != snapshot.release.as_of and _is_open(ports, request, context.as_of):
        return None
    window = request.window(*reach(snapshot))
    refuse_uncovered(ports, node, window, snapshot)
    gathered = ports.frames.load(cache_key(ports, node, window, snapshot, request.context))
    if gathered is None:
        return None
    is_short = request.limit is not None and request.start is None and gathered.bars.num_rows < request.limit
    return None if is_short else Found(gathered, snapshot)


def _live(ports: Ports, request: ReadRequest) -> Found | None:
    context, node = request.context or NEWEST, request.node
    session = ports.sessions.load_at_hand(SessionKey.of(context, str(node)))
    if session is None:
        return None
    as_of = asked_as_of(request, context, session)
    snapshot = ports.artifacts.snapshot_at_hand(node, as_of, context.dataset_fingerprint)
    if snapshot is None or _is_open(ports, request, as_of):
        return None
    window = live_window(ports, request)
    gathered = ports.frames.load(cache_key(ports, node, window, snapshot, context))
    # What releases lack may be hot.
    if gathered is None or gathered.coverage.missing:
        return None
    first = earliest(ports, node, snapshot, window.start)
    is_short = request.last_window(window, gathered.coverage, first) != window
    return None if is_short else Found(gathered, snapshot, session)


def _is_open(ports: Ports, request: ReadRequest, as_of: str | None) -> bool:
    """Whether a release could still come at or before `as_of`, as far as that is known at once."""
    if as_of is None:
        return False
    newest = ports.artifacts.snapshot_at_hand(request.node)
    if newest is None or newest.release is None:
        return True
    return seconds_open(as_of, ports.clock.now(), newest.release.as_of) > 0
