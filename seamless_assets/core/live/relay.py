"""A stream that is told on: what its reader knows of it, while whoever tells it comes and goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seamless_assets.core.live.cursor import WrittenPlace
from seamless_assets.core.live.events import Bar, CaughtUp, Event, Gap, Stale
from seamless_assets.core.live.panel import Tick
from seamless_assets.core.live.position import Position
from seamless_assets.core.node import NodeId

AWAY = "no answer from the service"


class Relay:
    """Which bars come next, and what the reader believes to have: once told, `CaughtUp` holds until `Stale`.

    Whoever tells the stream vouches for a node from its `CaughtUp` on, for as long as the connection lasts.
    Until then nobody would tell that bars are overdue, so the relay does.
    """

    def __init__(self, nodes: Sequence[NodeId]) -> None:
        self._max_lag = 0.0
        self._nodes = {str(node): node for node in nodes}
        self._upto: dict[str, int] = {}
        self._current: set[str] = set()
        self._vouched: set[str] = set()
        self._skew = 0.0

    def begin(self, positions: Mapping[str, Position], max_lag: float) -> None:
        """Take where the stream begins, or goes on, and after how many seconds a bar is overdue."""
        self._max_lag = max_lag
        self._upto = {name: position.upto for name, position in positions.items()}

    def lose(self) -> None:
        """The connection is gone, and what it vouched for with it."""
        self._vouched.clear()

    def take(self, told: Event | Tick, now: float) -> bool:
        """Whether the reader should hear of it; `now` is the own clock, in epoch seconds."""
        if isinstance(told, Tick):
            self._upto.update({name: at.upto for name, at in told.positions.items()})
            return True
        name = told.node_id
        if isinstance(told, Bar | Gap):
            self._upto[name] = max(told.end, self._upto.get(name, told.end))
        elif isinstance(told, CaughtUp | Stale):
            self._skew = told.at - now
            self._vouched.add(name)
            is_news = (name in self._current) is isinstance(told, Stale)
            (self._current.add if isinstance(told, CaughtUp) else self._current.discard)(name)
            return is_news
        return True

    def overdue(self, now: float, cursor: str) -> Iterator[Stale]:
        """What the reader should be told while nobody vouches for its nodes; `cursor` is where it stands."""
        theirs = now + self._skew
        for name in sorted(self._current - self._vouched):
            upto = self._upto[name]
            lag = theirs - self._nodes[name].timeframe.shift(upto, 1)
            if lag > self._max_lag:
                self._current.discard(name)
                place = WrittenPlace(cursor, tuple(self._nodes), name)
                yield Stale(node_id=name, place=place, end=upto, lag=lag, at=theirs, evidence=AWAY)
