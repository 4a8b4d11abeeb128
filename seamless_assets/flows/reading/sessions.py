"""Sessions in use: binding a read to what its world has seen, and remembering what it saw."""

from __future__ import annotations

from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import refuse_future
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.events import SessionEvent
from seamless_assets.core.worlds.session import (
    SessionKey,
    SessionRecord,
    advance,
    observe,
    pin,
    require_advance,
    unpin,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.released import bind_snapshot


async def bind_live(
    ports: Ports, request: ReadRequest, context: ComputeContext
) -> tuple[SessionRecord, Snapshot]:
    """What the session of a live read has seen, and the snapshot that the read is served from.

    That is the one the caller names or a pin holds; else the session's own, or the newest one, as the
    request says. Nothing need be released yet. Raises `AsOfInFuture`, `SessionStoreError`.
    """
    node = request.node
    session = await ports.sessions.load(SessionKey.of(context, str(node)))
    as_of = context.as_of or session.pinned or (session.as_of if request.keeps_as_of else None)
    newest = (await ports.artifacts.load_snapshot(node)).release
    refuse_future(as_of, ports.clock.now(), newest.as_of if newest else None)
    return session, await ports.artifacts.load_snapshot(node, as_of, context.dataset_fingerprint)


async def remember(ports: Ports, key: SessionKey, judgement: Judgement, snapshot: Snapshot) -> SessionRecord:
    """Note the verdict of a read and the release it served; tell the observer where the state changed."""
    as_of = snapshot.release.as_of if snapshot.release else None
    fingerprint = snapshot.dataset_fingerprint
    now = ports.clock.now()

    def change(record: SessionRecord) -> SessionRecord:
        moved = advance(record, as_of, fingerprint) if key.domain == "live" else record
        return observe(moved, judgement, now, as_of, fingerprint)

    before, after = await ports.sessions.update(key, change)
    if before.state != after.state:
        ports.observer.notify(
            SessionEvent(
                world_id=key.world_id,
                domain=key.domain,
                node_id=key.node_id,
                before=before.state,
                after=after.state,
                reasons=judgement.reasons,
                as_of=as_of,
                dataset_fingerprint=fingerprint,
            )
        )
    return after


async def bind(ports: Ports, node: NodeId, context: ComputeContext, started_at: str) -> SessionRecord:
    """The live session of a node, bound to its last release at or before the instant it was started."""
    key = SessionKey.of(context, str(node))
    snapshot = await ports.artifacts.load_snapshot(node, started_at)
    return await _advance_to(ports, key, snapshot)


async def advance_to_newest(ports: Ports, node: NodeId, context: ComputeContext) -> SessionRecord:
    """The live session of a node, bound to its newest release. Raises `NothingReleased`."""
    key = SessionKey.of(context, str(node))
    return await _advance_to(ports, key, await bind_snapshot(ports, node, ComputeContext()))


async def advance_to(ports: Ports, node: NodeId, context: ComputeContext, as_of: str) -> SessionRecord:
    """The live session of a node, bound to its last release at or before `as_of`.

    Raises `AsOfRegression` where the session has seen a later one, `NothingReleased` and `AsOfInFuture`.
    """
    key = SessionKey.of(context, str(node))
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=as_of))
    release = snapshot.release
    assert release is not None

    def change(record: SessionRecord) -> SessionRecord:
        require_advance(record, release.as_of)
        return advance(record, release.as_of, snapshot.dataset_fingerprint)

    return (await ports.sessions.update(key, change))[1]


async def set_pin(
    ports: Ports, node: NodeId, context: ComputeContext, as_of: str, reason: str
) -> SessionRecord:
    """The session of a node set to its last release at or before `as_of`, until it is unpinned.

    Raises `NothingReleased` and `AsOfInFuture`.
    """
    key = SessionKey.of(context, str(node))
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=as_of))
    assert snapshot.release is not None
    at, fingerprint = snapshot.release.as_of, snapshot.dataset_fingerprint
    return (await ports.sessions.update(key, lambda record: pin(record, at, fingerprint, reason)))[1]


async def lift_pin(ports: Ports, node: NodeId, context: ComputeContext) -> SessionRecord:
    """The session of a node without a pin."""
    return (await ports.sessions.update(SessionKey.of(context, str(node)), unpin))[1]


async def _advance_to(ports: Ports, key: SessionKey, snapshot: Snapshot) -> SessionRecord:
    as_of = snapshot.release.as_of if snapshot.release else None
    moved = await ports.sessions.update(
        key, lambda record: advance(record, as_of, snapshot.dataset_fingerprint)
    )
    return moved[1]
