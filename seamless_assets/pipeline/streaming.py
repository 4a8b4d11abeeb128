"""The part of the face that tells of bars as they close, and of the past as if it happened now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.pipeline.base import AsyncBase

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
        several = (nodes,) if isinstance(nodes, str | NodeId) else nodes
        declared = [self._declared(node) for node in several]
        max_lag = self.settings.domains.live.max_lag_sec
        request = StreamRequest.parse(declared, since, until, context, max_lag)
        return self._stream(lambda ports: subscribe(ports, request))
