"""What the service tells beyond the values of the other rooms."""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.core.worlds.session import SessionKey, SessionRecord, SessionState, VerdictChange


@dataclass(frozen=True, slots=True)
class NodeView:
    """A declared node: what is released of it up to when, and how long ago its last released bar closed.

    Times are epoch seconds; without a release the fields from `seq` on are None.
    """

    node_id: str
    interval: int | str
    start: int
    seq: int | None = None
    as_of: str | None = None
    kind: str | None = None
    dataset_fingerprint: str | None = None
    artifacts: int = 0
    released_start: int | None = None
    released_end: int | None = None
    lag_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NodeList:
    """All declared nodes, as of `now` (epoch seconds)."""

    now: float
    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """A window in equal cells: of each the share of time whose bars are missing, proven absent, and unproven.

    What is out of the exchange's retention, or declared absent, is unproven.
    """

    node_id: str
    start: int
    end: int
    missing: tuple[float, ...]
    absent: tuple[float, ...]
    unproven: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionView:
    """What is remembered of the session of a world, a domain and a node."""

    world_id: str
    domain: str
    node_id: str
    bound: str
    state: SessionState
    as_of: str | None
    dataset_fingerprint: str | None
    pinned: str | None
    pin_reason: str
    verdicts: tuple[VerdictChange, ...]

    @classmethod
    def of(cls, key: SessionKey, record: SessionRecord) -> SessionView:
        """The view of a record under its key."""
        return cls(
            world_id=key.world_id,
            domain=key.domain,
            node_id=key.node_id,
            bound=key.bound,
            state=record.state,
            as_of=record.as_of,
            dataset_fingerprint=record.dataset_fingerprint,
            pinned=record.pinned,
            pin_reason=record.pin_reason,
            verdicts=record.verdicts,
        )


@dataclass(frozen=True, slots=True)
class FillView:
    """A chunk that somebody fills now: its lease, and how long that still holds."""

    node_id: str
    start: int
    end: int
    holder: str
    token: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The rate budget of an exchange: `tokens` free of `capacity`; None where nobody asked for one yet."""

    exchange: str
    key: str
    tokens: float | None
    capacity: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Operations:
    """What goes on at `now` (epoch seconds): fills, leases that are none, how many end well, and budgets."""

    now: float
    fills: tuple[FillView, ...]
    leases: tuple[str, ...]
    completion_ratio: float
    budgets: tuple[BudgetView, ...]


@dataclass(frozen=True, slots=True)
class DialectUse:
    """What one bearer asks in an exchange's dialect, in its words; `world` is what its path begins with.

    `last_at` in epoch seconds.
    """

    caller: str
    exchange: str
    world: str
    asked: str
    requests: int
    refused: int
    last_at: float


@dataclass(frozen=True, slots=True)
class DialectCost:
    """Requests in an exchange's dialect that were answered live, and those that the exchange had."""

    exchange: str
    answered: int
    upstream: int


@dataclass(frozen=True, slots=True)
class DialectUses:
    """Who asks for what, most first, and what it costs the exchanges, as of `now` (epoch seconds)."""

    now: float
    uses: tuple[DialectUse, ...]
    costs: tuple[DialectCost, ...]
