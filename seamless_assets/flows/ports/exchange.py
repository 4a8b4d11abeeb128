"""Exchanges, as flows ask them for candles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from seamless_assets.core.live.feed.update import never

if TYPE_CHECKING:
    from seamless_assets.core.bars.volume import VolumeUnit
    from seamless_assets.core.calendar.segment import Segment
    from seamless_assets.core.coverage.pages import Page
    from seamless_assets.core.coverage.proof import Reach
    from seamless_assets.core.coverage.witnesses import Trades
    from seamless_assets.core.imports.archived import ArchivedBars
    from seamless_assets.core.live.feed.finality import FinalCandle
    from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate, Streamed
    from seamless_assets.core.node import NodeId
    from seamless_assets.core.wire.listing import Listing
    from seamless_assets.core.wire.upstream import UpstreamAnswer
    from seamless_assets.flows.ports import Ports


class CandleArchive(Protocol):
    """Files of candles that exchanges keep beside their API."""

    async def load_bars(self, node: NodeId, window: Segment, closed: int) -> ArchivedBars:
        """Bars that open in `window` as files have them; none where there is no file of a time.

        Of times that are not over by `closed` (epoch seconds) there is none.
        """


class CandleSource(Protocol):
    """Exchanges, asked one page at a time. Every question is one request at most where not said otherwise."""

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol` or `UnsupportedTimeframe`, with the valid choices.

        A symbol that is listed no more is known as long as the markets it was in are remembered.
        """

    async def check_trades(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol`, or `ExchangeRefused` where it serves no trades of it.

        Its timeframe may be one that the exchange has no candles of.
        """

    async def list_symbols(self, exchange: str) -> list[str]:
        """The symbols that the exchange lists and trades, ascending; asked for anew, in one request or a few.

        Raises `ExchangeError`.
        """

    def documented_page(self, node: NodeId) -> int:
        """The most bars a page holds as documented; every process says the same."""

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold; learned, so it may shrink."""

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that pages are cut at `size` bars."""

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """Candles as sent that open in `window`: `ts` in ms as the exchange wrote it, then o, h, l, c, v.

        One request, no retry. Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        """The first trades of `window` that one page holds, and more of its end where they come along.

        None where the exchange serves none. Of times before the page's first trade nothing is said, nor of
        times after its last one.

        Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock; ours where it has none to ask."""

    def clock_skew(self, exchange: str) -> float:
        """How far its clock is ahead of ours by the last answer, in seconds; 0 where it was not asked."""

    async def reach(self, node: NodeId, window: Segment) -> Reach:
        """Where the series begins and ends, as far as that was found out already and matters for `window`.

        What an earlier process found is put to the test before it is returned, in a few requests.
        """

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar the exchange ever had, searched once; None where it cannot be found."""

    async def forget_listing(self, node: NodeId) -> None:
        """Search the first bar anew when it is asked for: there is one before it."""

    async def oldest_served(self, node: NodeId) -> int | None:
        """Open of the oldest bar that is still served, where that is not the first one; else None."""

    async def is_delisted(self, node: NodeId) -> bool:
        """Whether the symbol is no longer traded; the market list is asked for anew where it is not fresh."""

    async def last_traded(self, node: NodeId) -> int | None:
        """Close of the last bar the exchange serves, searched once; None where it serves none."""

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """Coarser series of the symbol whose bars can witness for its own, the finest first."""

    def finer(self, node: NodeId) -> tuple[NodeId, ...]:
        """Finer series of the symbol that its own bars are made of, the best witness first."""

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Other symbols of the exchange in the same timeframe, as declared."""

    async def market_list(self, exchange: str, at: float | None = None) -> Mapping[str, Listing] | None:
        """What the exchange's list of markets says of declared symbols, as it sent it, by symbol.

        It is asked for anew where it is not of this hour; with epoch seconds `at` nobody is asked, and it is
        what was known then, or first after it; at infinity, the newest that is known. None where nothing was
        ever known, empty where the exchange says nothing of its markets. Raises `ExchangeError`.
        """

    async def ask_public(self, exchange: str, path: str, query: str) -> UpstreamAnswer:
        """What the exchange answers to a GET that needs no key, whatever that is.

        Raises `ExchangeRefused` where it is none that is known to be for anybody, and `ExchangeUnavailable`
        where there is no answer.
        """

    async def requests_made(self, exchange: str) -> int:
        """Requests that were sent to the exchange by this process, whatever came of them."""

    def volume_unit(self, node: NodeId) -> VolumeUnit | None:
        """What the node's volume counts, as far as the markets say that are known by now."""


class CandleStream(Protocol):
    """Exchanges' streams, one subscription for each node that is followed."""

    async def streamed(self, exchange: str) -> Streamed | None:
        """What the exchange streams; None where that is neither candles nor trades."""

    def updates(self, node: NodeId, at_once: AtOnce = never) -> AsyncGenerator[CandleUpdate, None]:
        """What the exchange sends of a node, from now on until it is closed; nothing of it is left then.

        While none waits each is shown to `at_once` in the moment in which it comes; those that this says no
        to are yielded. What `at_once` raises is raised here.
        Raises `ExchangeUnavailable` where the connection ends or cannot be made, and `ExchangeRefused`.
        """


class LiveFeeds(Protocol):
    """Feeds of streams, shared by all who follow a node in this process."""

    async def is_streamed(self, ports: Ports, node: NodeId) -> bool:
        """Whether the node's bars come by a stream. Raises `ExchangeRefused` where they must and cannot."""

    def is_awaited(self, node: NodeId) -> bool:
        """Whether its stream is stable enough to be waited for. Raises what ended its feed."""

    def is_heard_here(self, node: NodeId) -> bool:
        """Whether this process follows its stream at the moment, and no other one does."""

    def forming(self, node: NodeId, now: float) -> CandleUpdate | None:
        """The candle that forms at `now`, as the node's stream told it last; None where nobody here knows."""

    def following(
        self,
        ports: Ports,
        node: NodeId,
        on_bars: Callable[[Segment | None], None],
        on_update: Callable[[], None] | None = None,
        on_proven: Callable[[FinalCandle], bool] | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """Have the node's stream followed for as long as the body works; `on_bars` hears of what it brings,
        `on_update` of every word about the bar that forms, `on_proven` of bars that are about to be stored:
        it says whether it tells of them, so that they are stored a moment later.

        It takes the range that the stream has just proven and stored whole, None where it is to look itself.
        The last one to leave ends the subscription, and nothing of it is left.
        """
