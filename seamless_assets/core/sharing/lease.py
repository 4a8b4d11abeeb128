"""Leases: who fills what, and the fencing token that a later holder outranks an earlier one by."""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import StaleToken

MAX_TOKEN = 2**53 - 1
"""No granter's clock comes near it (the year 2255), and every granter counts exactly up to it."""
LONGEST_REASON = 1_000
"""Characters of a reason that a lease store is given."""
PROBES = "probe:"
"""Keys that begin so are claimed and given back by who looks at a lease store; they count as no work."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed key. `token` only grows from holder to holder; `until` is in epoch seconds of the granter."""

    key: str
    token: int
    holder: str
    until: float


@dataclass(frozen=True, slots=True)
class LeaseTally:
    """How many leases were completed, failed (given back undone, or run out) and are held."""

    completed: int
    failed: int
    held: int

    @property
    def completion_ratio(self) -> float:
        """Completed of all ever claimed; 1 where none was."""
        scheduled = self.completed + self.failed + self.held
        return self.completed / scheduled if scheduled else 1.0


@dataclass(frozen=True, slots=True)
class Fence:
    """What a hot store checks before a write: the chunk that the lease covers, and its token."""

    chunk: Segment
    token: int


def outranked(node: NodeId, fence: Fence, newest: int) -> StaleToken:
    """The error for a holder whose chunk a later one, with the token `newest`, has written to."""
    return StaleToken(
        f"{node}: a later holder of [{seconds_text(fence.chunk.start)}, {seconds_text(fence.chunk.end)}) has "
        "written; this worker's lease ran out, and its bars are dropped",
        token=fence.token,
        newest=newest,
    )


def chunks(timeframe: Timeframe, window: Segment, bars: int) -> list[Segment]:
    """The aligned chunks of `bars` bars each that `window` touches, ascending.

    Chunks are numbered from the grid's origin, so that every worker cuts time at the same places.
    """
    if window.is_empty:
        return []
    grid = timeframe.grid
    first, last = grid.index(window.start) // bars, grid.index(window.end - 1) // bars
    return [
        Segment(grid.open(index * bars), grid.open((index + 1) * bars)) for index in range(first, last + 1)
    ]


def lease_key(node: NodeId, chunk: Segment) -> str:
    """The name under which a chunk is claimed: `{node_id}@{start}-{end}`."""
    return f"{node}@{chunk.start}-{chunk.end}"


def exchange_of(key: str) -> str:
    """The exchange of a lease's key."""
    return key.split(":")[1] if ":" in key else key


def next_token(last: int | None, now: float) -> int:
    """The token after `last`: at least the microsecond of the claim.

    So the tokens of two granters (a coordinator, and this machine while it is away) can be compared.
    """
    return max((last or 0) + 1, int(now * 1_000_000))


def raised_token(token: int, above: int | None) -> int:
    """The token of a lease that is renewed, above `above` where a store knows that as a newer one."""
    return token if above is None else max(token, above + 1)


def cut_reason(reason: str) -> str:
    """A reason as lease stores keep it: what is too long is cut, and says so.

    Half characters, as names of files have them that are no UTF-8, are question marks.
    """
    reason = reason.encode(errors="replace").decode()
    if len(reason) <= LONGEST_REASON:
        return reason
    return f"{reason[:LONGEST_REASON]} ... (cut from {len(reason):,} characters)"
