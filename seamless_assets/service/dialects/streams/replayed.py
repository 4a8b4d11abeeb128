"""The channels of a world whose clock runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from seamless_assets.core.node import NodeId
from seamless_assets.dialects.base import rows_of
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.streams.channels import SharedChannel, candle_of
from seamless_assets.service.dialects.visit import VISIT, Visit

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.02, 60.0
"""A clock that runs fast has several bars told at once; one that is slow is looked at now and then."""


class ReplayedChannel(SharedChannel):
    """The candles of a world whose clock runs: each as that clock closes it. `visit` looks at the clock."""

    def __init__(self, data: DeclaredData, visit: Callable[[], Awaitable[Visit]], speed: float) -> None:
        super().__init__()
        self._data, self._visit, self._speed = data, visit, speed

    async def _tell(self, node: NodeId, tell: Callable[[StreamedCandle], None]) -> None:
        frame, visit, is_over = node.timeframe, await self._visit(), False
        upto = frame.floor(int(visit.now))
        while True:
            wait = LONGEST_WAIT_S if is_over else (frame.shift(upto, 1) - visit.now) / self._speed
            await asyncio.sleep(min(max(wait, SHORTEST_WAIT_S), LONGEST_WAIT_S))
            before, visit = visit.now, await self._visit()
            # A clock that has come to the end of what its world knows stands.
            is_over, closed = visit.now <= before, frame.floor(int(visit.now))
            if closed <= upto:
                continue
            token = VISIT.set(visit)
            try:
                rows, _ = await self._data.candles(node.symbol, frame, upto, None)
            finally:
                VISIT.reset(token)
            for row in rows_of(rows):
                tell(candle_of(row, frame, visit.now))
            upto = closed
