"""The worlds workload: beside those who fill, release and undo, worlds read live, dry and in backtests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from random import Random
from typing import Any

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import STRATEGIES, ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import UNBOUNDED, SLAPolicy
from seamless_assets.core.worlds.session import SessionKey
from seamless_assets.errors import (
    AsOfInFuture,
    CoverageMissing,
    NothingReleased,
    SeamlessError,
    SeamlessSLAExceeded,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading import sessions
from seamless_assets.flows.reading.read import read
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.sessions import MAY_MOVE
from seamless_assets_tests.simulation.workloads.governance import (
    DAY,
    LIFE_S,
    NODES,
    SPAN,
    GovernanceWorkload,
)
from seamless_assets_tests.simulation.world_witness import WorldWitness

WORLDS = ("a", "b")
PINNED = "p"
"""The world whose sessions are pinned now and then; the others' never go back."""
READERS = 2
READS = 8
LOOKS = 4
CORRECTIONS = 40
REFUSALS = (AsOfInFuture, CoverageMissing, NothingReleased, SeamlessSLAExceeded)
HASTY = SLAPolicy(
    max_wait_storage_ms=2_000, max_wait_backfill_ms=2_000, max_wait_live_ms=2_000, total_deadline_ms=4_000
)
Action = Callable[[Process, Ports, NodeId], Awaitable[None]]


class WorldsWorkload(GovernanceWorkload):
    """One seeded run of the governance workload, with readers of worlds in every process."""

    def __init__(self, seed: int, *args: object) -> None:
        super().__init__(seed, *args)  # type: ignore[arg-type]
        self.worlds = WorldWitness(self.witness, self.market, self.violations)
        for store in self.cluster.sessions:
            store.on_moved = self.worlds.moved

    def schedule(self) -> None:
        super().schedule()
        for _ in range(CORRECTIONS):
            self.loop.call_later(self._rng.uniform(0, LIFE_S), self._correct, context=Context())

    async def _share(self, process: Process) -> None:
        ports = self.cluster.ports(process, self.injector)
        readers = [self._read_on(process, ports) for _ in range(READERS)]
        await asyncio.gather(self._operate(process, ports), *readers)
        await ports.fills.close()  # type: ignore[attr-defined]
        # What a session has seen is noted even where its reader's time was over.
        noting = [task for task in self.loop.pending(process) if task is not asyncio.current_task()]
        if noting:
            await asyncio.wait(noting)

    async def _read_on(self, process: Process, ports: Ports) -> None:
        for _ in range(READS):
            action, node = process.rng.choice(self._actions), process.rng.choice(NODES)

            async def act(action: Action = action, node: NodeId = node) -> bool:
                await action(process, ports, node)
                return True

            await self.pool.retry(process, act)
            await ports.clock.sleep(process.rng.uniform(0, self.pause))

    @property
    def _actions(self) -> list[Action]:
        return [
            *(self._session_read, self._session_read, self._session_read, self._live_read),
            *(self._advance, self._dry_read, self._dry_read, self._dry_read, self._backtest, self._pin),
        ]

    async def _session_read(self, process: Process, ports: Ports, node: NodeId) -> None:
        """Read as a live session does, bound to what was released when it started."""
        world = process.rng.choice([*WORLDS, PINNED])
        context = self._live(world, process.rng)
        started_at = instant_text(int(ports.clock.now() * 1_000_000))
        bound = await sessions.bind(ports, node, context, started_at)
        # Where nothing was released then, the first release that a read meets binds it.
        token = MAY_MOVE.set(bound.as_of is None)
        try:
            await self._read_live(process, ports, node, context, keeps_as_of=True)
        finally:
            MAY_MOVE.reset(token)

    async def _live_read(self, process: Process, ports: Ports, node: NodeId) -> None:
        """A read of a world that is bound to nothing beyond it."""
        world = process.rng.choice([*WORLDS, PINNED])
        await self._read_live(process, ports, node, self._live(world, process.rng), keeps_as_of=False)

    async def _read_live(
        self, process: Process, ports: Ports, node: NodeId, context: ComputeContext, keeps_as_of: bool
    ) -> None:
        seen = self.worlds.seen(process, context, node)
        result = await self._read(process.rng, ports, node, context, keeps_as_of=keeps_as_of)
        if result is not None:
            self.worlds.live(process, context, node, result, seen)

    async def _advance(self, process: Process, ports: Ports, node: NodeId) -> None:
        context = ComputeContext(process.rng.choice(WORLDS), "live")
        seen = self.worlds.seen(process, context, node)
        try:
            moved = await sessions.advance_to_newest(ports, node, context)
        except NothingReleased:
            return
        self.worlds.advanced(process, context, node, moved.as_of, seen)

    async def _pin(self, process: Process, ports: Ports, node: NodeId) -> None:
        context = ComputeContext(PINNED, "live")
        released = list(self.witness.digests[node])
        if not released or process.rng.random() < 0.5:
            await sessions.lift_pin(ports, node, context)
            return
        try:
            await sessions.set_pin(ports, node, context, process.rng.choice(released), "a doubt")
        except REFUSALS:
            return

    async def _dry_read(self, process: Process, ports: Ports, node: NodeId) -> None:
        """Read twice in the dry run of a world, which is bound to the first release."""
        for bound in [*self.witness.digests[node]][:1] * 2:
            context = ComputeContext(process.rng.choice(WORLDS), "dryrun", bound)
            result = await self._read(process.rng, ports, node, context)
            if result is not None:
                self.worlds.dry(process, context, node, result, self.cluster.sessions)

    async def _backtest(self, process: Process, ports: Ports, node: NodeId) -> None:
        """Read one window as it was known at some of the releases, one after the other."""
        released, days = [*self.witness.digests[node]], self._days(process.rng)
        for bound in process.rng.sample(released, min(3, len(released))):
            context = ComputeContext("t", "backtest", bound)
            result = await self._read(process.rng, ports, node, context, days)
            if result is not None:
                self.worlds.backtest(node, result, bound)

    def _live(self, world: str, rng: Random) -> ComputeContext:
        return ComputeContext(world, "live", max_lag=rng.choice([3_600.0, 30 * DAY]), min_coverage=0.5)

    def _days(self, rng: Random) -> tuple[int, int]:
        """From one midnight to a later one."""
        first, last = sorted(rng.sample(range(SPAN.start, SPAN.end + DAY, DAY), 2))
        return first, last

    async def _read(
        self,
        rng: Random,
        ports: Ports,
        node: NodeId,
        context: ComputeContext,
        days: tuple[int, int] | None = None,
        **options: Any,
    ) -> ReadResult | None:
        """A read of some days; None where it was refused."""
        start, end = days or self._days(rng)
        sla = rng.choice([UNBOUNDED, UNBOUNDED, HASTY])
        strategy = rng.choice(STRATEGIES)
        request = ReadRequest.parse(
            node, start, end, context=context, strategy=strategy, default_sla=sla, **options
        )
        try:
            return await read(ports, request)
        except REFUSALS as refusal:
            if isinstance(refusal, CoverageMissing) and context.domain == "backtest":
                self.worlds.refused(node, Segment(start, end), context.as_of or "")
            return None

    def check(self) -> None:
        """Besides what the governance workload checks, no session is held once nothing goes wrong."""
        super().check()
        for machine in range(len(self.cluster.machines)):
            self.violations += self.in_peace(partial(self._returned, machine=machine), 30 * DAY)

    async def _returned(self, inspector: Process, machine: int) -> list[str]:
        inspector.slot = machine
        ports = self.cluster.ports(inspector, self.injector)
        held = [
            (key, await self._hold_of(ports, key))
            for key in await ports.sessions.list_keys()
            if key.domain == "live"
        ]
        return [f"{key} is held although nothing is wrong: {why}" for key, why in held if why]

    async def _hold_of(self, ports: Ports, key: SessionKey) -> str:
        """Why a session is still held; a hole without proof is looked at again, but not at once."""
        node, context = NodeId.parse(key.node_id), ComputeContext(key.world_id, "live", max_lag=1e9)
        await sessions.lift_pin(ports, node, context)
        window = (SPAN.start, SPAN.end - DAY)
        request = ReadRequest.parse(
            node, *window, context=context, strategy="AUTO_BACKFILL", default_sla=UNBOUNDED
        )
        why = ""
        for _ in range(LOOKS):
            try:
                why = str((await read(ports, request)).metadata.reasons)
            except SeamlessError as error:
                why = repr(error)
            if (await ports.sessions.load(key)).state == "ACTIVE":
                return ""
            await ports.clock.sleep(DAY)
        return why
