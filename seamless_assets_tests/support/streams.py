"""Real, unmodified ccxt.pro at the streams of the local exchange."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt.pro as ccxt

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.sandbox.server import Sandbox

PATIENCE_S = 60.0
"""Nothing is awaited for longer."""


def at_home(name: str, url: str, **more: Any) -> Any:
    """A ccxt.pro exchange of `more` settings; it connects to `url` and believes that it is at the venue."""

    def moved(asked: str, scheme: str) -> str:
        return urlunsplit((scheme, urlsplit(url).netloc, *urlsplit(asked)[2:]))

    class Local(getattr(ccxt, name)):  # type: ignore[misc]
        async def fetch(self, asked: str, *rest: Any, **options: Any) -> Any:
            return await super().fetch(moved(asked, "http"), *rest, **options)

        def client(self, asked: str) -> Any:
            made = super().client(asked)
            made.create_connection = lambda session: session.ws_connect(
                moved(asked, "ws"), autoping=False, autoclose=False
            ).__aenter__()
            return made

    return Local({"enableRateLimit": False, **more})


def truth(exchange: Sandbox, symbol: str, frame: str, start: int, end: int) -> dict[int, list[float]]:
    """Bars that open in `[start, end)`, each as it was known when it closed."""
    timeframe = Timeframe(frame)
    known: dict[int, list[float]] = {}
    for opened in timeframe.opens(start, end):
        closed = timeframe.shift(opened, 1)
        rows = exchange.book.as_of(closed).candles(symbol, timeframe, opened, closed)
        known.update({int(row["ts"]): list(row.tolist())[1:] for row in rows})
    return known


async def subscribed(exchange: Sandbox, count: int = 1) -> None:
    """Until so many topics are followed."""
    async with asyncio.timeout(PATIENCE_S):
        while len(exchange.topics()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
