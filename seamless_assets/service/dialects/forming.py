"""The candle that forms now, for pages: what the stream told last, followed while somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SeamlessError
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.streams.channels import Channel

IDLE_S = 600.0
"""How long a node is followed that nobody asks for."""


@dataclass
class _Watched:
    asked_at: float
    newest: StreamedCandle | None = None


class FormingBars:
    """Candles that form, by node; the first request for one begins to follow it, and has none yet."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._watched: dict[NodeId, _Watched] = {}

    def at(self, node: NodeId, now: float) -> StreamedCandle | None:
        """The candle that forms at `now`; None where the stream told of none yet."""
        watched = self._watched.get(node)
        if watched is None:
            watched = self._watched[node] = _Watched(monotonic())
            self._channel.follow(node, watched_by := partial(self._take, node))
            asyncio.get_running_loop().call_later(IDLE_S, self._look, node, watched_by)
        watched.asked_at = monotonic()
        newest = watched.newest
        return newest if newest is not None and newest.ts <= now < newest.end else None

    def _take(self, node: NodeId, told: StreamedCandle | SeamlessError) -> None:
        watched = self._watched.get(node)
        if isinstance(told, SeamlessError):
            # Whoever asks next begins anew.
            self._watched.pop(node, None)
        elif watched is not None:
            watched.newest = None if told.is_closed else told

    def _look(self, node: NodeId, watched_by: partial[None]) -> None:
        """Follow it no more where nobody has asked for long."""
        watched = self._watched.get(node)
        left = 0.0 if watched is None else watched.asked_at + IDLE_S - monotonic()
        if left > 0:
            asyncio.get_running_loop().call_later(left, self._look, node, watched_by)
            return
        self._watched.pop(node, None)
        self._channel.leave(node, watched_by)
