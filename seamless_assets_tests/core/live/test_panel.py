"""Ticks put together of events that wait: what covers several bar times is told of each of them."""

from __future__ import annotations

from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import Place, read_cursor
from seamless_assets.core.live.events import Bar, Event, Gap
from seamless_assets.core.live.panel import LATE, Panel
from seamless_assets.core.live.position import Position
from seamless_assets.core.node import NodeId

FAST, SLOW = (NodeId.parse(f"ohlcv:binance:{name}/USDT:1m") for name in ("C0", "C1"))
BEGIN = {str(FAST): Position.begin(0), str(SLOW): Position.begin(0)}


def bar(node: NodeId, ts: int, gaps: tuple[Hole, ...] = ()) -> Bar:
    name, end = str(node), ts + 60
    place = Place(BEGIN, name, Position(end, gaps, since=0))
    values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    return Bar(node_id=name, place=place, ts=ts, end=end, **values, source="hot_store", evidence="stored")


def gap(node: NodeId, start: int, end: int) -> Gap:
    name, reason = str(node), "no_trades"
    place = Place(BEGIN, name, Position(end, (Hole(start, end, reason),), since=0))
    return Gap(node_id=name, place=place, start=start, end=end, reason=reason, evidence="proven")


def test_a_gap_over_bar_times_that_were_late_is_told_of_these_too() -> None:
    panel = Panel([FAST, SLOW], BEGIN)
    for ts in range(0, 300, 60):
        panel.add(bar(FAST, ts), ts)
    assert [panel.tick().missing for _ in range(2)] == [{str(SLOW): LATE}] * 2
    panel.add(gap(SLOW, 0, 240), 240)
    panel.add(bar(SLOW, 240, (Hole(0, 240, "no_trades"),)), 300)
    third, fourth, fifth = (panel.tick() for _ in range(3))
    before: list[Event] = [gap(SLOW, 0, 120)]
    assert list(third.late) == before and not fourth.late and not fifth.late
    assert third.missing == fourth.missing == {str(SLOW): "no_trades"}
    assert fifth.bars.keys() == {str(FAST), str(SLOW)}
    told = read_cursor(third.cursor, map(str, (FAST, SLOW)))[str(SLOW)]
    assert (told.upto, told.gaps) == (180, (Hole(0, 180, "no_trades"),))
