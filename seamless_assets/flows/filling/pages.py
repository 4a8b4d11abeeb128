"""Asking an exchange for the pages of a window, until nothing is left that a page could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page, closed_part, known_opens, merged_candles, unwitnessed
from seamless_assets.core.coverage.plan import learned_page_size, may_be_cut, pages_over, probe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, MisalignedTimeframe
from seamless_assets.flows.ports import Facts, Ports
from seamless_assets.flows.sharing.retry import with_retries
from seamless_assets.flows.sharing.tracing import traced

MAX_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What is asked of an exchange: `wanted` ranges inside `bounds`, all of it closed by `closed`."""

    node: NodeId
    wanted: Sequence[Segment]
    bounds: Segment
    closed: int


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A page that did not come, and why; `away` is None where the exchange is there and serves others."""

    window: Segment
    reason: str
    away: ExchangeUnavailable | None = None


@dataclass
class Answers:
    """What came so far: pages, and the windows of pages that failed or were refused, with the reason."""

    pages: list[Page] = field(default_factory=list)
    failed: dict[Segment, str] = field(default_factory=dict)
    refused: dict[Segment, str] = field(default_factory=dict)
    away: ExchangeUnavailable | None = None

    def add(self, answer: Page | NoAnswer) -> None:
        """Keep an answer; a page that was refused is an empty one, which proves nothing."""
        if isinstance(answer, Page):
            self.pages.append(answer)
        elif answer.away is None:
            self.refused[answer.window] = answer.reason
            self.pages.append(Page(answer.window, empty_bars(), served=0))
        else:
            self.failed[answer.window] = answer.reason
            self.away = self.away or answer.away

    def why_missing(self, part: Segment) -> str | None:
        """What the exchange said where it was asked for `part` and gave no page."""
        said = [*self.failed.items(), *self.refused.items()]
        return next((reason for window, reason in said if not window.intersect(part).is_empty), None)

    def is_unanswered(self, part: Segment) -> bool:
        """Whether the exchange gave no answer at all where it was asked for `part`."""
        return any(not window.intersect(part).is_empty for window in self.failed)

    @property
    def candles(self) -> pa.Table:
        """The candles of all pages, in no order."""
        return merged_candles(self.pages) if self.pages else empty_bars()


async def ask_pages(ports: Ports, request: FetchRequest, wanted: Sequence[Segment], answers: Answers) -> None:
    """Ask for pages over `wanted`, then for what they leave open, round by round."""
    size = ports.source.page_size(request.node)
    asking = pages_over(wanted, request.node.timeframe, size, request.closed)
    tried: set[Segment] = set()
    for _ in range(MAX_ROUNDS):
        tried.update(asking)
        refusals = len(answers.refused)
        for answer in await gather(_ask(ports, request, page) for page in asking):
            answers.add(answer)
        learned = _learn_page_size(ports, request.node, answers.pages)
        left = unwitnessed(answers.pages, wanted, request.node.timeframe)
        asking = [
            page
            for page in _next_pages(request, answers.pages, left, learned, learned < size)
            if page not in tried
        ]
        size = learned
        if not asking or answers.failed or len(answers.refused) > refusals:
            break


def _next_pages(
    request: FetchRequest, pages: Sequence[Page], left: Sequence[Segment], size: int, has_shrunk: bool
) -> list[Segment]:
    """What to ask next for the ranges that are `left`: smaller pages, or pages around each hole."""
    frame, closed = request.node.timeframe, request.closed
    if has_shrunk:
        return pages_over(left, frame, size, closed)
    known = known_opens(pages, frame)
    open_ones = (hole for hole in left if hole.end < closed or may_be_cut(pages, hole))
    around = (probe(hole, known, frame, size, closed) for hole in open_ones)
    return list(dict.fromkeys(page for page in around if page is not None))


def _facts(request: FetchRequest, window: Segment) -> Facts:
    return {"node_id": str(request.node), "start": window.start, "end": window.end}


@traced("seamless.fetch", _facts)
async def _ask(ports: Ports, request: FetchRequest, window: Segment) -> Page | NoAnswer:
    node = request.node
    try:
        page = await with_retries(ports, lambda: ports.source.fetch_candles(node, window))
        return closed_part(page, node.timeframe, request.closed)
    except ExchangeUnavailable as error:
        return NoAnswer(window, str(error), error)
    except MisalignedTimeframe:
        raise
    except ExchangeRefused as error:
        try:
            # Some exchanges know a symbol no more once it is delisted, not even its past; some refuse what
            # is too old. Where the newest bars are refused too, the search for the oldest is refused.
            if not await with_retries(ports, lambda: ports.source.is_delisted(node)):
                await with_retries(ports, lambda: ports.source.oldest_served(node))
        except ExchangeUnavailable as away:
            return NoAnswer(window, str(away), away)
        return NoAnswer(window, str(error))


def _learn_page_size(ports: Ports, node: NodeId, pages: list[Page]) -> int:
    size = ports.source.page_size(node)
    learned = learned_page_size(pages, node.timeframe)
    if learned is None or learned >= size:
        return size
    ports.source.learn_page_size(node, learned)
    return learned
