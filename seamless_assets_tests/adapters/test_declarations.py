"""What an operator declares stands in every hot store, and survives that it is opened anew."""

from __future__ import annotations

from adapters.conftest import OpenStore, table

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.declare import declarations, declare, revoke
from seamless_assets.flows.filling.history import coverage
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

HOUR = Segment(START, START + 3_600)
NOTE = "äh, says #7; 'x\"y, äöü\n\tand \x1b[31m"


async def test_a_declaration_is_kept_and_taken_back(open_store: OpenStore, node: NodeId) -> None:
    clock = ManualClock(time=START + DAY)
    exchange = InMemoryExchange({}, clock)

    async def known() -> tuple[int, int, int]:
        # Each look is that of another process.
        found = await coverage(in_memory_ports(exchange, hot=open_store()), node, HOUR)
        return found.present, found.declared, found.missing

    ports = in_memory_ports(exchange, hot=open_store())
    for number in range(2):
        said = await declare(ports, node, HOUR, "halted", NOTE, "ann@desk")
        assert (said.note, said.by, said.declared_at) == (NOTE, "ann@desk", clock.time)
        assert await known() == (0, 60, 0) if number == 0 else (10, 50, 0)
        clock.time += 1
        await revoke(ports, node, Segment(START + 600, START + 1_200), "", "bob")
        assert await known() == (0, 50, 10) if number == 0 else (10, 40, 10)
        clock.time += 1
        bars = table(random_walk(START, START + 600))
        await ports.hot.write_bars(node, bars, [], recorded_at=clock.time)
        assert await known() == (10, 40, 10)
    kept = await declarations(in_memory_ports(exchange, hot=open_store()), node, HOUR)
    taken = (Segment(START + 600, START + 1_200),)
    assert [(one.contradicted, one.revoked) for one in kept] == [(10, taken), (10, taken)]
