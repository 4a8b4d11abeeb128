"""The last so many bars: those that do not exist are none of them, whoever reads and whatever is stored."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seamless_assets as sa
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import UNBOUNDED
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.reading import blended, published
from seamless_assets.flows.reading.read import read
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    VirtualClock,
    connect_in_memory,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = "ohlcv:binance:BTC/USDT:1h"
HOUR = 3_600
RELEASED_TO, NOW = START + 31 * DAY, START + 45 * DAY
PATIENT: dict[str, Any] = {
    **dict.fromkeys(
        ("max_wait_storage_ms", "max_wait_backfill_ms", "max_wait_live_ms", "total_deadline_ms"), 600_000
    ),
    "max_sync_gap_bars": 10_000,
}
Opened = tuple[sa.Seamless, list[int], str]


@pytest.fixture(scope="module", params=[0.3, 0.9])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """A pipeline over a series that lacks such a share of its bars, whose first month is released."""
    bars = random_walk(START, NOW, HOUR, skip=request.param)
    with connect_in_memory(InMemoryExchange.serving({NODE: bars}, now=NOW)) as pipeline:
        as_of = pipeline.materialize(NODE, START, RELEASED_TO).as_of
        assert as_of is not None
        yield pipeline, sorted(bars), as_of


def last_of(opened: Opened, domain: Any, strategy: str | None, limit: int, end: int) -> sa.ReadResult:
    pipeline, _, as_of = opened
    lag = {"max_lag": 1e12} if domain == "live" else {"as_of": as_of}
    context = sa.ComputeContext(f"{strategy} {limit} {end}", domain, **lag) if domain else None
    return pipeline.read(NODE, None, end, context, strategy, PATIENT, limit=limit)


def judge(opened: Opened, result: sa.ReadResult, limit: int, end: int) -> None:
    opens = opened[1]
    expected = opens[: bisect_left(opens, end)][-limit:]
    assert timestamps(result.bars).tolist() == expected
    known = result.metadata
    assert (known.verdict, known.rows, known.end) == ("PASS", len(expected), end)
    assert known.start <= expected[0]


@pytest.mark.parametrize("limit", [1, 300])
@pytest.mark.parametrize(
    ("domain", "strategy"),
    [(None, None), ("backtest", None), ("dryrun", "FAIL_FAST"), ("live", "FAIL_FAST")],
)
def test_the_last_released_bars_are_as_many_as_are_asked_for(
    opened: Opened, domain: Any, strategy: str | None, limit: int
) -> None:
    for end in (RELEASED_TO, RELEASED_TO - 5 * HOUR):
        for _ in range(2):  # and again, of what is at hand
            judge(opened, last_of(opened, domain, strategy, limit, end), limit, end)


@pytest.mark.parametrize(
    ("domain", "strategy"),
    [("live", "AUTO_BACKFILL"), ("live", "SEAMLESS"), ("dryrun", "SEAMLESS"), (None, "AUTO_BACKFILL")],
)
def test_what_a_fill_proves_not_to_exist_is_made_up_for_by_earlier_bars(
    opened: Opened, domain: Any, strategy: str
) -> None:
    for limit, end in ((7, NOW - 200 * HOUR), (300, NOW - 10 * HOUR)):
        judge(opened, last_of(opened, domain, strategy, limit, end), limit, end)


@settings(max_examples=30)
@given(
    st.sets(st.integers(0, 400)), st.sets(st.integers(0, 400), max_size=5), st.integers(1, 60), st.booleans()
)
def test_a_window_is_found_that_holds_the_last_bars_that_may_exist(
    absent: set[int], missing: set[int], limit: int, by_month: bool
) -> None:
    frame = Timeframe("1M" if by_month else "1h")
    first = frame.ceil(0)
    opens = [frame.shift(first, n) for n in range(401)]
    end = frame.shift(opens[-1], 1)
    may_exist = [ts for n, ts in enumerate(opens) if n not in absent]
    there = np.array([ts for n, ts in enumerate(opens) if n not in absent | missing], dtype=np.int64)
    proofs = [Gap(opens[n], frame.shift(opens[n], 1), "no_trades") for n in sorted(absent)]
    request = ReadRequest.parse(
        NodeId("binance", "BTC/USDT", frame), None, end, limit=limit, default_sla=UNBOUNDED
    )
    window, looks = request.window(first, end), 0
    while True:
        known = coverage_of(frame, window, there, proofs)
        wider = request.last_window(window, known, first)
        if wider == window:
            break
        window, looks = wider, looks + 1
    assert looks < 20 and window.end == end
    if known.absent:
        assert window.start == (may_exist[-limit] if len(may_exist) >= limit else first)
    else:
        assert window == Segment(opens[-limit], end)
    fixed = ReadRequest.parse(NODE, first, end, limit=limit, default_sla=UNBOUNDED)
    assert fixed.last_window(Segment(first, end), known, first) == Segment(first, end)


@pytest.mark.parametrize("domain", ["live", "dryrun"])
def test_a_longer_look_that_is_cut_leaves_what_was_found_before(
    domain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer bars than were asked for, and the cut told, are better than none."""
    module, name = (blended, "gather_blended") if domain == "live" else (published, "load_released")
    original, looks = getattr(module, name), count(1)

    async def slow_later(*arguments: Any) -> Any:
        if next(looks) > 1:
            await asyncio.sleep(10)
        return await original(*arguments)

    async def work() -> ReadResult:
        clock = VirtualClock(NOW)
        exchange = InMemoryExchange.serving({NODE: random_walk(START, NOW, HOUR, skip=0.5)}, now=NOW)
        exchange.clock = clock
        ports = in_memory_ports(exchange, clock=clock)
        node = NodeId.parse(NODE)
        await backfill(ports, node, Segment(START, NOW))
        report = await materialize(ports, node, Segment(START, RELEASED_TO))
        lag = {"max_lag": 1e12} if domain == "live" else {"as_of": report.as_of}
        request = ReadRequest.parse(
            node,
            None,
            RELEASED_TO,
            context=sa.ComputeContext(domain=domain, **lag),
            strategy="FAIL_FAST",
            sla={**PATIENT, "max_wait_storage_ms": 500, "on_violation": "PARTIAL_FILL"},
            default_sla=UNBOUNDED,
            limit=50,
        )
        monkeypatch.setattr(module, name, slow_later)
        return await read(ports, request)

    found = run_on_virtual_time(work)
    assert 0 < found.metadata.rows < 50 or (domain == "dryrun" and found.metadata.rows == 50)
    assert "storage_wait" in found.metadata.sla["violations"]
