"""Fetch: from ranges of time to conformed bars and what is proven of the holes between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import flat_bars, sound_rows
from seamless_assets.core.bars.sorted_sets import difference, is_in, union
from seamless_assets.core.bars.table import PRICES, between, timestamps, within
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.chance import SHORTEST_OUTAGE
from seamless_assets.core.coverage.coverage import MISSING, bars_of
from seamless_assets.core.coverage.ledger import AWAITING, DENIED, UNANSWERED_S, Fact, next_look, was_soon
from seamless_assets.core.coverage.pages import untraded_opens
from seamless_assets.core.coverage.proof import Proof, Reach, common, named_by_pause, subtract
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.flows.filling.clocks import known_now
from seamless_assets.flows.filling.pages import Answers, FetchRequest, ask_pages
from seamless_assets.flows.filling.prove import Absence, Sent, is_recent, prove_absence
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import ask_or_none

if TYPE_CHECKING:
    import pyarrow.compute as pc
else:
    pc = LateModule("pyarrow.compute")

LOOKS = 2


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an exchange gave: bars, facts about holes, the candles as sent, and what went wrong.

    `long_holes` are those in which nobody traded for so long that other symbols are worth a look. `away` is
    why some page had no answer.
    """

    bars: pa.Table
    facts: tuple[Fact, ...]
    candles: pa.Table
    long_holes: tuple[Segment, ...]
    problems: tuple[str, ...]
    away: ExchangeUnavailable | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """The bars of answers: sound ones (sorted), and proofs that rows of no trades are; opens of rows that
    cannot be, and of rows of zeros among them."""

    sound: pa.Table
    proofs: Sequence[Proof]
    unsound: np.ndarray
    blank: np.ndarray


async def fetch_bars(
    ports: Ports, request: FetchRequest, witnesses: WitnessPages, earlier: Sequence[Fact] = ()
) -> Fetched:
    """Ask the exchange for every bar of `request.wanted`; what else of `bounds` comes along is kept too.

    Pages are asked for side by side; what a page leaves open is asked again with bars on both sides, and
    what is not there is explained by evidence. `witnesses` are shared by all requests of one call.
    `earlier` are the ledger's facts so far, for the looks at what stays missing. Raises `ExchangeRefused`;
    an exchange that stays away ends in `problems` and missing facts.
    """
    node, frame = request.node, request.node.timeframe
    held = await ports.hot.load_opens(node, request.bounds)
    beyond = await _out_of_reach(ports, request, held)
    wanted = subtract(request.wanted, beyond, frame)
    answers, asking = Answers(), wanted
    for _ in range(LOOKS):
        with witnesses.asking(node, request.bounds, answers.pages):
            await ask_pages(ports, request, asking, answers)
        read = _read(ports, node, answers, held)
        empty = _empty(wanted, read, held, [*answers.failed], frame)
        unsound = bars_of(difference(read.unsound, read.blank), frame)
        sent = Sent(answers.pages, read.sound, held, empty, unsound, bars_of(read.blank, frame))
        found = await prove_absence(ports, witnesses, request, sent, earlier)
        left = subtract(empty, found.proofs, frame)
        # What nothing explains may have been a slip of one answer.
        asking = [hole for hole in left if not is_recent(hole, frame, request.closed)]
        if not asking or answers.failed:
            break
    proofs = [*beyond, *named_by_pause([*read.proofs, *found.proofs])]
    unknown = subtract(wanted, [*bars_of(union(timestamps(read.sound), held), frame), *proofs], frame)
    low, high = (bound * 1000 for bound in request.bounds)
    return Fetched(
        bars=between(read.sound, *request.bounds),
        facts=ledger_lines(
            ports, request, proofs, unknown, found, bars_of(read.unsound, frame), answers, earlier
        ),
        candles=within(answers.candles, low, high),
        long_holes=_long_holes(frame, found),
        problems=_problems(answers, unknown),
        away=answers.away,
    )


async def _out_of_reach(ports: Ports, request: FetchRequest, held: np.ndarray) -> list[Proof]:
    """What of the wanted ranges the exchange does not serve, as is known already.

    A bar before the listing says that the date is wrong: it is searched anew.
    """
    node = request.node
    if not request.wanted:
        return []
    window = Segment(request.wanted[0].start, request.wanted[-1].end)
    reach = await ask_or_none(ports, lambda: ports.source.reach(node, window)) or Reach()
    if reach.listed is not None and len(held) and held[0] < reach.listed:
        await ports.source.forget_listing(node)
        return []
    return [proof for segment in request.wanted for proof in reach.proofs(segment)]


def _read(ports: Ports, node: NodeId, answers: Answers, held: np.ndarray) -> _Read:
    """The bars of all answers; where the policy drops flat bars of no volume, those as proofs instead.

    A flat bar, or none, whose open is `held` with values is a correction of it at most, and no proof.
    """
    frame = node.timeframe
    bars, _ = conform(answers.candles, frame, severities=ports.policy.severities)
    sound = bars.filter(sound_rows(bars, ports.policy.severities))
    untraded = difference(untraded_opens(answers.pages, frame), union(timestamps(bars), held))
    proofs = [
        Proof(*part, "no_trades", "the exchange says that nobody traded") for part in bars_of(untraded, frame)
    ]
    is_unsound = ~is_in(timestamps(bars), timestamps(sound))
    unsound = timestamps(bars)[is_unsound]
    blank = unsound[_are_zero(bars.filter(pa.array(is_unsound)))]
    if node.exchange not in ports.policy.drops_flat_bars:
        return _Read(sound, proofs, unsound, blank)
    is_flat = flat_bars(sound) & ~is_in(timestamps(sound), held)
    quiet = bars_of(timestamps(sound)[is_flat], frame)
    proofs += [Proof(*part, "no_trades", "a flat bar without volume was sent") for part in quiet]
    return _Read(sound.filter(pc.invert(pa.array(is_flat))), proofs, unsound, blank)


def _are_zero(bars: pa.Table) -> np.ndarray:
    found: np.ndarray = np.logical_and.reduce([bars.column(name).to_numpy() == 0 for name in PRICES])
    return found


def _empty(
    wanted: Sequence[Segment], read: _Read, held: np.ndarray, failed: Sequence[Segment], frame: Timeframe
) -> list[Segment]:
    """The wanted ranges without a bar, neither sent nor held nor known to be none, of which pages came."""
    there = union(union(timestamps(read.sound), held), difference(read.unsound, read.blank))
    return subtract(wanted, [*bars_of(there, frame), *read.proofs, *failed], frame)


def ledger_lines(
    ports: Ports,
    request: FetchRequest,
    proofs: Sequence[Proof],
    unknown: Sequence[Segment],
    found: Absence,
    unsound: Sequence[Segment],
    answers: Answers,
    earlier: Sequence[Fact],
) -> tuple[Fact, ...]:
    """Every proof, and a look at each range that stays missing, as lines of the ledger."""
    now = known_now(ports, request.node)
    # A look that is dated ahead of now was made by a clock that was wrong: it is none of those so far.
    frame = request.node.timeframe
    earlier = [fact for fact in earlier if not fact.is_dated_ahead(now)]
    facts = [Fact(*proof, now) for proof in proofs]
    for part, reason, evidence in _looks(frame, unknown, found, unsound, answers):
        before = [fact for fact in earlier if _is_about(fact, part)]
        looks = max((fact.attempts for fact in before), default=0)
        soon = max((fact.attempts for fact in before if was_soon(fact)), default=0)
        # An exchange that was away is asked again soon, however often it was.
        looks += not answers.is_unanswered(part)
        usual = next_look(looks, is_recent(part, frame, request.closed), soon)
        pause = UNANSWERED_S if answers.is_unanswered(part) else usual
        facts.append(Fact(*part, reason, evidence, now, looks, now + pause))
    return tuple(facts)


def _looks(
    frame: Timeframe,
    unknown: Sequence[Segment],
    found: Absence,
    unsound: Sequence[Segment],
    answers: Answers,
) -> list[tuple[Segment, str, str]]:
    """The ranges that stay missing, and what is known of each."""
    found_out = [(part, MISSING, "the exchange sent an unsound bar") for part in unsound]
    found_out += [(denial.segment, DENIED, denial.evidence) for denial in found.denials]
    found_out += [(part, MISSING, AWAITING) for part in found.awaiting]
    looks: list[tuple[Segment, str, str]] = []
    left = list(unknown)
    for part, reason, evidence in found_out:
        pieces = common(left, [part])
        looks += [(piece, reason, evidence) for piece in pieces]
        left = subtract(left, pieces, frame)
    return sorted([*looks, *((part, MISSING, answers.why_missing(part) or "not sent") for part in left)])


def _is_about(fact: Fact, part: Segment) -> bool:
    return fact.is_look and fact.start < part.end and part.start < fact.end


def _long_holes(frame: Timeframe, found: Absence) -> tuple[Segment, ...]:
    quiet = [proof.segment for proof in found.proofs if proof.reason == "no_trades"]
    empty = merge_ranges([*quiet, *found.awaiting], frame)
    usual = subtract(empty, found.unusual, frame)
    return tuple(hole for hole in subtract(empty, usual, frame) if frame.count(*hole) >= SHORTEST_OUTAGE)


def _problems(answers: Answers, unknown: Sequence[Segment]) -> tuple[str, ...]:
    said = [*answers.failed.values(), *map(answers.why_missing, unknown)]
    return tuple(dict.fromkeys(why for why in said if why))
