"""Looks over the edge of a chunk, or a joint of symbols: each holds two leases, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.live import HOUR, NODE, POLICY, LiveMarket

from seamless_assets.aio.gather import gather
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.aliases import Alias
from seamless_assets.flows.filling.backfill import pieces
from seamless_assets.flows.live.look import OVERLAP_BARS, Look, look
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import HELD_AT_ONCE, RESERVED
from seamless_assets.testing import START, run_on_virtual_time

EDGE_BARS = 5
"""So many bars before the newest one lies the edge."""


def over_the_edge(ports: Ports, node: NodeId, edge: int) -> Look:
    """A look for the newest bars, a few of them after the edge."""
    closed = edge + EDGE_BARS * 60
    return Look(node, Segment(edge - 2 * 60, closed), closed, closed + 1.0)


@pytest.mark.parametrize("count", [1, HELD_AT_ONCE + RESERVED + 5])
def test_more_nodes_than_hold_leases_at_once_look_over_the_edge_of_a_chunk(count: int) -> None:
    nodes = [NodeId.parse(f"ohlcv:{NODE.exchange}:C{number}/USDT:1m") for number in range(count)]
    market = LiveMarket(nodes)
    ports = replace(market.process(), policy=replace(POLICY, window_bars=20))
    edge = pieces(ports, nodes[0], Segment(START + HOUR, START + 5 * HOUR))[1].bounds.start
    seen = Segment(edge - OVERLAP_BARS * 60, edge + EDGE_BARS * 60)

    async def work() -> list[int]:
        await gather(look(ports, over_the_edge(ports, node, edge)) for node in nodes)
        return [len(await ports.hot.load_opens(node, seen)) for node in nodes]

    assert run_on_virtual_time(work) == [OVERLAP_BARS] * count


def test_a_node_looks_over_a_joint_of_two_symbols_inside_a_chunk() -> None:
    market = LiveMarket()
    joint = START + 2 * HOUR
    old = Alias("OLD/USDT", to=joint)
    market.exchange.series[replace(NODE, symbol="OLD/USDT")] = market.exchange.series[NODE]
    policy = replace(POLICY, aliases={(NODE.exchange, NODE.symbol): (old,)})
    ports = replace(market.process(), policy=policy)
    seen = Segment(joint - 2 * 60, joint + EDGE_BARS * 60)
    before, after = pieces(ports, NODE, seen)
    assert before.chunk == after.chunk

    async def work() -> int:
        await look(ports, over_the_edge(ports, NODE, joint))
        return len(await ports.hot.load_opens(NODE, seen))

    assert run_on_virtual_time(work) == 2 + EDGE_BARS
