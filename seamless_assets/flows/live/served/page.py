"""A page of candles of a node as it is known now: released, hot, and filled on demand for all who ask."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.bars.table import between
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.page import PageEvidence, PageJudgement, judge_page
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import admit
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.gathered import Source
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.core.sharing.events import ReadEvent
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.blended import read_blended
from seamless_assets.flows.reading.deadline import Deadline

WORLD = "dialects"
"""The world that these reads are counted under."""
CONTEXT = ComputeContext(WORLD, "live")


@dataclass(frozen=True, slots=True)
class LivePage:
    """The bars of a page, the release that it stands on (`seq` 0 for none), and the verdict on it."""

    bars: pa.Table
    seq: int
    as_of: str | None
    dataset_fingerprint: str | None
    source: Source
    judgement: PageJudgement


async def load_page(
    ports: Ports, node: NodeId, window: Segment, now: float, sla: SLAPolicy, *, is_newest: bool
) -> LivePage:
    """The bars of `window`, which have closed by `now`, once what is missing is filled or its time is over.

    What is filled, and when, is what the settings' strategy says of a live read; no session is judged by it.
    """
    admission, deadline = admit(CONTEXT, None, ports.reading), Deadline(sla)
    if admission.asks_exchange:
        ports.fills.look_after_others(ports)
    request = ReadRequest.parse(node, *window, context=CONTEXT, default_sla=sla)
    snapshot = await ports.artifacts.load_snapshot(node)
    gathered, problems = await read_blended(ports, request, admission, window, snapshot, deadline)
    report = deadline.report()
    evidence = PageEvidence(
        node.timeframe, window, gathered.coverage.gaps, now, is_newest, problems, report.violations
    )
    judgement = judge_page(evidence, ports.reading)
    bars = between(gathered.bars, window.start, judgement.until)
    ports.observer.notify(
        ReadEvent(
            node_id=str(node),
            world_id=WORLD,
            domain="live",
            verdict=judgement.verdict,
            phases=report.taken_ms,
            violations=report.violations,
            deadline_ms=sla.total_deadline_ms,
            coverage_ratio=gathered.coverage.ratio,
            rows=bars.num_rows,
            staleness_seconds=None,
        )
    )
    newest = snapshot.release
    seq, as_of = (newest.seq, newest.as_of) if newest else (0, None)
    return LivePage(bars, seq, as_of, snapshot.dataset_fingerprint, gathered.source, judgement)
