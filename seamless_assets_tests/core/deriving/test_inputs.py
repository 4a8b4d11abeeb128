"""Which derived bars are absent and which missing, and what makes the content of an input another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.deriving.inputs import DerivationInput, derived_gaps
from seamless_assets.core.node import NodeId
from seamless_assets.testing import START, make_bars

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
HOUR = Timeframe.parse("1h")
WINDOW = Segment(START, START + 4 * 3600)


def an_input(
    *gaps: tuple[int, int, str], node: NodeId = NODE, ends: int = 240, begins: int = 0
) -> DerivationInput:
    """An input with gaps, read from `begins` up to `ends`, all in minutes."""
    read = Segment(START + 60 * begins, START + 60 * ends)
    return DerivationInput.of(
        node,
        read,
        make_bars(*read),
        [Gap(START + 60 * start, START + 60 * end, reason) for start, end, reason in gaps],
        conformance_version="v2",
        as_of="2025-02-01T00:00:00Z",
        dataset_fingerprint="sha256:" + "0" * 64,
    )


CASES = {
    "all of its time is proven absent": ([an_input((0, 60, "no_trades"))], "no_trades"),
    "by several gaps, the first of which names the reason": (
        [an_input((0, 30, "outage"), (30, 60, "no_trades"))],
        "outage",
    ),
    "a longer gap": ([an_input((0, 90, "halted"))], "halted"),
    "one bar of it is there": ([an_input((0, 59, "no_trades"))], "missing"),
    "one bar of it is missing": ([an_input((0, 59, "no_trades"), (59, 60, "missing"))], "missing"),
    "nothing is known to be away": ([an_input()], "missing"),
    "absent in both inputs": ([an_input((0, 60, "outage")), an_input((0, 60, "no_trades"))], "outage"),
    "absent in one of two": ([an_input((0, 60, "outage")), an_input()], "missing"),
    "no input at all": ([], "missing"),
    "a part of it is out of retention": (
        [an_input((0, 30, "no_trades"), (30, 60, "retention"))],
        "retention",
    ),
    "it is out of retention in the second": (
        [an_input((0, 60, "no_trades")), an_input((0, 60, "retention"))],
        "retention",
    ),
}
NEEDS_ALL = {
    "absent in one of two": ([an_input(), an_input((0, 60, "outage"))], "outage"),
    "absent in both": ([an_input((0, 60, "halted")), an_input((0, 60, "outage"))], "halted"),
    "the other is missing": ([an_input((0, 60, "missing")), an_input((0, 60, "outage"))], "missing"),
    "a part of the other is missing": (
        [an_input((59, 61, "missing")), an_input((0, 60, "outage"))],
        "missing",
    ),
    "the other is out of retention": (
        [an_input((0, 60, "outage")), an_input((0, 60, "retention"))],
        "retention",
    ),
    "one is out of retention": ([an_input(), an_input((0, 60, "retention"))], "missing"),
    "both are there": ([an_input(), an_input()], "missing"),
    "absent in a part of it": ([an_input(), an_input((0, 59, "outage"))], "missing"),
    "the other was not read": ([an_input(ends=0), an_input((0, 60, "outage"))], "missing"),
    "the other was read in part": ([an_input(ends=59), an_input((0, 60, "outage"))], "missing"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_bar_is_absent_where_every_input_proves_all_of_its_time_so(case: str) -> None:
    inputs, reason = CASES[case]
    opens = np.arange(START + 3600, WINDOW.end, 3600)
    assert derived_gaps(HOUR, WINDOW, opens, inputs) == (Gap(START, START + 3600, reason),)


@pytest.mark.parametrize("case", list(NEEDS_ALL))
def test_a_bar_that_needs_all_inputs_is_absent_where_one_is_and_nothing_is_unknown(case: str) -> None:
    inputs, reason = NEEDS_ALL[case]
    opens = np.arange(START + 3600, WINDOW.end, 3600)
    found = derived_gaps(HOUR, WINDOW, opens, inputs, needs_all=True)
    assert found == (Gap(START, START + 3600, reason),)


HELD = {
    "absent for as long as it is looked for": ((-1, 0, "no_trades"), (0, 60, "no_trades"), "no_trades"),
    "a bar before it is missing": ((-60, 0, "missing"), (0, 60, "no_trades"), "missing"),
    "a bar before it is out of retention": ((-60, 0, "retention"), (0, 60, "no_trades"), "missing"),
    "one just out of reach is missing": ((-121, -120, "missing"), (0, 60, "no_trades"), "no_trades"),
}


@pytest.mark.parametrize("case", list(HELD))
def test_a_bar_that_no_close_stands_in_for_is_absent_where_nothing_before_it_is_unknown(case: str) -> None:
    before, own, reason = HELD[case]
    inputs = [an_input(begins=-180), an_input(before, own, begins=-180)]
    found = derived_gaps(
        HOUR, WINDOW, np.arange(START + 3600, WINDOW.end, 3600), inputs, needs_all=True, held_bars=2
    )
    assert found == (Gap(START, START + 3600, reason),)


def test_adjoining_holes_of_one_reason_are_one_gap() -> None:
    inputs = [an_input((0, 120, "no_trades"), (120, 180, "outage"))]
    found = derived_gaps(HOUR, WINDOW, np.array([START + 3 * 3600]), inputs)
    assert found == (Gap(START, START + 7200, "no_trades"), Gap(START + 7200, START + 10800, "outage"))
    assert derived_gaps(HOUR, WINDOW, np.arange(*WINDOW, 3600), inputs) == ()


def test_content_is_bars_and_gaps_and_not_who_released_them_when() -> None:
    one = an_input((3, 5, "no_trades")).version
    later = replace(one, as_of="2025-03-01T00:00:00Z", dataset_fingerprint="sha256:" + "1" * 64)
    assert later.content == one.content
    assert an_input((3, 4, "no_trades"), (4, 5, "no_trades")).version.content == one.content
    assert an_input((3, 5, "missing")).version.content != one.content
    assert an_input((3, 6, "no_trades")).version.content != one.content
    other = NodeId.parse("ohlcv:binance:ETH/USDT:1m")
    assert an_input((3, 5, "no_trades"), node=other).version.content != one.content
