"""Where a market's trades begin: before its listing, and before the very first of them, there is no bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.proof import Proof
from seamless_assets.core.coverage.tape import Tape
from seamless_assets.core.node import NodeId
from seamless_assets.errors import UnsupportedTimeframe
from seamless_assets.flows.filling.trades.tapes import TapeReading
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import ask_or_none, with_retries

_SAME_PRICE = 1e-9


@dataclass(frozen=True, slots=True)
class Beginning:
    """What of a window lies before the market, and the tape of its first trade where that is proven."""

    proofs: tuple[Proof, ...] = ()
    tape: Tape | None = None


async def find_beginning(ports: Ports, node: NodeId, window: Segment, reading: TapeReading) -> Beginning:
    """What of the start of `window` lies before the market, given what was read of its trades.

    The exchange's candles, of the node's own timeframe or the next coarser one, say when it was listed. That
    the oldest trade sent is the first one ever is proven where the first candle opens with it. Trades before
    the listing contradict it: then nothing is proven, and the date is forgotten.
    """
    tape = reading.tapes[0] if reading.tapes else None
    if reading.away is not None or (tape is not None and tape.start < window.start):
        return Beginning()
    series = await _series(ports, node)
    listed = await ask_or_none(ports, partial(ports.source.first_listed, series[0])) if series else None
    if listed is None:
        return Beginning()
    if tape is not None and tape.start < listed:
        await ports.source.forget_listing(series[0])
        return Beginning()
    frame = node.timeframe
    first = frame.floor(listed)
    if tape is not None and await _opens_with(ports, series, listed, tape):
        first = frame.floor(math.floor(tape.start))
        tape, evidence = tape.quiet_since(first), f"first trade at {tape.start:.3f}"
    else:
        tape, evidence = None, f"first bar at {listed}"
    end = min(first, window.end)
    proofs = (Proof(window.start, end, "pre_listing", evidence),) if window.start < end else ()
    return Beginning(proofs, tape)


async def unlisted(ports: Ports, node: NodeId, window: Segment) -> Beginning | None:
    """That all of `window` lies before the listing, where that date was found before; no trades are asked."""
    series = await _series(ports, node)
    reach = await ask_or_none(ports, partial(ports.source.reach, series[0], window)) if series else None
    if reach is None or reach.listed is None or window.end > node.timeframe.floor(reach.listed):
        return None
    return Beginning((Proof(*window, "pre_listing", f"first bar at {reach.listed}"),))


async def _series(ports: Ports, node: NodeId) -> tuple[NodeId, ...]:
    """Candles that the exchange serves of the symbol: of the node's timeframe and of coarser ones."""
    try:
        await with_retries(ports, partial(ports.source.check_node, node))
    except UnsupportedTimeframe:
        return ports.source.coarser(node)
    return (node, *ports.source.coarser(node))


async def _opens_with(ports: Ports, series: tuple[NodeId, ...], listed: int, tape: Tape) -> bool:
    """Whether the first candle, of the finest series that still has it, opens with the first trade."""
    for one in series:
        start = one.timeframe.floor(listed)
        asked = Segment(start, one.timeframe.shift(start, 1))
        page = await ask_or_none(ports, partial(ports.source.fetch_candles, one, asked))
        if page is not None and page.candles.num_rows:
            opened, price = page.candles.column("open")[0].as_py(), float(tape.parts[0][1][0])
            return start <= tape.start < asked.end and math.isclose(opened, price, rel_tol=_SAME_PRICE)
    return False
