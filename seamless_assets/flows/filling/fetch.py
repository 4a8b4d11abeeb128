"""Fetch: from ranges of time to conformed bars and what is proven of the holes between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import sound_rows
from seamless_assets.core.bars.sorted_sets import difference, is_in
from seamless_assets.core.bars.table import PRICES, between, empty_bars, timestamps, within
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING
from seamless_assets.core.coverage.ledger import Fact, next_look
from seamless_assets.core.coverage.plan import (
    Page,
    closed_part,
    known_opens,
    learned_page_size,
    may_be_cut,
    merged_candles,
    pages_over,
    probe,
    unwitnessed,
)
from seamless_assets.core.coverage.proof import Proof, left_open, silent, surprising
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, MisalignedTimeframe
from seamless_assets.flows.filling.prove import explain, is_recent
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import with_retries

MAX_ROUNDS = 12
LOOKS = 2
BOTH_SIDES = "bars on both sides in one page"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an exchange gave: bars, facts about holes, the candles as sent, and what went wrong.

    `surprises` are holes without trades that are too long for chance. `away` is why some page had no answer.
    """

    bars: pa.Table
    facts: tuple[Fact, ...]
    candles: pa.Table
    surprises: tuple[Segment, ...]
    problems: tuple[str, ...]
    away: ExchangeUnavailable | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an exchange: `wanted` ranges inside `bounds`, all of it closed by `closed`."""

    node: NodeId
    wanted: Sequence[Segment]
    bounds: Segment
    closed: int


async def fetch_bars(ports: Ports, look: Look, earlier: Sequence[Fact] = ()) -> Fetched:
    """Ask the exchange for every bar of `look.wanted`; what else of `bounds` comes along is kept too.

    Pages are asked for side by side; what a page leaves open is asked again with bars on both sides, then
    explained by other evidence. `earlier` are the ledger's facts so far, for the count of looks. Raises
    `ExchangeRefused`; an exchange that stays away ends in `problems` and missing facts.
    """
    timeframe = look.node.timeframe
    beyond = [part for segment in look.wanted for part in ports.source.reach(look.node).proofs(segment)]
    wanted = left_open(look.wanted, beyond, timeframe)
    heard, held = _Heard(), await ports.hot.load_opens(look.node, look.bounds)
    asking, proofs, left = wanted, list(beyond), wanted
    for _ in range(LOOKS):
        await _ask_round_by_round(ports, look, asking, heard)
        conformed, _ = conform(heard.candles, timeframe, severities=ports.policy.severities)
        sound, flat = _sorted_out(ports, look.node, conformed, held)
        proofs += flat
        left = left_open(unwitnessed(heard.pages, wanted, timeframe), proofs, timeframe)
        proofs += await explain(
            ports, look.node, left_open(left, [*heard.failed], timeframe), look.closed, sound
        )
        left = left_open(left, proofs, timeframe)
        # What nothing explains may have been a slip of one answer.
        asking = [hole for hole in left if not is_recent(hole, timeframe, look.closed)]
        if not asking or heard.failed:
            break
    lost = _lost(look, conformed, sound, proofs)
    # A bar that was sent before exists, though it is sent no more.
    kept = _bars_of(difference(held, timestamps(sound)), timeframe)
    quiet = left_open(silent(heard.pages, look.bounds, timeframe), [*lost, *kept], timeframe)
    long = [proof.segment for proof in proofs if _is_long(ports, look.node, proof)]
    proofs += [Proof(*hole, "no_trades", BOTH_SIDES) for hole in quiet]
    left = left_open(left, lost, timeframe)
    low, high = (bound * 1000 for bound in look.bounds)
    return Fetched(
        bars=between(sound, *look.bounds),
        facts=_facts(ports, proofs, left, heard, earlier, lost),
        candles=within(heard.candles, low, high),
        surprises=(*surprising(quiet, heard.pages, timeframe), *long),
        problems=tuple(dict.fromkeys(why for why in (*heard.failed.values(), *map(heard.why, left)) if why)),
        away=heard.away,
    )


def _is_long(ports: Ports, node: NodeId, proof: Proof) -> bool:
    """Whether nobody traded for longer than a page."""
    return proof.reason == "no_trades" and node.timeframe.count(*proof.segment) >= ports.source.page_size(
        node
    )


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    """A page that did not come, and why; `away` is None where the exchange is there and serves others."""

    window: Segment
    reason: str
    away: ExchangeUnavailable | None = None


@dataclass
class _Heard:
    """What came so far: pages, and the windows of pages that failed or were refused, with the reason."""

    pages: list[Page] = field(default_factory=list)
    failed: dict[Segment, str] = field(default_factory=dict)
    refused: dict[Segment, str] = field(default_factory=dict)
    away: ExchangeUnavailable | None = None

    def add(self, answer: Page | _NoAnswer) -> None:
        """Remember an answer; a page that was refused is an empty one, which proves nothing."""
        if isinstance(answer, Page):
            self.pages.append(answer)
        elif answer.away is None:
            self.refused[answer.window] = answer.reason
            self.pages.append(Page(answer.window, empty_bars(), served=0))
        else:
            self.failed[answer.window] = answer.reason
            self.away = self.away or answer.away

    def why(self, part: Segment) -> str | None:
        """What the exchange said where it was asked for `part` and gave no page."""
        told = [*self.failed.items(), *self.refused.items()]
        return next((reason for window, reason in told if not window.intersect(part).is_empty), None)

    @property
    def candles(self) -> pa.Table:
        """The candles of all pages."""
        return merged_candles(self.pages) if self.pages else empty_bars()


async def _ask_round_by_round(ports: Ports, look: Look, wanted: Sequence[Segment], heard: _Heard) -> None:
    """Ask for pages over `wanted`, then for what they leave open, until nothing is left to ask."""
    size = ports.source.page_size(look.node)
    asking = pages_over(wanted, look.node.timeframe, size, look.closed)
    tried: set[Segment] = set()
    for _ in range(MAX_ROUNDS):
        tried.update(asking)
        refusals = len(heard.refused)
        for answer in await gather(_ask(ports, look, page) for page in asking):
            heard.add(answer)
        learned = _learn(ports, look.node, heard.pages)
        left = unwitnessed(heard.pages, wanted, look.node.timeframe)
        asking = [
            page
            for page in _next_pages(look, heard.pages, left, learned, learned < size)
            if page not in tried
        ]
        size = learned
        if not asking or heard.failed or len(heard.refused) > refusals:
            break


def _next_pages(
    look: Look, pages: Sequence[Page], left: Sequence[Segment], size: int, has_shrunk: bool
) -> list[Segment]:
    """What to ask next for the ranges that are `left`: smaller pages, or pages around each hole."""
    if has_shrunk:
        return pages_over(left, look.node.timeframe, size, look.closed)
    known = known_opens(pages, look.node.timeframe)
    open_ones = (hole for hole in left if hole.end < look.closed or may_be_cut(pages, hole))
    around = (probe(hole, known, look.node.timeframe, size, look.closed) for hole in open_ones)
    return list(dict.fromkeys(page for page in around if page is not None))


async def _ask(ports: Ports, look: Look, window: Segment) -> Page | _NoAnswer:
    node = look.node
    try:
        page = await with_retries(ports, lambda: ports.source.fetch_candles(node, window))
        return closed_part(page, node.timeframe, look.closed)
    except ExchangeUnavailable as error:
        return _NoAnswer(window, str(error), error)
    except MisalignedTimeframe:
        raise
    except ExchangeRefused as error:
        try:
            # Some exchanges know a symbol no more once it is delisted, not even its past; some refuse what
            # is too old. Where the newest bars are refused too, the search for the oldest is refused.
            if not await with_retries(ports, lambda: ports.source.is_delisted(node)):
                await with_retries(ports, lambda: ports.source.oldest_served(node))
        except ExchangeUnavailable as away:
            return _NoAnswer(window, str(away), away)
        return _NoAnswer(window, str(error))


def _learn(ports: Ports, node: NodeId, pages: list[Page]) -> int:
    size = ports.source.page_size(node)
    learned = learned_page_size(pages, node.timeframe)
    if learned is None or learned >= size:
        return size
    ports.source.learn_page_size(node, learned)
    return learned


def _sorted_out(ports: Ports, node: NodeId, bars: pa.Table, held: np.ndarray) -> tuple[pa.Table, list[Proof]]:
    """The sound bars; where the policy drops flat bars of no volume, those as proofs instead.

    A flat bar whose open is `held` with other values is a correction of it, and no proof.
    """
    sound = bars.filter(sound_rows(bars, ports.policy.severities))
    if node.exchange not in ports.policy.drops_flat_bars:
        return sound, []
    values = [sound.column(name).to_numpy() for name in PRICES]
    is_flat = (sound.column("volume").to_numpy() == 0) & np.logical_and.reduce(
        [value == values[0] for value in values]
    )
    is_flat &= ~is_in(timestamps(sound), held)
    quiet = _bars_of(timestamps(sound)[is_flat], node.timeframe)
    proofs = [Proof(*part, "no_trades", "a flat bar without volume was sent") for part in quiet]
    return sound.filter(pc.invert(pa.array(is_flat))), proofs


def _lost(look: Look, conformed: pa.Table, sound: pa.Table, proofs: Sequence[Proof]) -> list[Segment]:
    """Bars of the look that were sent but cannot be, and are not known to be none at all."""
    timeframe = look.node.timeframe
    sent = _bars_of(difference(timestamps(conformed), timestamps(sound)), timeframe)
    left = left_open(sent, proofs, timeframe)
    return [part for part in (segment.intersect(look.bounds) for segment in left) if not part.is_empty]


def _facts(
    ports: Ports,
    proofs: Sequence[Proof],
    left: Sequence[Segment],
    heard: _Heard,
    earlier: Sequence[Fact],
    lost: Sequence[Segment],
) -> tuple[Fact, ...]:
    """Every proof, and a look at each range that stays missing, as lines of the ledger."""
    now = ports.clock.now()
    facts = [Fact(*proof, now) for proof in proofs]
    unknown = [(part, "the exchange sent an unsound bar") for part in lost]
    unknown += [(part, heard.why(part) or "not sent") for part in left]
    for part, evidence in unknown:
        looks = 1 + max((fact.attempts for fact in earlier if _is_about(fact, part)), default=0)
        facts.append(Fact(*part, MISSING, evidence, now, looks, now + next_look(looks)))
    return tuple(facts)


def _is_about(fact: Fact, part: Segment) -> bool:
    return not fact.is_proof and fact.start < part.end and part.start < fact.end


def _bars_of(opens: np.ndarray, timeframe: Timeframe) -> list[Segment]:
    """The joined ranges of the bars that open at sorted `opens`."""
    return merge_ranges([(int(ts), timeframe.shift(int(ts), 1)) for ts in opens], timeframe)
