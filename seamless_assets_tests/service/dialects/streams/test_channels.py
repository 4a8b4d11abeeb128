"""However a node's task ends, its listeners hear of it, and whoever follows next begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable, SeamlessError, StreamCut
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.streams.channels import SharedChannel

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
CANDLE = StreamedCandle(60, 120, (1.0, 1.0, 1.0, 1.0, 1.0), is_closed=True)
GONE = ExchangeUnavailable("gone", status=None)
Told = list[StreamedCandle | SeamlessError]


class Scripted(SharedChannel):
    """Each time a node is followed one candle comes, then what `ends` says; `cleaning` is done at the end."""

    def __init__(self, *ends: BaseException | None, cleaning: BaseException | None = None) -> None:
        super().__init__()
        self._ends, self._cleaning = list(ends), cleaning
        self.may_end, self.begun, self.cleaned = asyncio.Event(), 0, 0

    async def _tell(self, node: NodeId, tell: Callable[[StreamedCandle], None]) -> None:
        self.begun += 1
        tell(CANDLE)
        if self._ends:
            if (end := self._ends.pop(0)) is not None:
                raise end
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self.may_end.wait()
            self.cleaned += 1
            if self._cleaning is not None:
                raise self._cleaning from None
            raise


@contextmanager
def handled() -> Iterator[list[Any]]:
    """What the loop's exception handler is told."""
    found: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context["exception"]))
    yield found
    loop.set_exception_handler(None)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("end", [GONE, ZeroDivisionError(), asyncio.CancelledError(), None], ids=repr)
async def test_a_node_whose_task_has_ended_is_followed_anew(end: BaseException | None) -> None:
    channel, first, second = Scripted(end), Told(), Told()
    with handled() as found:
        channel.follow(NODE, first.append)
        await settled()
        channel.follow(NODE, second.append)
        await settled()
    assert first[0] == second[0] == CANDLE and len(second) == 1 and channel.begun == 2
    assert len(first) == 2, "an error is the last thing that is told"
    assert first[1] is GONE if end is GONE else isinstance(first[1], StreamCut)
    assert found == ([end] if isinstance(end, ZeroDivisionError) else []), "the unforeseen is never silent"
    channel.may_end.set()
    await channel.close()


@pytest.mark.parametrize("error", [GONE, ZeroDivisionError()], ids=repr)
async def test_a_clean_up_that_fails_ends_nobody_else(error: BaseException) -> None:
    channel, told = Scripted(cleaning=error), Told()
    with handled() as found:
        channel.follow(NODE, gone := Told().append)
        await settled()
        channel.leave(NODE, gone)
        channel.follow(NODE, told.append)
        channel.may_end.set()
        await settled()
        assert channel.cleaned == 1 and told == [CANDLE] and found == [error]
        channel.leave(NODE, told.append)
        await settled()
        assert channel.cleaned == 2, "it was still the task of its node"
    await channel.close()


async def test_closing_waits_for_what_was_left_before() -> None:
    channel = Scripted()
    channel.follow(NODE, gone := Told().append)
    await settled()
    channel.leave(NODE, gone)
    closing = asyncio.ensure_future(channel.close())
    await settled()
    assert not closing.done()
    channel.may_end.set()
    await closing
    assert channel.cleaned == 1
