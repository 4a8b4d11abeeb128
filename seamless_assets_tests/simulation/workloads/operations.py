"""The operations of the governance workload: each is one call of a real flow, and some are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.release import Release
from seamless_assets.errors import ArtifactCorrupt, CoverageMissing, NothingReleased, ReleaseRefused
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, rollback, unpin, withdraw
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.flows.releasing.publish import release, seal
from seamless_assets.flows.releasing.verify import verify
from seamless_assets_tests.simulation.witness import ReleaseWitness, digest_of


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations on nodes whose bars lie in `span`; what is read is held against what the witness saw."""

    span: Segment
    witness: ReleaseWitness
    violations: list[str]

    def drawn(self, rng: Random) -> Callable[[Ports, NodeId], Awaitable[None]]:
        """One of them."""
        every = [
            *(self.publish, self.publish, self.materialize, self.read, self.compact, self.clean),
            *(self.by_hand, self.roll_back, self.withdraw, self.unpin, self.verify),
        ]
        return rng.choice(every)

    async def publish(self, ports: Ports, node: NodeId) -> None:
        """Seal a partition and release it; what is pinned stays as it is."""
        partition = ports.rng.choice(partitions(node.timeframe, "day", self.span))
        sealed = await seal(ports, node, partition, ports.clock.now())
        if sealed is None:
            return
        try:
            self._acknowledge(
                node, await release(ports, node, [sealed.ref], {}, "published", in_force=sealed.in_force)
            )
        except ReleaseRefused:
            return

    async def materialize(self, ports: Ports, node: NodeId) -> None:
        """Fetch a partition anew, seal and release it where its checks pass."""
        partition = ports.rng.choice(partitions(node.timeframe, "day", self.span))
        await materialize(ports, node, partition.window)

    async def by_hand(self, ports: Ports, node: NodeId) -> None:
        """Release what waits for it, in a partition or anywhere."""
        keys = [partition.key for partition in partitions(node.timeframe, "day", self.span)]
        chosen = ports.rng.choice([None, *keys])
        try:
            self._acknowledge(node, await release_by_hand(ports, node, "by hand", chosen))
        except (NothingReleased, ReleaseRefused):
            return

    async def unpin(self, ports: Ports, node: NodeId) -> None:
        """Lift all pins."""
        try:
            self._acknowledge(node, await unpin(ports, node, "unpinned"))
        except NothingReleased:
            return

    async def roll_back(self, ports: Ports, node: NodeId) -> None:
        """Go back to an earlier release."""
        log = await ports.artifacts.list_releases(node)
        if log:
            to = ports.rng.choice(log).seq
            self._acknowledge(node, await rollback(ports, node, "rolled back", to=to))

    async def withdraw(self, ports: Ports, node: NodeId) -> None:
        """Take a partition out of force."""
        partition = ports.rng.choice(partitions(node.timeframe, "day", self.span))
        try:
            self._acknowledge(node, await withdraw(ports, node, partition.key, "withdrawn"))
        except (NothingReleased, ReleaseRefused):
            return

    async def compact(self, ports: Ports, node: NodeId) -> None:
        """Merge what can be merged."""
        self._acknowledge(node, (await compact(ports, node)).release)

    async def clean(self, ports: Ports, node: NodeId) -> None:
        """Clean up; the grace is short, for nothing may depend on it."""
        await clean_up(ports, node, grace_s=ports.rng.choice([0.0, 3_600.0]))

    async def verify(self, ports: Ports, node: NodeId) -> None:
        """Prove every hash."""
        report = await verify(ports, node)
        self.violations.extend(f"verify of {node} found {fault}" for fault in report.faults)

    async def read(self, ports: Ports, node: NodeId) -> None:
        """Read an earlier release again."""
        released = self.witness.digests[node]
        if not released:
            return
        as_of, promised = ports.rng.choice(list(released.items()))
        snapshot = await ports.artifacts.load_snapshot(node, as_of)
        if not snapshot.artifacts:
            return
        window = Segment(snapshot.artifacts[0].start, snapshot.artifacts[-1].end)
        try:
            read = await read_released(ports, node, window, ComputeContext(as_of=as_of), columns=None)
        except CoverageMissing:
            return
        if digest_of(read.bars.to_pylist()) != promised:
            self.violations.append(f"{node} as of {as_of} reads otherwise than it was released")

    async def read_part(self, ports: Ports, node: NodeId) -> None:
        """Read some days of an earlier release."""
        released = list(self.witness.digests[node])
        days = [partition.window for partition in partitions(node.timeframe, "day", self.span)]
        first, last = sorted(ports.rng.choices(range(len(days)), k=2))
        window = Segment(days[first].start, days[last].end)
        if not released:
            return
        as_of = ports.rng.choice(released)
        try:
            snapshot = await ports.artifacts.load_snapshot(node, as_of)
            read = await read_released(ports, node, window, ComputeContext(as_of=as_of))
        except (CoverageMissing, NothingReleased):
            return
        except ArtifactCorrupt as error:
            self.violations.append(f"{node}: sound files are read as damaged: {error}")
            return
        bars = [row for row in self.witness.bars(node, snapshot) if window.start <= row["ts"] < window.end]
        if read.bars.to_pylist() != bars:
            self.violations.append(f"{node} as of {as_of} reads otherwise than it was released")

    def _acknowledge(self, node: NodeId, entry: Release | None) -> None:
        if entry is not None:
            self.witness.acknowledged.append((node, entry))
