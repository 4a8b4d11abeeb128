"""How long an answer of the live world stands: until its bars may have changed, or one more has closed."""

from __future__ import annotations

from functools import partial

from seamless_assets.dialects.venues import VENUES
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.answers.newest import NewestReleases
from seamless_assets.service.answers.replies import Again, Released
from seamless_assets.service.dialects.live.clocks import ExchangeClocks
from seamless_assets.service.dialects.live.forming import FormingBars
from seamless_assets.service.dialects.visit import Visit

LONGEST_S = 60
"""No answer stands longer than to the end of its minute."""


class StandingAnswers:
    """Gives answers again, at once, for as long as they would be made of the same."""

    def __init__(self, pipeline: Seamless, clocks: ExchangeClocks, forming: FormingBars | None) -> None:
        self._aio, self._clocks, self._forming = pipeline.aio, clocks, forming
        self._newest = NewestReleases(pipeline)

    def again(self, exchange: str, visit: Visit) -> Again | None:
        """What gives the body of a visit to the live world again, as it is then; None where none can.

        It is for answers whose candles alone, and what the venue stamps, tell of the clock.
        """
        reads = visit.reads
        if visit.as_of is not None or visit.hot_mark is None or not reads:
            return None
        if not all(read.is_whole for read in reads):
            return None
        now = int(visit.now)
        end = min(read.node.timeframe.shift(now, 1) for read in reads)
        releases = {Released(str(one.node), one.as_of, one.dataset_fingerprint, one.seq) for one in reads}
        end = min(end, now - now % LONGEST_S + LONGEST_S)
        return partial(self._body, exchange, visit, end, releases)

    def _body(
        self, exchange: str, visit: Visit, end: int, releases: set[Released], body: bytes
    ) -> bytes | None:
        now = self._clocks.now_at_hand(exchange)
        if now is None or not visit.now <= now < end or not self._is_as_read(visit, releases, now):
            return None
        return VENUES[exchange].stamped(body, now)

    def _is_as_read(self, visit: Visit, releases: set[Released], now: float) -> bool:
        """Whether all that was looked at is as it was."""
        return (
            self._aio.ports.hot.change_mark() == visit.hot_mark
            and all(self._newest.is_still(released) for released in releases)
            and all(
                self._forming is not None and self._forming.is_still(node, candle, now)
                for node, candle in visit.forming
            )
        )
