"""Wanted fills: what readers asked for and did not wait for, on record until it is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import FillQueueUnavailable

MAX_ATTEMPTS = 5
MAX_WANTED = 10_000
FIRST_DELAY_S, LONGEST_DELAY_S = 30.0, 3_600.0
LONGEST_HOLD_S = 7 * 86_400.0
"""No worker is given more time; what seems to be held for longer was held before a clock was set back."""


@dataclass(frozen=True, slots=True)
class WantedFill:
    """A window of a node (epoch seconds) that is to be filled.

    Whoever fills it holds it until `due_at`, and longer as long as it lives; then it is anybody's. `attempts`
    counts who began.
    """

    node: NodeId
    start: int
    end: int
    wanted_at: float
    due_at: float
    attempts: int = 1

    @property
    def segment(self) -> Segment:
        """Its window."""
        return Segment(self.start, self.end)

    def is_due(self, now: float) -> bool:
        """Whether nobody holds it."""
        return not now < self.due_at <= now + LONGEST_HOLD_S

    def covers(self, node: NodeId, segment: Segment) -> bool:
        """Whether a window of a node lies in this one."""
        return self.node == node and self.start <= segment.start and segment.end <= self.end

    def is_within(self, node: NodeId, segment: Segment) -> bool:
        """Whether this one lies in a window of a node."""
        return self.node == node and segment.start <= self.start and self.end <= segment.end


def full() -> FillQueueUnavailable:
    """The error for one fill too many."""
    return FillQueueUnavailable(
        f"{MAX_WANTED:,} fills are wanted already; call drain_fills in some process, or read less at once"
    )


def retry_delay_s(attempts: int) -> float:
    """Seconds before a fill that came to nothing is tried again."""
    return min(FIRST_DELAY_S * 2.0 ** (attempts - 1), LONGEST_DELAY_S)


Wanted = tuple[WantedFill, ...]


def added(wanted: Wanted, node: NodeId, segment: Segment, now: float, hold_s: float) -> Wanted:
    """`wanted` with one more, which whoever says so holds; nothing is added to one that covers it."""
    same = [one for one in wanted if one.covers(node, segment)]
    exact = next((one for one in same if one.segment == segment), None)
    if exact is not None:
        return _replaced(wanted, exact, replace(exact, due_at=now + hold_s))
    return wanted if same else (*wanted, WantedFill(node, *segment, now, now + hold_s))


def taken(
    wanted: Wanted, exchanges: Collection[str], now: float, hold_s: float
) -> tuple[Wanted, WantedFill | None]:
    """The oldest that is due of some exchanges, now held by whoever takes it, and what is wanted then."""
    due = [one for one in wanted if one.is_due(now) and one.node.exchange in exchanges]
    if not due:
        return wanted, None
    oldest = min(due, key=lambda one: (one.wanted_at, str(one.node), one.start))
    held = replace(oldest, due_at=now + hold_s, attempts=oldest.attempts + 1)
    return _replaced(wanted, oldest, held), held


def held(wanted: Wanted, node: NodeId, segment: Segment, now: float, hold_s: float) -> Wanted:
    """`wanted` with one of them held for so long from now; 0 gives it back."""
    exact = next((one for one in wanted if one.node == node and one.segment == segment), None)
    return wanted if exact is None else _replaced(wanted, exact, replace(exact, due_at=now + hold_s))


def removed(wanted: Wanted, node: NodeId, segment: Segment) -> Wanted:
    """`wanted` without what lies in a window that is filled."""
    return tuple(one for one in wanted if not one.is_within(node, segment))


def next_due_in(wanted: Iterable[WantedFill], exchanges: Collection[str], now: float) -> float | None:
    """Seconds until one of some exchanges is due; None where none is wanted."""
    waits = (0.0 if one.is_due(now) else one.due_at - now for one in wanted if one.node.exchange in exchanges)
    return min(waits, default=None)


def _replaced(wanted: Wanted, old: WantedFill, new: WantedFill) -> Wanted:
    return tuple(new if one is old else one for one in wanted)
