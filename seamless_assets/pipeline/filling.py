"""The part of the face that fills the hot store and tells what is covered."""

from __future__ import annotations

from concurrent.futures import Future

from seamless_assets.core.calendar.window import Instant, window_of
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.coverage.declaration import Declaration
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling import backfill as backfilling
from seamless_assets.flows.filling import declare as declaring
from seamless_assets.flows.filling import history
from seamless_assets.flows.filling.backfill import BackfillReport
from seamless_assets.flows.reading import background
from seamless_assets.flows.reading.background import DrainedFill
from seamless_assets.pipeline.base import AsyncBase


class Filling(AsyncBase):
    """Methods on what the hot store holds."""

    async def backfill(self, node: str | NodeId, start: Instant, end: Instant) -> BackfillReport:
        """Fetch what is missing of the window into the hot store, and nothing else; returns when it is done.

        Raises `ExchangeRefused` and `StoreError`; what an exchange withholds is in `problems`.
        """
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: backfilling.backfill(ports, known, window))

    def backfill_in_background(
        self, node: str | NodeId, start: Instant, end: Instant
    ) -> Future[BackfillReport]:
        """Begin a `backfill` and return; the future's `cancel()` ends it, and so does closing the pipeline.

        `await asyncio.wrap_future(...)` waits for it without holding up an event loop.
        """
        known, window = self._declared(node), window_of(start, end)
        return self._start(self.backfill(known, *window))

    async def drain_fills(self) -> list[DrainedFill]:
        """Fill what readers wanted and nobody fills any more; returns when nothing of that is left.

        For a process that lives longer than readers do: a service, a sensor, a cron job. What came to
        nothing is tried again later, a few times. Raises `FillQueueUnavailable`.
        """
        return await self._do(background.drain_fills)

    async def ensure_coverage(self, node: str | NodeId, start: Instant, end: Instant) -> Coverage:
        """Fill the window and return only then, with what is covered; `missing` is 0 where all is well."""
        return (await self.backfill(node, start, end)).coverage

    async def coverage(self, node: str | NodeId, start: Instant, end: Instant) -> Coverage:
        """Which bars of the window are known, hot or released, which proven absent, which missing."""
        parsed, window = NodeId.parse(node), window_of(start, end)
        return await self._do(lambda ports: history.coverage(ports, parsed, window))

    async def declare(
        self,
        node: str | NodeId,
        start: Instant,
        end: Instant,
        reason: str,
        *,
        note: str = "",
        by: str | None = None,
    ) -> Declaration:
        """Say that the bars of the window do not exist, where nothing else can tell: the last resort.

        `reason` is `no_trades`, `outage`, `halted`, `pre_listing`, `post_delisting`, `retention` or `other`,
        which wants a `note`; `by` is a name, this worker's unless given. The bars are `declared` wherever
        absent ones are told of, and no longer asked for by a backfill. Every proof goes before that, and so
        does a bar that is there or comes: `contradicted` counts them. Raises `InvalidInput` and its kinds,
        for bars that have not closed yet too, and `StoreError`.
        """
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: declaring.declare(ports, known, window, reason, note, by))

    async def revoke(
        self, node: str | NodeId, start: Instant, end: Instant, *, note: str = "", by: str | None = None
    ) -> list[Declaration]:
        """Take back what was declared of the window; what that leaves of those declarations.

        The bars are missing again and looked for at the next backfill. What was released stays as it is until
        it is materialized again. Raises `InvalidInput` where nothing of the window is declared, `StoreError`.
        """
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: declaring.revoke(ports, known, window, note, by))

    async def declarations(self, node: str | NodeId, start: Instant, end: Instant) -> list[Declaration]:
        """What was declared of bars in the window, in the order it was said, revoked or not."""
        parsed, window = NodeId.parse(node), window_of(start, end)
        return await self._do(lambda ports: declaring.declarations(ports, parsed, window))

    async def ledger(self, node: str | NodeId, start: Instant, end: Instant) -> list[Fact]:
        """What was found out of bars that are not there, oldest first: reason, evidence, looks, next look."""
        parsed, window = NodeId.parse(node), window_of(start, end)
        return await self._do(lambda ports: history.ledger(ports, parsed, window))
