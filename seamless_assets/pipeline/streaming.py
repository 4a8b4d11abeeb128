"""The part of the face that tells of bars as they close, and of the past as if it happened now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.live.events import CaughtUp, Event, Stale
from seamless_assets.core.live.panel import Tick, timeframe_of
from seamless_assets.core.live.request import StreamRequest, above_zero
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.base import AsyncBase
from seamless_assets.pipeline.loop.producer import EarlyItems

if TYPE_CHECKING:
    from seamless_assets.core.live import replay as replaying
    from seamless_assets.flows.live import panel as panels
    from seamless_assets.flows.live import replay as replays
    from seamless_assets.flows.live import subscribe as subscriptions
else:
    # Most who read never follow.
    replaying = LateModule("seamless_assets.core.live.replay")
    panels = LateModule("seamless_assets.flows.live.panel")
    replays = LateModule("seamless_assets.flows.live.replay")
    subscriptions = LateModule("seamless_assets.flows.live.subscribe")

Nodes = str | NodeId | Iterable[str | NodeId]


class Streaming(AsyncBase):
    """Methods that are iterated for as long as there is news."""

    def subscribe(
        self,
        nodes: Nodes,
        since: Instant = None,
        until: Instant = None,
        context: ComputeContext | None = None,
    ) -> AsyncIterator[Event]:
        """What is known of the nodes from `since` on, then their bars as they close, each once and in order.

        `Bar`, `Gap`, `Filled`, `Revised`, `CaughtUp` and `Stale`, each with a `cursor`. `since` is an
        instant, or a cursor to go on after, made for the same nodes; None begins with the bars that form
        now. It ends at `until`, or when it is closed. What is missing is fetched and stored as by
        `backfill`, once for all processes that ask. `context` is of the domain live and names a `max_lag`
        (seconds). Raises `InvalidInput` and its kinds, then `ExchangeRefused` and `StoreError`.
        """
        request = self._stream_request(nodes, since, until, context)
        early = EarlyItems[Sequence[Event]]()
        return self._batched(
            lambda ports: subscriptions.subscribe_in_batches(ports, request, tell_early=early.tell), early
        )

    def panel(
        self,
        nodes: Nodes,
        since: Instant = None,
        until: Instant = None,
        context: ComputeContext | None = None,
        deadline: float = 10.0,
    ) -> AsyncIterator[Tick | Stale | CaughtUp]:
        """The same of several nodes of one timeframe, as one `Tick` for each bar time.

        It comes when all nodes have that bar or a gap there, and `deadline` seconds after the first of them
        at the latest, with the missing ones named; what comes after that is in the next tick. Each tick has
        a `cursor`. Raises as `subscribe` does.
        """
        request = self._stream_request(nodes, since, until, context)
        timeframe_of(request.nodes)
        deadline = seconds_of_deadline(deadline)
        return self._stream(lambda ports: panels.subscribe_panel(ports, request, deadline))

    def replay(
        self,
        nodes: Nodes,
        start: Instant,
        end: Instant,
        as_of: Instant = None,
        speed: float | None = None,
        knowledge: str = "final",
    ) -> AsyncIterator[Event]:
        """The events of `[start, end)` from releases at `as_of` (None: the newest), in the order of time.

        `start` may be a cursor. `knowledge="final"` tells each bar as it was released; `"then"` tells it as
        it was first known, and each correction when it came. `speed` is how many seconds of history pass in
        one; None for as fast as you read. Raises `InvalidInput` and its kinds, then `NothingReleased`,
        `CoverageMissing`, `AsOfInFuture`, `StoreError`.
        """
        parsed = [NodeId.parse(node) for node in several(nodes)]
        request = replaying.ReplayRequest.parse(parsed, start, end, as_of, speed, knowledge)
        return self._batched(lambda ports: replays.replay_in_batches(ports, request))

    def _stream_request(
        self, nodes: Nodes, since: Instant, until: Instant, context: ComputeContext | None
    ) -> StreamRequest:
        declared = [self._declared(node) for node in several(nodes)]
        max_lag = self.settings.domains.live.max_lag_sec
        return StreamRequest.parse(declared, since, until, context, max_lag)


def seconds_of_deadline(deadline: object) -> float:
    """Seconds that a tick waits. Raises `InvalidInput` for what is no number of them."""
    return above_zero(deadline, "deadline", "seconds above 0")


def several(nodes: Nodes) -> Iterable[str | NodeId]:
    """Nodes as an iterable; one alone is one. Raises `InvalidInput` for what is neither."""
    if isinstance(nodes, str | NodeId):
        return (nodes,)
    if isinstance(nodes, bytes | bytearray) or not isinstance(nodes, Iterable):
        raise InvalidInput(f"nodes is {nodes!r:.100}; give a node id, or several", value=nodes)
    return nodes
