"""The readers workload: beside those who release and undo, many read at once, and little is kept."""

from __future__ import annotations

import asyncio
from random import Random

from seamless_assets.core.node import NodeId
from seamless_assets.flows.ports import Ports
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.workloads.governance import NODES, GovernanceWorkload

READERS = 8
RUSHES = 4
READS = 3


class ReadersWorkload(GovernanceWorkload):
    """One seeded run of the governance workload, with readers in every process."""

    def __init__(self, seed: int, *args: object) -> None:
        super().__init__(seed, *args)  # type: ignore[arg-type]
        # Room for nothing, for a day or two, or for most of what there is.
        self.cluster.near_bytes = Random(f"readers {seed}").choice([0, 3_000, 6_000, 20_000])

    async def _share(self, process: Process) -> None:
        ports = self.cluster.ports(process, self.injector)
        await asyncio.gather(self._operate(process, ports), self._rush(process, ports))

    async def _rush(self, process: Process, ports: Ports) -> None:
        """Readers who come all at once, again and again."""
        for _ in range(RUSHES):
            await ports.clock.sleep(process.rng.uniform(0, self.pause))
            await asyncio.gather(*(self._read_on(process, ports) for _ in range(READERS)))

    async def _read_on(self, process: Process, ports: Ports) -> None:
        for _ in range(READS):

            async def read(node: NodeId = process.rng.choice(NODES)) -> bool:  # noqa: B008
                await self.operations.read_part(ports, node)
                return True

            await self.pool.retry(process, read)
