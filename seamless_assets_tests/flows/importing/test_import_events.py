"""What an import mends in files is counted once, and what it does not change is not counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.imports.bars import ImportedBars
from seamless_assets.core.imports.rows import Source
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import ImportEvent
from seamless_assets.errors import RevisionsUnconfirmed
from seamless_assets.flows.importing.ingest import ingest
from seamless_assets.flows.importing.plan import IngestRequest
from seamless_assets.metrics.recording import samples
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, make_bars

NODE = NodeId.parse("ohlcv:kraken:BTC/USD:1h")
WINDOW = Segment(START, START + 40 * DAY)
FLAGS = {"duplicate_ts": 3, "ts_cast": 960}


def request(*, is_dry_run: bool = False, seed: int = 1) -> IngestRequest:
    """Bars of two months from one file."""
    source = Source("file.csv", "5" * 64, 1)
    bars = make_bars(*WINDOW, "1h", seed=seed)
    imported = ImportedBars(bars, WINDOW, FLAGS, 963, 0, ((source, WINDOW),))
    return IngestRequest(
        imported, is_complete=False, confirms=False, is_dry_run=is_dry_run, by="ann", note=""
    )


def counted(events: list[Any]) -> Counter[tuple[str, str]]:
    """What all events add to the metrics of conformance, by metric and flag."""
    found: Counter[tuple[str, str]] = Counter()
    for sample in (sample for event in events for sample in samples(event)):
        if sample.metric.startswith("seamless_conformance"):
            assert sample.labels[:2] == (str(NODE), "3600")
            found[sample.metric, sample.labels[-1]] += int(sample.value)
    return found


async def test_what_was_mended_in_files_counts_once_whatever_is_imported_again() -> None:
    exchange = InMemoryExchange(series={NODE: {}}, clock=ManualClock(WINDOW.end + DAY))
    ports = in_memory_ports(exchange)
    observer: Any = ports.observer
    await ingest(ports, NODE, request(is_dry_run=True))
    assert counted(observer.events) == {}
    assert (await ingest(ports, NODE, request())).released
    once = counted(observer.events)
    assert once == {
        **{("seamless_conformance_flag_total", flag): count for flag, count in FLAGS.items()},
        # That of the file; a cast is none, and neither partition has any of its own.
        ("seamless_conformance_warning_total", ""): 1,
    }
    (told,) = (event for event in observer.events if isinstance(event, ImportEvent))
    assert (told.start, told.end, told.rows, told.added, told.by) == (*WINDOW, 963, 960, "ann")
    assert (await ingest(ports, NODE, request())).release is None
    with pytest.raises(RevisionsUnconfirmed):
        await ingest(ports, NODE, request(seed=2))
    assert counted(observer.events) == once
