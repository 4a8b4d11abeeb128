"""Sessions: what a world has seen of a node, so that its `as_of` never goes back.

A live session is bound to a release and moves forward alone; only a pin sets it back, and is reported until
it is lifted. A dry run keeps to the releases at its `as_of` and to those it made itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from seamless_assets.core.reading.context import ComputeContext, Domain, Verdict
from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.sharing.events import SessionEvent, SessionEventKind
from seamless_assets.errors import AsOfRegression, InvalidInput

SessionState = Literal["ACTIVE", "PARTIAL", "HOLD"]
STATES: tuple[SessionState, ...] = get_args(SessionState)
KEPT_VERDICTS = 500
"""Changes of the verdict that a session remembers; the oldest are forgotten."""
_STATE_OF: dict[Verdict, SessionState] = {
    "PASS": "ACTIVE",
    "PARTIAL": "PARTIAL",
    "HOLD": "HOLD",
    "REJECT": "HOLD",
}


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Which session a read belongs to.

    `bound` is what one that is not live is bound to, an `as_of` or the fingerprint of a dataset; else empty.
    """

    world_id: str
    domain: Domain
    node_id: str
    bound: str = ""

    @classmethod
    def of(cls, context: ComputeContext, node_id: str) -> SessionKey:
        """The session of a context and a node."""
        bound = (context.as_of or context.dataset_fingerprint or "") if context.domain != "live" else ""
        return cls(context.world_id, context.domain, node_id, bound)


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A verdict that differs from the one before: when (epoch seconds), why, and on which dataset."""

    at: float
    verdict: Verdict
    reasons: tuple[str, ...]
    as_of: str | None
    dataset_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What is remembered of a session.

    `as_of` and `dataset_fingerprint` are the release it is bound to; `pinned` the `as_of` that it was set
    back to, with its reason, and `pin_changed_at` when that was (epoch seconds) or was lifted; `made` the
    `as_of` of releases that it made itself, oldest first.
    """

    as_of: str | None = None
    dataset_fingerprint: str | None = None
    pinned: str | None = None
    pin_reason: str = ""
    made: tuple[str, ...] = ()
    verdicts: tuple[VerdictChange, ...] = ()
    pin_changed_at: float = 0.0

    @property
    def state(self) -> SessionState:
        """What the last verdict means for whoever trades on it."""
        return _STATE_OF[self.verdicts[-1].verdict] if self.verdicts else "ACTIVE"

    @property
    def rank(self) -> int:
        """How little may be done in this state: 0 for ACTIVE, 2 for HOLD."""
        return STATES.index(self.state)


Change = Callable[[SessionRecord], SessionRecord]


def advance(record: SessionRecord, as_of: str | None, fingerprint: str | None) -> SessionRecord:
    """The session bound to a later release, or to the same; an earlier one leaves it as it is."""
    if as_of is None or record.pinned is not None or (record.as_of is not None and as_of <= record.as_of):
        return record
    return replace(record, as_of=as_of, dataset_fingerprint=fingerprint)


def require_advance(record: SessionRecord, as_of: str) -> None:
    """Raise `AsOfRegression` where `as_of` lies before what the session has seen."""
    if record.as_of is not None and as_of < record.as_of:
        raise AsOfRegression(
            f"as_of {as_of} is before {record.as_of}, which the session has seen; "
            "pin(node, as_of, reason=...) alone sets a session back",
            as_of=as_of,
            bound_as_of=record.as_of,
        )


def require_unpinned(record: SessionRecord, as_of: str) -> None:
    """Raise `InvalidInput` where `as_of` lies after what the session is pinned to, which holds it there."""
    if record.pinned is not None and as_of > record.pinned:
        raise InvalidInput(
            f"as_of {as_of} is after {record.pinned}, which the session is pinned to ({record.pin_reason}); "
            "unpin(node) lets it move forward again",
            as_of=as_of,
            pinned=record.pinned,
        )


def pin(record: SessionRecord, as_of: str, fingerprint: str | None, reason: str, at: float) -> SessionRecord:
    """The session set to `as_of` at an instant (epoch seconds), for as long as the pin stands."""
    return replace(
        record,
        as_of=as_of,
        dataset_fingerprint=fingerprint,
        pinned=as_of,
        pin_reason=reason,
        pin_changed_at=at,
    )


def unpin(record: SessionRecord, at: float) -> SessionRecord:
    """The session free to move forward again, from where the pin set it; the same where none is pinned."""
    if record.pinned is None:
        return record
    return replace(record, pinned=None, pin_reason="", pin_changed_at=at)


def add_made(record: SessionRecord, as_of: str) -> SessionRecord:
    """The session with a release that it made."""
    return record if as_of in record.made else replace(record, made=(*record.made, as_of))


def observe(
    record: SessionRecord, judgement: Judgement, at: float, as_of: str | None, fingerprint: str | None
) -> SessionRecord:
    """The session with a verdict, where that differs from the last one by itself or by a reason's code."""
    last = record.verdicts[-1] if record.verdicts else None
    if last is not None and (last.verdict, _codes(last.reasons)) == (
        judgement.verdict,
        _codes(judgement.reasons),
    ):
        return record
    # What an exchange said may hold half a surrogate pair, which no file takes.
    reasons = tuple(reason.encode(errors="backslashreplace").decode() for reason in judgement.reasons)
    change = VerdictChange(at, judgement.verdict, reasons, as_of, fingerprint)
    return replace(record, verdicts=(*record.verdicts, change)[-KEPT_VERDICTS:])


def session_event(key: SessionKey, before: SessionRecord, after: SessionRecord) -> SessionEvent | None:
    """What is to be told of a changed session: another state, a pin or its end; None where nothing is."""
    if before.pinned != after.pinned or before.pin_changed_at != after.pin_changed_at:
        kind: SessionEventKind = "unpinned" if after.pinned is None else "pinned"
        reasons: tuple[str, ...] = (f"{kind}: {after.pin_reason or before.pin_reason}",)
        at, as_of, fingerprint = after.pin_changed_at, after.as_of, after.dataset_fingerprint
    elif before.state != after.state:
        last = after.verdicts[-1]
        kind = "downgraded" if after.rank > before.rank else "restored"
        at, reasons, as_of, fingerprint = last.at, last.reasons, last.as_of, last.dataset_fingerprint
    else:
        return None
    return SessionEvent(
        kind=kind,
        at=at,
        world_id=key.world_id,
        domain=key.domain,
        node_id=key.node_id,
        before=before.state,
        after=after.state,
        reasons=reasons,
        as_of=as_of,
        dataset_fingerprint=fingerprint,
    )


def _codes(reasons: tuple[str, ...]) -> set[str]:
    return {reason.split(":", 1)[0] for reason in reasons}
