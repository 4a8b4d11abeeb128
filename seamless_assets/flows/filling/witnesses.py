"""Hearing witnesses: what other series of a symbol, and its trades, say of bars that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.chance import Emptiness
from seamless_assets.core.coverage.coverage import holes_in
from seamless_assets.core.coverage.pages import Page, known_opens, witnessed_spans
from seamless_assets.core.coverage.proof import Denial, Proof, clipped, common, pause_reason, subtract
from seamless_assets.core.coverage.witnesses import (
    Testimony,
    Trades,
    Volumes,
    by_times,
    by_volume,
    volumes_of,
)
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.flows.ports import Ports

DAY = 86_400
FEW_BARS = 12
ENOUGH_SERIES = 2
MAX_NEIGHBOURS = 2
MAX_FINER_PAGES = 3
MARGIN_BARS = 10
MAX_TRADE_PAGES = 5
LONGEST_TRADED_S = 6 * 3_600
LEAD_S = 600
BOUNDED_S = 3_600
"""Some exchanges send trades of no longer a time at once."""


@dataclass
class Findings:
    """What witnesses said of the empty ranges of a node.

    `pauses` are proofs that no volume accounts for, and no trade: bars on both sides, page by page, in the
    longest series, or a finer one that is as silent as this one.
    """

    proofs: list[Proof] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    pauses: list[Proof] = field(default_factory=list)

    def add(self, said: Testimony) -> None:
        """Add what one witness said."""
        self.proofs += said.proofs
        self.denials += said.denials


async def hear_coarser(
    ports: Ports, pages: WitnessPages, node: NodeId, empty: Sequence[Segment], bars: Volumes
) -> Findings:
    """What coarser series say of `empty` ranges among the known `bars` of a node.

    That coarser bars are not there either counts where their own series makes it likely; else the next
    coarser one is heard of those in turn, up to months. Two series that answer are enough.
    """
    found, left, heard = Findings(), list(empty), 0
    for coarse in in_order(node, ports.source.coarser(node)):
        if not left or heard == ENOUGH_SERIES:
            break
        asked = await pages.over(coarse, left)
        heard += bool(asked)
        volumes = volumes_of(asked, coarse.timeframe)
        found.add(by_volume(left, bars, volumes))
        left = subtract(left, found.proofs, node.timeframe)
        for gap in _gaps(asked, coarse, left):
            mine = common(left, [gap])
            said = await _hear_of_gap(ports, pages, coarse, gap, asked)
            found.proofs += clipped(said.proofs, mine)
            found.denials += clipped(said.denials, mine)
            found.pauses += clipped(said.pauses, mine)
        left = subtract(left, [*found.proofs, *found.pauses], node.timeframe)
    return found


async def hear_finer(ports: Ports, pages: WitnessPages, node: NodeId, empty: Sequence[Segment]) -> Findings:
    """What bars of a finer series say of `empty` ranges, of those that few of its pages span.

    That they are not there either is a pause where their own series does not make it likely.
    """
    found = Findings()
    for fine in ports.source.finer(node):
        frame = fine.timeframe
        most = MAX_FINER_PAGES * ports.source.page_size(fine) - 2 * MARGIN_BARS
        near = [part for part in empty if frame.count(*part) <= most]
        around = [Segment(frame.shift(a, -MARGIN_BARS), frame.shift(b, MARGIN_BARS)) for a, b in near]
        asked = await pages.over(fine, around)
        spans = witnessed_spans([page for page in asked if page.is_whole], frame)
        opens = known_opens(asked, frame)
        heard = by_times(near, node.timeframe, spans, opens, f"{frame} bars")
        silent = holes_in(frame, spans, opens)
        lengths, bars = [frame.count(*hole) for hole in silent], sum(frame.count(*span) for span in spans)
        usual = Emptiness.of(lengths, bars)
        likely = [hole for hole in silent if usual.allows(frame.count(*hole))]
        found.proofs += clipped(heard.proofs, likely)
        unlikely = subtract([proof.segment for proof in heard.proofs], likely, frame)
        found.pauses += clipped(heard.proofs, unlikely)
        found.denials += heard.denials
        break
    return found


async def hear_trades(
    pages: WitnessPages, node: NodeId, hole: Segment, last_bar: int | None = None
) -> Testimony:
    """What trades say of a hole; `last_bar` opens last of the bars around it, None where none are.

    Trades have to be before the hole and after it. Where the bar before it holds too many of them, it is
    enough that those from its beginning on begin in the bar after it, and that they end before the last bar:
    so they are the first of them, and not the last ones of an exchange that sends no others.
    """
    frame = node.timeframe
    if last_bar is None:
        answers = await _trades_from(pages, node, hole, hole.start - LEAD_S)
    else:
        answers = await _trades_from(pages, node, hole, frame.shift(hole.start, -1), hole.start)
    spans = [Segment(int(answer.times[0]), int(answer.times[-1])) for answer in answers]
    if last_bar is not None and (not spans or spans[-1].end < hole.start):
        answers = await _trades_from(pages, node, hole, hole.start)
        spans = [Segment(int(answer.times[0]), int(answer.times[-1])) for answer in answers]
        is_next = bool(spans) and hole.end <= spans[0].start < frame.shift(hole.end, 1)
        if is_next and spans[0].end < last_bar and not answers[0].is_bounded:
            spans.append(Segment(hole.start, spans[0].start))
    if answers and answers[0].is_bounded and spans[0].start >= hole.end:
        # They may be the last ones before the end that was asked for.
        within = await pages.trades(node, Segment(hole.start, min(hole.end, hole.start + BOUNDED_S)))
        answers += [within] if within is not None and len(within.times) else []
    if not answers:
        return Testimony()
    return by_times([hole], frame, spans, np.concatenate([a.times for a in answers]), "trades")


async def _trades_from(
    pages: WitnessPages, node: NodeId, hole: Segment, since: int, least: int | None = None
) -> list[Trades]:
    """Pages of trades from `since` on until one is over the hole; no more where one ends before `least`."""
    answers: list[Trades] = []
    for _ in range(MAX_TRADE_PAGES if hole.end - hole.start <= LONGEST_TRADED_S else 1):
        answer = await pages.trades(node, Segment(since, hole.end + LEAD_S))
        if answer is None or len(answer.times) == 0:
            break
        answers.append(answer)
        newest = int(answer.times[-1])
        if newest >= hole.end or newest <= since or (least is not None and newest < least):
            break
        since = newest
    return answers


async def hear_pause(pages: WitnessPages, node: NodeId, hole: Segment) -> Proof | None:
    """The whole pause around a hole, where pages side by side show bars at its ends and none between them."""
    asked, frame = await pages.around(node, hole), node.timeframe
    if asked is None:
        return None
    opens = known_opens(asked, frame)
    left, right = np.searchsorted(opens, hole)
    if left != right:
        return None
    pause = Segment(frame.shift(int(opens[left - 1]), 1), int(opens[right]))
    return Proof(*pause, pause_reason(pause), f"no {frame} bar on page after page, and bars at both ends")


def in_order(node: NodeId, coarser: Sequence[NodeId]) -> list[NodeId]:
    """The order to ask in: first one of some dozens of bars, whose pages are few, then the nearest."""
    if len(coarser) < 2:
        return list(coarser)
    first, second, *rest = coarser
    is_near = node.timeframe.count(0, first.timeframe.approximate_seconds) < FEW_BARS
    return [second, first, *rest] if is_near else [first, second, *rest]


async def _hear_of_gap(
    ports: Ports, pages: WitnessPages, coarse: NodeId, gap: Segment, asked: Sequence[Page]
) -> Findings:
    """What is to be said of a gap in `coarse`: by its own series, longer ones, its own pages at last."""
    frame = coarse.timeframe
    spans, bracketed = _bracketed(asked, coarse)
    if gap not in bracketed and (wide := await pages.around(coarse, gap, MAX_NEIGHBOURS)):
        asked = [*asked, *wide]
        spans, bracketed = _bracketed(wide, coarse)
        gap = next((hole for hole in bracketed if hole.start <= gap.start and gap.end <= hole.end), gap)
    lengths, bars = [frame.count(*hole) for hole in bracketed], sum(frame.count(*span) for span in spans)
    reason = pause_reason(gap)
    if gap in bracketed and Emptiness.of(lengths, bars).allows(frame.count(*gap)):
        return Findings([Proof(*gap, reason, f"no {frame} bar either")])
    longer = in_order(coarse, ports.source.coarser(coarse))
    if not longer:
        pause = await hear_pause(pages, coarse, gap)
        return Findings(pauses=[pause] if pause else [])
    # What a longer bar holds is compared with all of the bars inside it.
    cell = longer[0].timeframe
    ends = [Segment(cell.floor(at), cell.shift(at, 1)) for at in (gap.start, gap.end - 1)]
    asked = [*asked, *await pages.over(coarse, ends)]
    if _without_bars([gap], coarse, asked) != [gap]:
        return Findings()
    volumes = volumes_of(asked, frame)
    said = await hear_coarser(ports, pages, coarse, [gap], volumes)
    if gap in bracketed and frame.approximate_seconds >= DAY:
        said.pauses.append(Proof(*gap, reason, f"no {frame} bar either, and bars on both sides"))
    return Findings([proof._replace(reason=reason) for proof in said.proofs], said.denials, said.pauses)


def _bracketed(asked: Sequence[Page], coarse: NodeId) -> tuple[list[Segment], list[Segment]]:
    """Where pages show all bars of `coarse`, and the holes there."""
    frame = coarse.timeframe
    spans = witnessed_spans([page for page in asked if page.is_whole], frame)
    return spans, _without_bars(spans, coarse, asked)


def _gaps(asked: Sequence[Page], coarse: NodeId, near: Sequence[Segment]) -> list[Segment]:
    """Ranges of the asked pages without a bar of `coarse` that touch any of `near`."""
    windows = merge_ranges([page.asked for page in asked], coarse.timeframe)
    return [gap for gap in _without_bars(windows, coarse, asked) if common(near, [gap])]


def _without_bars(spans: Sequence[Segment], coarse: NodeId, asked: Sequence[Page]) -> list[Segment]:
    return holes_in(coarse.timeframe, spans, known_opens(asked, coarse.timeframe))
