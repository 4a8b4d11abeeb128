"""Candles of trades: as the exchange writes them, whatever the trades' order."""

from __future__ import annotations

from itertools import permutations

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.trades import REMEMBERED, Trade, TradeCandles

FRAME = Timeframe("1m")
T = 1_735_711_200
TRADES = [
    Trade("1", T + 1.0, 10.0, 0.1),
    Trade("2", T + 2.0, 12.0, 0.2),
    Trade("3", T + 59.9, 11.0, 0.3),
    Trade("4", T + 60.0, 9.0, 1.5),
]


def test_amounts_are_added_as_they_were_written() -> None:
    updates = TradeCandles(FRAME).add(TRADES, 1, 1)
    assert [(one.ts, one.values) for one in updates] == [
        (T, (10.0, 12.0, 10.0, 11.0, 0.6)),
        (T + 60, (9.0, 9.0, 9.0, 9.0, 1.5)),
    ]
    assert 0.1 + 0.2 + 0.3 != 0.6
    assert {(one.connection, one.message, one.is_closed) for one in updates} == {(1, 1, None)}


def test_trades_in_any_order_and_sent_again_make_the_same_candle() -> None:
    for order in permutations(TRADES[:3]):
        candles = TradeCandles(FRAME)
        updates = [candles.add([trade], 1, number) for number, trade in enumerate([*order, *order])]
        assert [len(each) for each in updates] == [1, 1, 1, 0, 0, 0]
        assert updates[2][0].values == (10.0, 12.0, 10.0, 11.0, 0.6)


def test_a_new_connection_begins_its_candles_anew() -> None:
    candles = TradeCandles(FRAME)
    candles.add(TRADES[:2], 1, 1)
    (update,) = candles.add(TRADES[2:3], 2, 2)
    assert update.values == (11.0, 11.0, 11.0, 11.0, 0.3)
    assert update.connection == 2


def test_what_is_remembered_is_bounded() -> None:
    candles = TradeCandles(FRAME)
    for number in range(2 * REMEMBERED):
        candles.add([Trade(str(number), T + number, 1.0, 1.0)], 1, number)
    assert len(candles._seen) == REMEMBERED
    assert len(candles._candles) <= 3
