"""Sessions in use: binding a read to what its world has seen, and remembering what it saw."""

from __future__ import annotations

from collections.abc import Callable

from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, is_fingerprint
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.session import (
    Change,
    SessionKey,
    SessionRecord,
    advance,
    observe,
    pin,
    require_advance,
    require_unpinned,
    session_event,
    unpin,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.released import bind_snapshot, is_waited_for


def session_of(request: ReadRequest) -> SessionKey | None:
    """Whose verdicts the read's is one of. Backtests that share nothing but a name keep none."""
    context = request.context
    if context is None or (context.domain == "backtest" and not request.keeps_as_of):
        return None
    return SessionKey.of(context, str(request.node))


async def bind_live(
    ports: Ports, request: ReadRequest, context: ComputeContext
) -> tuple[SessionRecord, Snapshot]:
    """What the session of a live read has seen, and the snapshot that the read is served from.

    That is the one the caller names or a pin holds; else the session's own, or the newest one, as the
    request says. Nothing need be released yet. Raises `AsOfInFuture`, `SessionStoreError`.
    """
    node = request.node
    session = await ports.sessions.load(SessionKey.of(context, str(node)))
    as_of = asked_as_of(request, context, session)
    await is_waited_for(ports, node, as_of)
    return session, await ports.artifacts.load_snapshot(node, as_of, context.dataset_fingerprint)


def asked_as_of(request: ReadRequest, context: ComputeContext, session: SessionRecord) -> str | None:
    """The `as_of` that a live read of a session is served at; None for the newest."""
    return context.as_of or session.pinned or (session.as_of if request.keeps_as_of else None)


async def remember(ports: Ports, key: SessionKey, judgement: Judgement, snapshot: Snapshot) -> SessionRecord:
    """Note the verdict of a read and the release it served; tell the observer where the state changed.

    Where there is none, the verdict is on what the session is bound to.
    """
    return await _change(ports, key, _observed(ports, key, judgement, snapshot))


def is_remembered(ports: Ports, key: SessionKey, judgement: Judgement, snapshot: Snapshot) -> bool:
    """Whether it is known without waiting that the session remembers just this of its last read."""
    return ports.sessions.is_unchanged_at_hand(key, _observed(ports, key, judgement, snapshot))


def _observed(ports: Ports, key: SessionKey, judgement: Judgement, snapshot: Snapshot) -> Change:
    """How a verdict changes what is remembered."""
    served = snapshot.release.as_of if snapshot.release else None
    fingerprint, now = snapshot.dataset_fingerprint, ports.clock.now()

    def change(record: SessionRecord) -> SessionRecord:
        moved = advance(record, served, fingerprint) if key.domain == "live" else record
        if served is not None:
            return observe(moved, judgement, now, served, fingerprint)
        return observe(moved, judgement, now, *_bound(key, record))

    return change


def _bound(key: SessionKey, record: SessionRecord) -> tuple[str | None, str | None]:
    """The `as_of` and the dataset that a session is bound to, as far as it knows them itself."""
    if is_fingerprint(key.bound):
        return record.as_of, key.bound
    return record.as_of or key.bound or None, record.dataset_fingerprint


async def bind(ports: Ports, node: NodeId, context: ComputeContext, started_at: str) -> SessionRecord:
    """The live session of a node, bound to its last release at or before the instant it was started."""
    key = SessionKey.of(context, str(node))
    snapshot = await ports.artifacts.load_snapshot(node, started_at)
    return await _advance_to(ports, key, snapshot)


async def advance_to_newest(ports: Ports, node: NodeId, context: ComputeContext) -> SessionRecord:
    """The live session of a node, bound to its newest release. Raises `NothingReleased`."""
    key = SessionKey.of(context, str(node))
    return await _advance_to(ports, key, await bind_snapshot(ports, node, ComputeContext()))


async def bind_to(ports: Ports, node: NodeId, context: ComputeContext, as_of: str) -> SessionRecord:
    """The live session of a node, begun at its last release at or before `as_of`; one that is pinned stays.

    Raises `AsOfRegression` where the session has seen a later one, `NothingReleased` and `AsOfInFuture`.
    """
    return await _move_to(ports, node, context, as_of, require_advance)


async def advance_to(ports: Ports, node: NodeId, context: ComputeContext, as_of: str) -> SessionRecord:
    """The live session of a node, bound to its last release at or before `as_of`.

    Raises `InvalidInput` where a pin holds the session before that, and what `bind_to` raises.
    """

    def require(record: SessionRecord, served: str) -> None:
        require_advance(record, served)
        require_unpinned(record, served)

    return await _move_to(ports, node, context, as_of, require)


async def _move_to(
    ports: Ports,
    node: NodeId,
    context: ComputeContext,
    as_of: str,
    require: Callable[[SessionRecord, str], None],
) -> SessionRecord:
    """The session moved to its last release at or before `as_of`, where `require` lets it."""
    key = SessionKey.of(context, str(node))
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=as_of))
    release = snapshot.release
    assert release is not None

    def change(record: SessionRecord) -> SessionRecord:
        require(record, release.as_of)
        return advance(record, release.as_of, snapshot.dataset_fingerprint)

    return await _change(ports, key, change)


async def set_pin(
    ports: Ports, node: NodeId, context: ComputeContext, as_of: str, reason: str
) -> SessionRecord:
    """The session of a node set to its last release at or before `as_of`, until it is unpinned.

    Raises `NothingReleased` and `AsOfInFuture`.
    """
    key = SessionKey.of(context, str(node))
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=as_of))
    assert snapshot.release is not None
    bound, fingerprint, now = snapshot.release.as_of, snapshot.dataset_fingerprint, ports.clock.now()
    return await _change(ports, key, lambda record: pin(record, bound, fingerprint, reason, now))


async def lift_pin(ports: Ports, node: NodeId, context: ComputeContext) -> SessionRecord:
    """The session of a node without a pin."""
    now = ports.clock.now()
    return await _change(ports, SessionKey.of(context, str(node)), lambda record: unpin(record, now))


async def _advance_to(ports: Ports, key: SessionKey, snapshot: Snapshot) -> SessionRecord:
    as_of = snapshot.release.as_of if snapshot.release else None
    return await _change(ports, key, lambda record: advance(record, as_of, snapshot.dataset_fingerprint))


async def _change(ports: Ports, key: SessionKey, change: Change) -> SessionRecord:
    """The session after a change, of which the observer is told where others should hear of it."""
    before, after = await ports.sessions.update(key, change)
    event = session_event(key, before, after)
    if event is not None:
        ports.observer.notify(event)
    return after
