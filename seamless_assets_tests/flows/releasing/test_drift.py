"""A sample of released bars asked anew: what differs is counted, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.ports import embedded_ports

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.aliases import Alias
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeUnavailable, NothingReleased
from seamless_assets.flows.releasing.drift import sample_drift
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
Bars = dict[int, tuple[float, ...]]


def change(bars: Bars) -> None:
    o, h, low, c, v = bars[START + 300 * 60]
    bars[START + 300 * 60] = (o, h, low, c, v + 1)


def remove(bars: Bars) -> None:
    del bars[START + 300 * 60]


def nothing(bars: Bars) -> None:
    """Leave all as it is."""


CASES: dict[str, tuple[Callable[[Bars], None], tuple[int, int, int]]] = {
    "the same": (nothing, (0, 0, 0)),
    "one changed": (change, (0, 0, 1)),
    "one gone": (remove, (0, 1, 0)),
}


@pytest.mark.parametrize("case", list(CASES))
async def test_what_differs_from_what_is_released_is_counted(case: str, tmp_path: Path) -> None:
    spoil, counts = CASES[case]
    exchange = InMemoryExchange(
        random_walk(START, START + DAY, skip=0.2), ManualClock(), page=2000, believed_page=2000
    )
    exchange.bars.setdefault(START + 300 * 60, (100.0, 101.0, 99.0, 100.0, 1.0))
    world = embedded_ports(tmp_path, exchange)
    assert (await materialize(world, NODE, Segment(START, START + DAY))).released
    spoil(exchange.bars)
    before, asked = await world.artifacts.list_releases(NODE), len(exchange.asked)
    sample = await sample_drift(world, NODE, bars=1440)
    found = sample.revision
    assert (found.added, found.removed, found.changed) == counts
    assert sample.is_stable is (case == "the same") and sample.partition == "2025-01-01"
    assert len(exchange.asked) == asked + 1
    assert await world.artifacts.list_releases(NODE) == before


async def test_a_page_is_no_larger_than_the_exchange_sends_and_what_is_out_of_reach_says_nothing(
    tmp_path: Path,
) -> None:
    exchange = InMemoryExchange(random_walk(START, START + DAY), ManualClock(), page=10)
    world = embedded_ports(tmp_path, exchange)
    assert (await materialize(world, NODE, Segment(START, START + DAY))).released
    assert (await sample_drift(world, NODE)).bars == 10
    exchange.bars.clear()
    gone = await sample_drift(world, NODE)
    assert gone.bars == 0 and gone.compared.is_empty and gone.is_stable


async def test_without_a_release_or_an_answer_there_is_no_sample(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START, START + DAY), ManualClock())
    world = embedded_ports(tmp_path, exchange)
    with pytest.raises(NothingReleased, match="materialize it first"):
        await sample_drift(world, NODE)
    await materialize(world, NODE, Segment(START, START + DAY))
    exchange.is_away = True
    with pytest.raises(ExchangeUnavailable):
        await sample_drift(world, NODE)


@pytest.mark.parametrize("is_of_trades", [False, True])
async def test_bars_of_a_symbol_before_the_own_one_are_held_against_that_symbol(
    tmp_path: Path, is_of_trades: bool
) -> None:
    node, old, joint = NodeId.parse("ohlcv:binance:POL/USDT:1m"), "MATIC/USDT", START + DAY // 2
    walk = random_walk(START - 3_600, START + DAY + 3_600)
    doubled: Bars = {ts: (*(2 * price for price in bar[:4]), bar[4]) for ts, bar in walk.items()}
    sources = {node: doubled, NodeId(node.exchange, old, node.timeframe): walk}
    exchange = InMemoryExchange(clock=ManualClock(START + 3 * DAY), page=2000, believed_page=2000)
    if is_of_trades:
        exchange.tape = {
            one: [(ts + 1.0, bar[3], bar[4]) for ts, bar in held.items()] for one, held in sources.items()
        }
        exchange.trades_page = 1_000
    else:
        exchange.series = sources
    policy = Policy(
        retry_backoff_ms=10,
        aliases={(node.exchange, node.symbol): (Alias(old, joint, 10.0),)},
        made_of_trades=frozenset({node} if is_of_trades else ()),
    )
    world = embedded_ports(tmp_path, exchange, policy)
    assert (await materialize(world, node, Segment(START, START + DAY))).released
    samples = [await sample_drift(world, node, bars=300) for _ in range(12)]
    assert all(sample.is_stable and sample.bars for sample in samples)
    assert {sample.compared.start < joint for sample in samples} == {True, False}
    assert not any(sample.compared.start < joint < sample.compared.end for sample in samples)
    if not is_of_trades:
        change(walk)
        assert (await sample_drift(world, node, bars=1440)).revision.changed == 1
