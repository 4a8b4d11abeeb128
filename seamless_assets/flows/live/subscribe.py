"""A subscription: history, then closed bars of many nodes as one stream of events, each once.

Nothing is kept for a slow reader: what it has not taken stands in the stores, and is loaded when it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import islice

from seamless_assets.aio.collector import collector_patient
from seamless_assets.aio.shield import shielded
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Bar, CaughtUp, Event, Stale
from seamless_assets.core.live.feed.finality import FinalCandle
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.progress import Progress
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.live.sequence import Known, Sequencer, told_ahead
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SeamlessError, StoreError
from seamless_assets.flows.live.follow import Follower
from seamless_assets.flows.live.known import MAX_BARS, load_known
from seamless_assets.flows.live.passing import is_passing
from seamless_assets.flows.ports import Ports

RETRY_S = 1.0
CHECKED_EVERY_S = 10.0
"""How often it is checked whether bars are overdue that nobody has news of."""

OBJECTS_A_NODE = 50
"""Cycles are looked for after so many more new objects for each node: most live until its next turn."""

TellEarly = Callable[[Sequence[Event], Callable[[], None]], bool]
"""Tells the reader what it is told next, where it waits, and says whether it did. Then the second is called
when the reader asks for more."""
MAX_LOADS = 100
"""Nodes that are loaded at once, where the reader has all of them but for what is new."""
MAX_PROVEN = 100
"""Bars that are told before they are stored come in batches of so many at most, one of each node."""


async def subscribe(
    ports: Ports, request: StreamRequest, has_room: Callable[[NodeId], bool] = lambda _: True
) -> AsyncGenerator[Event, None]:
    """The events of the nodes from where the request begins, until its end or for ever.

    Nothing more is loaded of a node for which the reader has no room.
    Those of one node come in order. Raises `ExchangeRefused` and `StoreError` that no waiting mends; what is
    away for a while is waited for, and told as `Stale`.
    """
    async with aclosing(subscribe_in_batches(ports, request, has_room)) as batches:
        async for batch in batches:
            for event in batch:
                yield event


async def subscribe_in_batches(
    ports: Ports,
    request: StreamRequest,
    has_room: Callable[[NodeId], bool] = lambda _: True,
    tell_early: TellEarly = lambda _, __: False,
) -> AsyncGenerator[Sequence[Event], None]:
    """The same, as many events at once as there are: what one load finds, bars that are proven together.

    `tell_early` is called with a bar in the moment in which it is proven, which is yielded next.
    """
    subscription = _Subscription(ports, request, await begin(ports, request), has_room, tell_early)
    with collector_patient(OBJECTS_A_NODE * len(request.nodes)):
        try:
            subscription.start()
            async with aclosing(subscription.batches()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await subscription.close()


async def begin(ports: Ports, request: StreamRequest) -> dict[str, Position]:
    """Where a stream begins in each node: where the caller says, or with the bar that forms now."""
    positions = dict(request.positions)
    for node in request.nodes:
        if str(node) not in positions:
            positions[str(node)] = Position.begin(node.timeframe.floor(int(await _now(ports, node))))
    return positions


async def _now(ports: Ports, node: NodeId) -> float:
    """The exchange's clock; ours where it cannot be asked."""
    try:
        return await ports.source.exchange_now(node.exchange)
    except SeamlessError as error:
        if not is_passing(error):
            raise
        return ports.clock.now()


@dataclass
class _NodeState:
    follower: Follower
    task: asyncio.Task[None] | None = None
    is_current: bool = False
    """Whether the reader was told that it has all, and of nothing overdue since."""
    was_current: bool = False
    is_stale: bool = False
    """Whether the reader was told that bars are overdue, and not yet that this is over."""
    began_at: float = field(default_factory=monotonic)


class _Subscription:
    def __init__(
        self,
        ports: Ports,
        request: StreamRequest,
        positions: dict[str, Position],
        has_room: Callable[[NodeId], bool],
        tell_early: TellEarly,
    ) -> None:
        self._ports, self._request, self._positions = ports, request, positions
        self._has_room, self._tell_early = has_room, tell_early
        self._ready: dict[NodeId, None] = {}
        """Nodes of which there may be news."""
        self._behind: dict[NodeId, None] = {}
        """Such that have history to tell, each in its turn."""
        self._history: NodeId | None = None
        """The one whose turn it was last."""
        self._proven: dict[NodeId, FinalCandle] = {}
        """Bars that are told before they are stored."""
        self._early: Sequence[Event] = ()
        """What was told early, perhaps, and is yielded next."""
        self._is_idle = False
        """Whether there is nothing to tell or to load."""
        self._loads: dict[NodeId, tuple[Position, asyncio.Task[Known | None]]] = {}
        """Nodes that are loaded at the moment, from which position on."""
        self._ended: list[asyncio.Task[None]] = []
        self._checked_at = monotonic()
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._open = {node: _NodeState(self._follower(node)) for node in request.nodes}

    def start(self) -> None:
        """Begin to follow every node that is not at its end already."""
        for node in list(self._open):
            self._end_if_done(node)
        for state in self._open.values():
            state.task = asyncio.create_task(state.follower.run())
            state.task.add_done_callback(self._end)
            self._tasks.append(state.task)

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """What is to be told, as it comes; ends with the stream."""
        try:
            while self._open:
                for ended in self._ended:
                    ended.result()
                if told := self._told_by_now() or self._begin_loads() or self._loaded_by_now():
                    yield told
                    continue
                await self._idle()
                if self._early:
                    early, self._early = self._early, ()
                    yield early
        finally:
            await self._end_loads()

    async def _idle(self) -> None:
        self._is_idle = not self._loads
        try:
            await self._wait()
        finally:
            self._is_idle = False

    async def _wait(self) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECKED_EVERY_S):
                await self._woken.wait()

    def _told_by_now(self) -> Sequence[Event]:
        """What can be told without loading anything, but of nodes that are loaded at the moment."""
        return self._overdue_by_now() or self._proven_by_now()

    def _proven_by_now(self) -> list[Bar]:
        """Bars that are told before they are stored, where they are still in their turn."""
        nodes = (node for node in self._proven if node not in self._loads and self._has_room(node))
        if not (proven := list(islice(nodes, MAX_PROVEN))):
            return []
        progress = Progress(self._positions)
        return [bar for node in proven if (bar := self._take_proven(node, progress)) is not None]

    def _take_proven(self, node: NodeId, progress: Progress) -> Bar | None:
        proven = self._proven.pop(node)
        if node not in self._open:
            return None
        bar = told_ahead(node, proven, self._positions[str(node)], progress)
        if bar is not None:
            self._positions[str(node)] = bar.place.own
        return bar

    def _begin_loads(self) -> list[Event]:
        """Load nodes of which there may be news: one that has history to tell, and many others.

        What is overdue of them, which is told before.
        """
        overdue: list[Event] = []
        for node in [*self._ready]:
            if len(self._loads) >= MAX_LOADS:
                break
            state = self._open.get(node)
            if state is None:
                del self._ready[node]
            elif not state.is_current:
                del self._ready[node]
                self._behind[node] = None
            elif self._may_load(node):
                del self._ready[node]
                overdue += self._begin_load(node, state)
        if self._history not in self._loads:
            following = next(filter(self._may_load, self._behind), None)
            if following is not None:
                del self._behind[following]
                self._history = following
                overdue += self._begin_load(following, self._open[following])
        return overdue

    def _may_load(self, node: NodeId) -> bool:
        return node not in self._loads and self._has_room(node)

    def _begin_load(self, node: NodeId, state: _NodeState) -> Iterator[Event]:
        if self._is_overdue(node, state):
            yield self._overdue(node, state, dict(self._positions))
        before = self._positions[str(node)]
        loading = asyncio.create_task(self._load(node, before, state.follower.closed))
        loading.add_done_callback(lambda _: self._woken.set())
        self._loads[node] = before, loading

    def _loaded_by_now(self) -> list[Event]:
        """News of the nodes that are loaded, as many as go into one batch.

        A store that does not answer for one node keeps nothing from the others.
        """
        events: list[Event] = []
        for node in [node for node, (_, loading) in self._loads.items() if loading.done()]:
            before, loading = self._loads[node]
            if events and (len(events) >= MAX_BARS or loading.exception()):
                break
            del self._loads[node]
            events += self._news_of(node, before, loading.result())
        return events

    async def _end_loads(self) -> None:
        loads = [loading for _, loading in self._loads.values()]
        for loading in loads:
            loading.cancel()
        # What they have come to is looked at, for a reader that leaves before it would hear of it.
        await shielded(asyncio.gather(*loads, return_exceptions=True))

    def _news_of(self, node: NodeId, before: Position, known: Known | None) -> list[Event]:
        """What is to be told of a node that was loaded, as much as that was at once; the rest in its turn."""
        if known is None:
            self._mark_ready(node)
            return []
        state = self._open[node]
        sequencer = Sequencer(node, before, dict(self._positions), known)
        events = list(sequencer.events())
        self._positions[str(node)] = after = sequencer.position
        if before.upto < after.upto < min(state.follower.decided, self._end_of(node)):
            self._mark_ready(node)
        else:
            events += self._caught_up(node, state)
        self._end_if_done(node)
        return events

    async def _load(self, node: NodeId, position: Position, closed: int) -> Known | None:
        """What is known of a node beyond its position; None where a store was away, after a while."""
        try:
            return await load_known(self._ports, node, position, closed, self._end_of(node))
        except StoreError as error:
            if not is_passing(error):
                raise
            await self._ports.clock.sleep(RETRY_S)
            return None

    async def close(self) -> None:
        """End all requests, and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await shielded(asyncio.ensure_future(asyncio.wait(self._tasks)))

    def _follower(self, node: NodeId) -> Follower:
        position, until = self._positions[str(node)], self._request.until
        return Follower(
            self._ports,
            node,
            position.stored_upto,
            self._mark_ready,
            self._mark_proven,
            until,
            is_resumed=position.is_begun,
        )

    def _end_of(self, node: NodeId) -> int:
        """Where the stream of a node ends; far away where it never does."""
        until = self._request.until
        return node.timeframe.floor(until) if until is not None else 2**62

    def _end_if_done(self, node: NodeId) -> None:
        if self._positions[str(node)].upto >= self._end_of(node):
            state = self._open.pop(node)
            self._behind.pop(node, None)
            if state.task is not None:
                state.task.cancel()

    def _mark_ready(self, node: NodeId) -> None:
        self._ready[node] = None
        self._woken.set()

    def _mark_proven(self, node: NodeId, candle: FinalCandle) -> bool:
        """Let a bar be told though it is not stored, where its reader has all else; never the last one.

        Whether it will be.
        """
        state = self._open.get(node)
        if state is None or not state.is_current or node in self._ready or node in self._behind:
            return False
        position = self._positions[str(node)]
        if position.upto != candle.ts or position.unstored is not None or candle.end >= self._end_of(node):
            return False
        self._proven[node] = candle
        if not self._take_early(node):
            self._woken.set()
        return True

    def _take_early(self, node: NodeId) -> bool:
        """Tell a bar that was just proven at once, where nothing else is to be told; whether it is told.

        All else is done once it asks for more.
        """
        if not self._is_idle or self._early or self._woken.is_set() or not self._has_room(node):
            return False
        if (bar := self._take_proven(node, Progress(self._positions))) is None:
            return False
        self._early = [bar]
        return self._tell_early(self._early, self._woken.set)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._ended.append(task)
        self._woken.set()

    def _lag(self, node: NodeId, state: _NodeState) -> float:
        """Seconds since the next bar to be told has closed."""
        return state.follower.now() - node.timeframe.shift(self._positions[str(node)].upto, 1)

    def _is_overdue(self, node: NodeId, state: _NodeState) -> bool:
        """Whether it is to be told that nothing comes: not while history is read as fast as it comes."""
        if state.is_stale:
            return False
        follower, max_lag = state.follower, self._request.max_lag
        is_unheard = follower.is_unheard and monotonic() - state.began_at > max_lag
        if is_unheard or self._begins_ahead(node, state):
            return True
        return self._lag(node, state) > max_lag and (state.is_current or follower.has_failed)

    def _begins_ahead(self, node: NodeId, state: _NodeState) -> bool:
        """Whether a stream that has told nothing begins so late by the exchange's clock that it is silent.

        As where it began by our clock, which was wrong while the exchange's could not be asked.
        """
        position = self._positions[str(node)]
        is_known = not (state.follower.is_away or position.is_begun)
        return is_known and position.upto - state.follower.now() > self._request.max_lag

    def _overdue_by_now(self) -> list[Event]:
        """What is to be told of all nodes whose bars are overdue, when it is time to check that.

        Whoever follows them may wait for an answer that does not come, and so may whoever loads them.
        """
        if monotonic() - self._checked_at < CHECKED_EVERY_S:
            return []
        self._checked_at = monotonic()
        overdue = [(node, state) for node, state in self._open.items() if self._is_overdue(node, state)]
        # One copy for all of them: it has an entry for every node.
        positions = dict(self._positions) if overdue else {}
        return [self._overdue(node, state, positions) for node, state in overdue]

    def _overdue(self, node: NodeId, state: _NodeState, positions: Mapping[str, Position]) -> Stale:
        state.is_current, state.is_stale = False, True
        return Stale(
            node_id=str(node),
            place=Place(positions, str(node), self._positions[str(node)]),
            end=self._positions[str(node)].upto,
            lag=max(0.0, self._lag(node, state)),
            at=state.follower.now(),
            evidence=self._why_overdue(node, state),
        )

    def _why_overdue(self, node: NodeId, state: _NodeState) -> str:
        if state.follower.is_away:
            return state.follower.why_away
        if self._begins_ahead(node, state):
            begins = seconds_text(self._positions[str(node)].upto)
            return f"begins with the bar at {begins}, which is to come by the exchange's clock"
        return "not sent, or not read, in time"

    def _caught_up(self, node: NodeId, state: _NodeState) -> Iterator[Event]:
        position, follower = self._positions[str(node)], state.follower
        has_all = position.upto >= min(follower.decided, self._end_of(node))
        if state.is_current or follower.is_away or not has_all or self._begins_ahead(node, state):
            return
        if self._lag(node, state) <= self._request.max_lag or not state.was_current:
            state.is_current, state.was_current, state.is_stale = True, True, False
            if node in self._behind:
                # What came meanwhile is no history any more.
                del self._behind[node]
                self._mark_ready(node)
            yield CaughtUp(node_id=str(node), place=self._place(node), end=position.upto, at=follower.now())

    def _place(self, node: NodeId) -> Place:
        return Place(dict(self._positions), str(node), self._positions[str(node)])
