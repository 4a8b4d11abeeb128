"""One request in a dialect: what it is served from, and what was read for it."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import Verdict
from seamless_assets.flows.live.served.candles import StreamedCandle

VERDICTS: tuple[Verdict, ...] = ("PASS", "PARTIAL", "HOLD", "REJECT")
"""From the best to the worst."""
NONE = "none"
"""What a header says of a dataset where the answer is of none."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one page of an answer was read from."""

    node: NodeId
    as_of: str | None
    dataset_fingerprint: str | None
    verdict: Verdict
    source: str
    seq: int = 0
    """The number of the release in its log; 0 where there is none."""
    is_whole: bool = False
    """Whether every bar of a live page is there, or proven never to have been."""


@dataclass
class Visit:
    """A request at epoch seconds `now` of the world that is asked.

    `as_of` is the instant whose knowledge is served, None in the live world; a frozen world's clock stands.
    """

    now: float
    as_of: str | None = None
    is_frozen: bool = False
    uses_clock: bool = False
    """Whether the answer would be another one at another time."""
    is_refused: bool = False
    """Whether the answer says no, in the venue's own words."""
    is_unknown: bool = False
    """Whether it does so of what is not declared, and the exchange may have."""
    reads: list[Served] = field(default_factory=list)
    forming: list[tuple[NodeId, StreamedCandle | None]] = field(default_factory=list)
    """The candles that form of nodes, as they were looked up."""
    read_since: float = 0.0
    """When the first page of the live world was asked for, by the clock that nobody sets."""
    hot_mark: Hashable | None = None
    """The mark of the hot store before anything was read of it; None where it tells none."""

    @property
    def headers(self) -> dict[str, str]:
        """What was served: the `as_of` and fingerprint of the newest dataset read, and the worst verdict."""
        newest = max(self.reads, key=lambda read: read.as_of or "", default=None)
        verdicts: list[Verdict] = [read.verdict for read in self.reads]
        verdicts.append("REJECT" if self.is_refused else "PASS")
        as_of = newest.as_of if newest else self.as_of or instant_text(int(self.now * 1_000_000))
        return {
            "X-Seamless-As-Of": as_of or NONE,
            "X-Seamless-Fingerprint": (newest.dataset_fingerprint if newest else None) or NONE,
            "X-Seamless-Verdict": max(verdicts, key=VERDICTS.index),
        }


VISIT: ContextVar[Visit] = ContextVar("visit")
"""The request that is answered now."""


VISITED = "seamless_assets.visit"
"""Where the scope of a request holds its `Visit`, for the headers of an answer that says no."""


class VisitClock:
    """The clock of the world that is asked."""

    def now(self) -> float:
        """Epoch seconds."""
        visit = VISIT.get()
        visit.uses_clock = True
        return visit.now
