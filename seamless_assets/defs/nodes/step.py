"""One step over many nodes: they run side by side in one event loop, and each fails on its own."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeError, ExchangeUnavailable
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.wiring.log import log_context

_DONE = object()


@dataclass
class NodeOutcome:
    """What became of one node in a step: a report for each partition, and the error that ended it early."""

    node: NodeId
    reports: list[PartitionReport] = field(default_factory=list)
    error: ExchangeError | None = None

    @property
    def problems(self) -> list[str]:
        """What went wrong, in sentences."""
        problems = [problem for report in self.reports for problem in report.problems]
        return [*problems, str(self.error)] if self.error else problems

    @property
    def released(self) -> list[PartitionReport]:
        """The reports of the partitions that are released."""
        return [report for report in self.reports if report.released]

    @property
    def passed(self) -> bool:
        """Whether everything settled is released."""
        return self.error is None and all(report.released for report in self.reports if report.is_settled)

    @property
    def is_complete(self) -> bool:
        """Whether all was answered and every partition is released, none without settled bars among them."""
        is_answered = self.error is None and self.away is None
        return is_answered and bool(self.reports) and all(report.released for report in self.reports)

    @property
    def away(self) -> ExchangeUnavailable | None:
        """Why the exchange gave no answer, be it that what was known is released all the same."""
        if isinstance(self.error, ExchangeUnavailable):
            return self.error
        return next((report.away for report in self.reports if report.away), None)


def materialize_nodes(
    pipeline: Seamless, nodes: Sequence[NodeId], window: Segment, run_id: str
) -> Iterator[tuple[NodeId, PartitionReport] | NodeOutcome]:
    """Materialize all nodes at once; yield each partition's report as it comes, and a node when it is done.

    What is logged of it names the run. An exchange's error ends its node alone. Raises whatever else ends
    one, and then stops the others.
    """
    news: queue.SimpleQueue[tuple[NodeId, Any]] = queue.SimpleQueue()

    async def materialize(node: NodeId) -> None:
        try:
            async for report in pipeline.aio.materialize_each(node, *window):
                news.put((node, report))
        except BaseException as error:
            news.put((node, error))
            raise
        news.put((node, _DONE))

    async def materialize_all() -> None:
        await asyncio.gather(*map(materialize, nodes), return_exceptions=True)

    with log_context(run=run_id):
        under_way = pipeline.aio.portal.start(materialize_all())
    try:
        yield from _collect(nodes, news)
    finally:
        under_way.cancel()


def _collect(
    nodes: Sequence[NodeId], news: queue.SimpleQueue[tuple[NodeId, Any]]
) -> Iterator[tuple[NodeId, PartitionReport] | NodeOutcome]:
    outcomes = {node: NodeOutcome(node) for node in nodes}
    left = set(nodes)
    while left:
        node, what = news.get()
        outcome = outcomes[node]
        if isinstance(what, PartitionReport):
            outcome.reports.append(what)
            yield node, what
            continue
        if isinstance(what, ExchangeError):
            outcome.error = what
        elif isinstance(what, BaseException):
            raise what
        left.remove(node)
        yield outcome
