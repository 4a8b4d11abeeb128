"""The candle that forms, as a stream tells it."""

from __future__ import annotations

import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.forming import FormingCandle
from seamless_assets.core.live.feed.update import CandleUpdate

T = 1_736_553_600
VALUES = (2.0, 4.0, 1.0, 3.0, 5.0)


def update(
    ts: int = T, close: float = 3.0, connection: int = 1, *, is_closed: bool = False, low: float = 1.0
) -> CandleUpdate:
    return CandleUpdate(ts, (2.0, 4.0, low, close, 5.0), connection, 1, is_closed)


@pytest.fixture
def forming() -> FormingCandle:
    return FormingCandle(Timeframe("1m"))


def test_it_is_the_newest_word_until_its_bar_has_closed(forming: FormingCandle) -> None:
    assert forming.at(T) is None
    for close in (3.0, 3.5):
        forming.hear(update(close=close), T + 60, "candles")
    assert forming.at(T) == forming.at(T + 59.9) == update(close=3.5)
    assert forming.at(T - 0.1) is None and forming.at(T + 60) is None
    forming.hear(update(T + 60), T + 60, "candles")
    assert forming.at(T) is None and forming.at(T + 60) == update(T + 60)


def test_one_that_is_closed_forms_no_more(forming: FormingCandle) -> None:
    forming.hear(update(), T + 60, "candles")
    forming.hear(update(is_closed=True), T + 60, "candles")
    assert forming.at(T + 1) is None


@pytest.mark.parametrize(
    "odd",
    [
        update(T - 60),
        update(T + 7),
        update(T + 120),
        update(low=9.0),
        update(close=float("nan")),
        update(close=3.5, connection=0),
        update(T + 60, connection=0),
    ],
)
def test_what_is_older_or_cannot_be_changes_nothing(forming: FormingCandle, odd: CandleUpdate) -> None:
    forming.hear(update(), T + 60, "candles")
    forming.hear(odd, T + 60, "candles")
    assert forming.at(T + 1) == update()


def test_after_a_connection_that_ended_nothing_is_known(forming: FormingCandle) -> None:
    forming.hear(update(), T + 60, "candles")
    forming.forget()
    assert forming.at(T + 1) is None


def test_of_trades_the_first_candle_of_a_connection_is_not_known_whole(forming: FormingCandle) -> None:
    for connection, first in ((1, T), (2, T + 120)):
        for ts in (first, first, first + 60):
            forming.hear(update(ts, connection=connection), ts, "trades")
            assert (forming.at(ts) is None) == (ts == first)


@pytest.mark.parametrize("odd", [update(T + 6_000, connection=2), update(low=9.0, connection=2)])
def test_of_trades_a_first_word_that_cannot_be_hides_no_later_candle(
    forming: FormingCandle, odd: CandleUpdate
) -> None:
    for one in (odd, update(T - 60, connection=2), update(connection=2)):
        forming.hear(one, T, "trades")
    assert forming.at(T + 1) == update(connection=2)
