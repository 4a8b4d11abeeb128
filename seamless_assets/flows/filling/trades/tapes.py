"""Reading the tape: page after page of trades, each proven to go on where the one before it ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.tape import Tape
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.filling.witnesses import BOUNDED_S, LEAD_S
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import with_retries

LEADS_S = (LEAD_S, 7_200, 86_400)
"""So long before a window its first trade is looked for, one after the other."""
MAX_PAGES = 5_000
FULL_PAGE = 50
"""Pages of so many trades may have been cut; no exchange sends fewer at once."""
LATE_S = 60
"""What an exchange may still add to the trades of the last minute."""
_LONGEST_S = 86_400


@dataclass
class TapeReading:
    """The tapes of a window, ascending, and why there are no others; `away` where it gave no answer."""

    tapes: list[Tape] = field(default_factory=list)
    problem: str | None = None
    away: ExchangeUnavailable | None = None

    def begun_by(self, first: Tape | None) -> TapeReading:
        """The same with its first tape known better; None: no better."""
        return self if first is None else replace(self, tapes=[first, *self.tapes[1:]])


async def read_tapes(ports: Ports, node: NodeId, window: Segment, closed: int) -> TapeReading:
    """Read the trades from before `window` to after it, as far as they are proven to be all that there were.

    `closed` is the end of closed time. An exchange that leaves trades out between two pages ends one tape and
    begins another. What came before it stayed away, or refused, is kept.
    """
    reader, reading = _Reader(ports, node, window, closed), TapeReading()
    try:
        await reader.read()
        reading.problem = reader.problem
    except ExchangeUnavailable as error:
        reading.problem, reading.away = str(error), error
    except ExchangeRefused as error:
        reading.problem = str(error)
    reading.tapes = [*reader.ended, *([reader.tape] if reader.tape else [])]
    return reading


class _Reader:
    """One walk over a window."""

    def __init__(self, ports: Ports, node: NodeId, window: Segment, closed: int) -> None:
        self._ports, self._node, self._window, self._closed = ports, node, window, closed
        self._span = BOUNDED_S
        self.ended: list[Tape] = []
        self.tape: Tape | None = None
        self.problem: str | None = None

    async def read(self) -> None:
        """Walk on until the window is over, or nothing newer comes."""
        since = await self._begin()
        pages = 0
        while since is not None and pages < MAX_PAGES:
            since = self._next(await self._page(since))
            pages += 1
        if since is not None:
            self.problem = f"{self._node}: more than {MAX_PAGES} pages of trades at once; ask for less"

    async def _page(self, since: int) -> Trades:
        asked = Segment(since, since + self._span)
        page = await with_retries(self._ports, lambda: self._ports.source.fetch_trades(self._node, asked))
        if len(page.times) and page.prices is None:
            raise ExchangeRefused(
                f"{self._node}: trades came without a price or an amount", node_id=str(self._node)
            )
        return page

    async def _begin(self) -> int | None:
        """Find the tape's first page; the second to go on from, None where there is none."""
        for lead in LEADS_S:
            page = await self._page(self._window.start - lead)
            while page.is_bounded and self._is_late(page) and self._span > 1:
                # They may be the last ones before the end that was asked for.
                self._span = max(1, self._span // 4)
                page = await self._page(page.asked.start)
            if len(page.times) and page.times[0] < self._window.start:
                break
        while len(page.times) == 0 and page.asked.end < min(self._window.end, self._closed):
            page = await self._page(page.asked.end)
        if len(page.times) == 0:
            self.problem = (
                f"{self._node}: the exchange sent no trades around {seconds_text(self._window.start)}"
            )
            return None
        self.tape = Tape.of(page)
        if self.tape.start >= self._window.end:
            self.problem = f"{self._node}: the oldest trades that the exchange sent are later"
        return self._on()

    def _is_late(self, page: Trades) -> bool:
        return len(page.times) >= FULL_PAGE and page.times[0] >= self._window.start

    def _next(self, page: Trades) -> int | None:
        """Take one more page; the second to go on from, None where there is no more to be read."""
        assert self.tape is not None
        longer = self.tape.extended(page)
        if longer is None:
            if page.is_bounded and self._span > 1:
                self._span = max(1, self._span // 4)
                return page.asked.start
            return self._begin_again(page)
        if longer.end > self.tape.end:
            self.tape = longer
            return self._on()
        if len(page.times) >= FULL_PAGE:
            self.problem = (
                f"{self._node}: more trades in the second {seconds_text(page.asked.start)} than a page holds"
            )
            return None
        reached = page.asked.end if page.is_bounded else page.asked.start + BOUNDED_S
        if reached > self._closed - LATE_S:
            return None
        # The page begins with the last trade, and so it was not cut before its end.
        self.tape = self.tape.quiet_until(reached)
        self._span = min(_LONGEST_S, self._span * 4)
        return self._on()

    def _begin_again(self, page: Trades) -> int | None:
        """Begin another tape with a page that does not go on where this one ends."""
        assert self.tape is not None
        if len(page.times) == 0 or page.times[-1] <= self.tape.end:
            self.problem = f"{self._node}: the exchange sent no trades after {self.tape.end:.3f} again"
            return None
        self.ended.append(self.tape)
        self.tape = Tape.of(page)
        return self._on()

    def _on(self) -> int | None:
        assert self.tape is not None
        return None if self.tape.end >= self._window.end else self.tape.asked_next
