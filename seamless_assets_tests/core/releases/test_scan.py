"""Runs say of holes what counting the bars would say, whatever the window and wherever artifacts meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.artifacts import sealed

from seamless_assets.core.bars.table import BARS_SCHEMA, between
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap, coverage_of
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.scan import gaps_within, scan_of
from seamless_assets.testing import START

MINUTE = Timeframe("1m")
PARTS, BARS = 4, 6
REASONS = ("", "no_trades", "outage", MISSING)
"""What a bar is: present, or not there for a reason."""
MANIFEST = sealed(2).manifest


def part(number: int, bars: list[str]) -> tuple[Manifest, pa.Table]:
    """The manifest and bars of one of the adjoining artifacts."""
    start = START + number * BARS * 60
    opens = [start + at * 60 for at in range(BARS)]
    ts = np.array([ts for ts, reason in zip(opens, bars, strict=True) if not reason], dtype=np.int64)
    known = [Gap(ts, ts + 60, why) for ts, why in zip(opens, bars, strict=True) if why not in ("", MISSING)]
    window = Segment(start, start + BARS * 60)
    gaps = coverage_of(MINUTE, window, ts, known).gaps
    manifest = replace(
        MANIFEST,
        range=(window.start, window.end),
        absent=tuple(gap for gap in gaps if gap.reason != MISSING),
        missing=tuple(gap for gap in gaps if gap.reason == MISSING),
        conformance_flags={"gap": 1},
    )
    table = pa.table([ts, *[np.zeros(len(ts))] * 5], BARS_SCHEMA.names).cast(BARS_SCHEMA)
    return manifest, table


@given(
    st.lists(
        st.lists(st.sampled_from(REASONS), min_size=BARS, max_size=BARS), min_size=PARTS, max_size=PARTS
    ),
    st.tuples(st.integers(0, PARTS * BARS), st.integers(0, PARTS * BARS)).map(sorted),
)
def test_coverage_of_a_run_is_that_of_its_bars(world: list[list[str]], bounds: list[int]) -> None:
    parts = [part(number, bars) for number, bars in enumerate(world)]
    manifests, tables = zip(*parts, strict=True)
    scan = scan_of(manifests, pa.concat_tables(tables))
    window = Segment(START + bounds[0] * 60, START + bounds[1] * 60)
    bars = between(scan.bars, *window)
    gaps = gaps_within(scan.gaps, window)
    every = [gap for manifest, _ in parts for gap in manifest.absent]
    expected = coverage_of(MINUTE, window, scan.bars["ts"].to_numpy(), every)
    absent, missing = (
        sum((gap.end - gap.start) // 60 for gap in gaps if (gap.reason == MISSING) is is_missing)
        for is_missing in (False, True)
    )
    found = Coverage(bounds[1] - bounds[0], bars.num_rows, absent, missing, gaps)
    assert found == expected
    assert scan.flags == {"gap": PARTS}
