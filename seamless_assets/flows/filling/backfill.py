"""Backfill: fetch into the hot store what is missing, chunk by chunk, together with all other workers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.bars.redenomination import redenominated
from seamless_assets.core.bars.sorted_sets import union
from seamless_assets.core.bars.table import between, empty_bars, stack, timestamps
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.coverage.coverage import Coverage, bars_of
from seamless_assets.core.coverage.declaration import contradictions
from seamless_assets.core.coverage.ledger import Fact, news, proven_gaps, recorded_by, resting
from seamless_assets.core.coverage.plan import chunk_bars
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.aliases import cut_at_joints, source_at
from seamless_assets.core.sharing.events import ArchiveEvent, BackfillEvent, EventKind
from seamless_assets.core.sharing.lease import chunks, lease_key
from seamless_assets.errors import ExchangeUnavailable, LeaseLost, StaleToken
from seamless_assets.flows.filling.clocks import known_now, ready_now, recorded_now, refuse_unserved
from seamless_assets.flows.filling.fetch import Fetched, fetch_bars
from seamless_assets.flows.filling.history import NO_OPENS, coverage, coverage_and_facts
from seamless_assets.flows.filling.naming import name_halts, name_outages
from seamless_assets.flows.filling.pages import FetchRequest
from seamless_assets.flows.filling.trades.bars import fetch_from_trades, repaired_by_trades
from seamless_assets.flows.filling.trades.provenance import came_as_candles
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.flows.ports import Facts, Ports
from seamless_assets.flows.sharing.breaker import Breaker
from seamless_assets.flows.sharing.leases import HeldLease, holding
from seamless_assets.flows.sharing.tracing import traced

CHUNKS_AT_ONCE = 32
MAX_TAKEOVERS = 5


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill did: ranges it asked for, bars added and replaced, coverage afterwards."""

    node_id: str
    start: int
    end: int
    fetched: tuple[Segment, ...]
    added: int
    revised: int
    coverage: Coverage
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a chunk that is looked at under the chunk's lease."""

    chunk: Segment
    bounds: Segment


@dataclass(frozen=True, slots=True)
class FillResult:
    """What became of a piece: ranges asked for, candles as sent, bars added and replaced, problems.

    `away` is why the exchange gave no answer to some of it, `opens` are those of the bars that it sent and
    that were stored.
    """

    asked: tuple[Segment, ...] = ()
    candles: pa.Table = field(default_factory=empty_bars)
    added: int = 0
    revised: int = 0
    problems: tuple[str, ...] = ()
    away: ExchangeUnavailable | None = None
    opens: np.ndarray = field(default_factory=lambda: NO_OPENS)


class FillCall:
    """What the pieces of one call share: its witnesses, and what it heard of an exchange that stays away.

    `closed` is the end of closed time: bars count that end by then. Its window begins at `begin`.
    """

    def __init__(self, ports: Ports, closed: int, begin: int = 0) -> None:
        self.witnesses = WitnessPages(ports, closed, begin)
        self.breaker = Breaker(CHUNKS_AT_ONCE)


async def backfill(ports: Ports, node: NodeId, window: Segment) -> BackfillReport:
    """Fetch the bars of `window` that are closed and missing, each range by one worker.

    What was looked for in vain before is asked again only when its time has come. Of a window that ends
    before there was any market all is known, and only the node is checked.
    Raises `ExchangeRefused` and `StoreError`; an exchange that stays away ends in `problems`.
    """
    if window.end <= OLDEST_MARKET:
        await refuse_unserved(ports, node)
        return _report(node, window, [], await coverage(ports, node, window))
    try:
        closed = watermark(node.timeframe, await ready_now(ports, node), 0)
    except ExchangeUnavailable as error:
        target = _closed_part(window, watermark(node.timeframe, ports.clock.now(), 0))
        return _report(
            node, window, [FillResult(problems=(str(error),))], await coverage(ports, node, target)
        )
    target = _closed_part(window, closed)
    due, _ = await _due(ports, node, target)
    every = pieces(ports, node, target)
    wanted = [every[at] for at in touched(every, due)]
    call = FillCall(ports, closed, target.start)
    filled = await map_bounded(lambda piece: fill(ports, node, piece, call), wanted, CHUNKS_AT_ONCE)
    return _report(node, window, filled, await coverage(ports, node, target))


async def refill(ports: Ports, node: NodeId, window: Segment, closed: int) -> list[FillResult]:
    """Fetch all of `window` anew and store it; it ends at or before `closed`, the end of closed bars."""
    every, call = pieces(ports, node, window), FillCall(ports, closed, window.start)
    return await map_bounded(lambda piece: fill(ports, node, piece, call, anew=True), every, CHUNKS_AT_ONCE)


def pieces(ports: Ports, node: NodeId, window: Segment) -> list[Piece]:
    """The whole bars of `window`, cut where every worker cuts, and where the symbol became another."""
    bounds = window.whole_bars(node.timeframe.grid)
    bars = chunk_bars(ports.source.documented_page(node), ports.policy.window_bars)
    aliases = ports.policy.aliases_of(node)
    return [
        Piece(chunk, part)
        for chunk in chunks(node.timeframe, bounds, bars)
        for part in cut_at_joints(bounds.intersect(chunk), aliases)
    ]


def _facts(node: NodeId, piece: Piece, *_: object, **__: object) -> Facts:
    return {"node_id": str(node), "start": piece.bounds.start, "end": piece.bounds.end}


@traced("seamless.fill", _facts)
async def fill(ports: Ports, node: NodeId, piece: Piece, call: FillCall, *, anew: bool = False) -> FillResult:
    """Fetch what is missing of a piece, or all of it `anew`, and store it; callers of one process share that.

    What a worker fetched under a lease that it lost is dropped, and the piece is looked at again. Nothing is
    asked of an exchange that stayed away for long in this call.
    """
    if (away := call.breaker.error) is not None:
        return FillResult(problems=(str(away),), away=away)
    result = await ports.flights.do(
        (node, piece, anew), lambda: _fill(ports, node, piece, call.witnesses, anew)
    )
    is_answered = bool(len(result.opens)) or (bool(result.asked) and result.away is None)
    call.breaker.record(result.away, is_answered=is_answered)
    return result


async def _fill(ports: Ports, node: NodeId, piece: Piece, witnesses: WitnessPages, anew: bool) -> FillResult:
    problem = ""
    for _ in range(MAX_TAKEOVERS):
        try:
            async with holding(ports, lease_key(node, piece.chunk)) as lease:
                return await _fill_under(ports, node, piece, witnesses, anew, lease)
        except (LeaseLost, StaleToken) as error:
            problem = str(error)
    return FillResult(problems=(problem,))


async def _fill_under(
    ports: Ports, node: NodeId, piece: Piece, witnesses: WitnessPages, anew: bool, lease: HeldLease
) -> FillResult:
    due, facts = await _due(ports, node, piece.bounds)
    wanted = [piece.bounds] if anew else due
    if not wanted:
        return FillResult()
    report = _Reporter(ports, node, piece, lease)
    report("attempt")
    try:
        archived = await _store_archived(ports, node, piece, due, witnesses.closed, lease)
        rest = _left(node, piece, wanted, archived.opens)
        filled = archived
        if rest:
            asked = await fetch_and_store(ports, node, piece, rest, witnesses, facts, lease)
            filled = _together(ports, node, archived, asked)
    except BaseException as error:
        report("fail", reason=f"{type(error).__name__}: {error}")
        raise
    if filled.problems:
        lease.fail(filled.problems[0])
        report("fail", filled.added + filled.revised, filled.problems[0])
    else:
        report("complete", filled.added + filled.revised)
    return replace(filled, problems=(*filled.problems, *contradictions(proven_gaps(facts), filled.opens)))


async def _store_archived(
    ports: Ports, node: NodeId, piece: Piece, missing: Sequence[Segment], closed: int, lease: HeldLease
) -> FillResult:
    """Store what an archive has of the missing ranges of a piece, where that is most of it."""
    lacking = sum(node.timeframe.count(*part) for part in missing)
    if (
        ports.archive is None
        or node in ports.policy.made_of_trades
        or lacking * 2 < node.timeframe.count(*piece.bounds)
    ):
        return FillResult()
    source, factor = source_at(node, ports.policy.aliases_of(node), piece.bounds.start)
    found = await ports.archive.load_bars(source, Segment(missing[0].start, missing[-1].end), closed)
    bars = redenominated(stack([between(found.bars, *part) for part in missing]), factor)
    if not bars.num_rows:
        return FillResult()
    now = await recorded_now(ports, node)
    facts = [fact for part in missing for fact in found.facts(part, node.timeframe, now)]
    written = await lease.fenced(
        piece.chunk, lambda fence: ports.hot.write_bars(node, bars, facts, recorded_at=now, fence=fence)
    )
    return FillResult(added=written.added, revised=written.revised, opens=timestamps(bars))


def _left(node: NodeId, piece: Piece, wanted: Sequence[Segment], archived: np.ndarray) -> list[Segment]:
    """What is still asked of the exchange: what no file had, and beside it a bar on each side that one had.

    So the two are held against each other where that costs no request.
    """
    left = subtract(wanted, bars_of(archived, node.timeframe), node.timeframe)
    if not len(archived):
        return left
    wider = [
        Segment(node.timeframe.shift(part.start, -1), node.timeframe.shift(part.end, 1)) for part in left
    ]
    return join_segments([part.intersect(piece.bounds) for part in wider])


def _together(ports: Ports, node: NodeId, archived: FillResult, asked: FillResult) -> FillResult:
    """The outcome of both; bars of a file that the exchange sends by other values are told of."""
    if asked.revised and len(archived.opens):
        told = f"{asked.revised} bars are others at the exchange than in its archive; the exchange's count"
        ports.observer.notify(ArchiveEvent("differs", str(node), rows=asked.revised, reason=told))
    return replace(
        asked,
        added=archived.added + asked.added,
        revised=archived.revised + asked.revised,
        opens=union(archived.opens, asked.opens),
    )


async def fetch_and_store(
    ports: Ports,
    node: NodeId,
    piece: Piece,
    wanted: Sequence[Segment],
    witnesses: WitnessPages,
    facts: Sequence[Fact],
    lease: HeldLease,
    *,
    counts_failures: bool = True,
) -> FillResult:
    """Ask for the `wanted` ranges of a piece under its lease, and store what came and what that proves.

    `facts` are the ledger's so far. A range for which the exchange gave no answer rests like one that it
    looked through in vain, unless `counts_failures` says no.
    """
    source, factor = source_at(node, ports.policy.aliases_of(node), piece.bounds.start)
    request = FetchRequest(source, wanted, piece.bounds, witnesses.closed)
    fetched = await _fetched(ports, node, request, witnesses, facts, factor)
    bars = redenominated(fetched.bars, factor)
    known = proven_gaps(facts)
    fresh = [*await came_as_candles(ports, node, fetched, bars, facts), *news(fetched.facts, known)]
    if fetched.away is not None and not counts_failures:
        fresh = [fact for fact in fresh if not fact.is_look]
    now = await recorded_now(ports, node)
    fresh = recorded_by(fresh, now)
    written = await lease.fenced(
        piece.chunk,
        lambda fence: ports.hot.write_bars(node, bars, fresh, recorded_at=now, fence=fence),
    )
    await name_outages(ports, node, fetched.long_holes)
    await name_halts(ports, node, piece.bounds, known, fetched.facts)
    return FillResult(
        tuple(wanted),
        fetched.candles,
        written.added,
        written.revised,
        fetched.problems,
        fetched.away,
        timestamps(bars),
    )


async def _fetched(
    ports: Ports,
    node: NodeId,
    request: FetchRequest,
    witnesses: WitnessPages,
    facts: Sequence[Fact],
    factor: float,
) -> Fetched:
    """What the exchange gave: candles, or what its trades make, as the settings say of the node."""
    if node in ports.policy.made_of_trades:
        return await fetch_from_trades(ports, request, facts)
    fetched = await fetch_bars(ports, request, witnesses, facts)
    if node not in ports.policy.repaired_by_trades:
        return fetched
    held = await ports.hot.load_bars(node, request.bounds) if factor == 1.0 else empty_bars()
    return await repaired_by_trades(ports, request, fetched, facts, held)


class _Reporter:
    """Tells the observer of one look at a piece."""

    def __init__(self, ports: Ports, node: NodeId, piece: Piece, lease: HeldLease) -> None:
        self._ports, self._node, self._piece, self._lease = ports, node, piece, lease
        self._began = ports.clock.now()

    def __call__(self, kind: EventKind, rows: int = 0, reason: str = "") -> None:
        self._ports.observer.notify(
            BackfillEvent(
                kind=kind,
                node_id=str(self._node),
                start=self._piece.bounds.start,
                end=self._piece.bounds.end,
                worker=self._ports.worker,
                token=self._lease.token,
                duration_ms=max(0.0, self._ports.clock.now() - self._began) * 1000,
                rows=rows,
                reason=reason,
            )
        )


def _closed_part(window: Segment, closed: int) -> Segment:
    return window.intersect(Segment(window.start, max(window.start, closed)))


async def _due(ports: Ports, node: NodeId, window: Segment) -> tuple[list[Segment], list[Fact]]:
    """Missing ranges of `window` whose next look is due, and the ledger's facts of it."""
    known, facts = await coverage_and_facts(ports, node, window)
    rest = resting(facts, known_now(ports, node))
    due = subtract([gap.segment for gap in known.missing_gaps], rest, node.timeframe)
    return due, facts


def touched(every: Sequence[Piece], due: Iterable[Segment]) -> list[int]:
    """Places of the ascending pieces that hold any of the `due` ranges."""
    starts = [piece.bounds.start for piece in every]
    at: set[int] = set()
    for part in due:
        at.update(range(bisect_right(starts, part.start) - 1, bisect_left(starts, part.end)))
    return sorted(at)


def _report(node: NodeId, window: Segment, filled: Sequence[FillResult], known: Coverage) -> BackfillReport:
    return BackfillReport(
        str(node),
        *window,
        fetched=tuple(part for piece in filled for part in piece.asked),
        added=sum(piece.added for piece in filled),
        revised=sum(piece.revised for piece in filled),
        coverage=known,
        problems=tuple(dict.fromkeys(problem for piece in filled for problem in piece.problems)),
    )
