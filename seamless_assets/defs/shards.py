"""Shards: the nodes of one exchange and timeframe, up to a hundred, that one step materializes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from seamless_assets.config.load import NodeSettings, Settings
from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.defs.names import ProjectNames

SHARD_SIZE = 100
MAX_STEPS = 8
"""Definitions of steps for one exchange and timeframe; of more shards some share one. Most of what Dagster
loads of thousands of nodes are outputs of steps; but in the job over all assets it makes, of each definition,
every shard as often as there are shards of it."""


@dataclass(frozen=True)
class Shard:
    """Nodes that share an exchange, a timeframe and partitions.

    `name` is its own, `step` that of its step, which other shards of as many nodes have too.
    """

    name: str
    step: str
    unit: PartitionUnit
    members: tuple[NodeSettings, ...]

    @property
    def exchange(self) -> str:
        """The exchange of all its nodes."""
        return self.members[0].node.exchange

    @property
    def timeframe(self) -> Timeframe:
        """The timeframe of all its nodes."""
        return self.members[0].node.timeframe

    @property
    def start(self) -> int:
        """Where the first partition lies, in epoch seconds."""
        return self.members[0].start

    @property
    def nodes(self) -> list[NodeId]:
        """Its nodes."""
        return [member.node for member in self.members]

    @property
    def job_name(self) -> str:
        """The job that materializes them."""
        return f"materialize_{self.name}"


def shards_of(settings: Settings, names: ProjectNames) -> Iterator[Shard]:
    """All declared nodes, in shards."""
    ordered = sorted(settings.nodes, key=lambda item: (item.node.exchange, str(item.node.timeframe)))
    for (exchange, timeframe), group in groupby(
        ordered, key=lambda item: (item.node.exchange, str(item.node.timeframe))
    ):
        members = tuple(group)
        unit = settings.partition_unit(members[0].node.timeframe)
        called = names.prefixed(f"ohlcv_{exchange}_{timeframe}")
        uses, step = -(-len(members) // (SHARD_SIZE * MAX_STEPS)), called
        for number, at in enumerate(range(0, len(members), SHARD_SIZE)):
            name, held = f"{called}_{number}" if number else called, members[at : at + SHARD_SIZE]
            if uses == 1:
                step = name
            elif number and (number % uses == 0 or len(held) < SHARD_SIZE):
                # No other's name and a number, which is what Dagster calls the second use of a step.
                step = f"{called}_from_{at}"
            yield Shard(name, step, unit, held)
