"""Who follows what of one exchange: nodes come and go on one client, which is a stand-in for ccxt.pro's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest

from seamless_assets.adapters.ccxt.streams.client import Heard, Message
from seamless_assets.adapters.ccxt.streams.line import GATHERING_S, Streams
from seamless_assets.adapters.ccxt.streams.subscriber import MAX_WAITING, Subscriber
from seamless_assets.adapters.ccxt.streams.venue import Venue
from seamless_assets.core.live.events import Values
from seamless_assets.core.live.feed.finality import SETTLE_S, FinalityJudge
from seamless_assets.core.live.feed.trades import Trade, TradeCandles
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.node import NodeId
from seamless_assets.errors import (
    BudgetUnavailable,
    ExchangeRefused,
    ExchangeUnavailable,
    MissingPackage,
    SeamlessError,
)
from seamless_assets.testing import run_on_virtual_time

T = 1_735_711_200
NODES = [NodeId.parse(f"ohlcv:coinbase:BTC/USD:{frame}") for frame in ("1m", "5m", "15m")]


class TradesClient:
    """A client on one connection of which nothing comes but what `trade` is called with."""

    def __init__(self, connection: int = 1) -> None:
        self.markets: dict[str, Any] = {}
        self._connection = connection
        self.is_closed = False
        self._heard: dict[str, Heard] = {}
        self._messages = count(1)

    def hear_trades(self, symbol: str, heard: Heard) -> None:
        self._heard[symbol] = heard

    async def watch_trades(self, symbol: str) -> None:
        assert symbol in self._heard

    async def close(self) -> None:
        self.is_closed = True

    def trade(self, one: Trade) -> None:
        """A message of a trade."""
        row = {"id": one.number, "timestamp": one.at * 1000, "price": one.price, "amount": one.amount}
        for heard in list(self._heard.values()):
            heard(row, Message(self._connection, next(self._messages), None))


class Market:
    """Sends its trades to all clients of a venue that were ever opened, each with a connection of its own."""

    def __init__(self) -> None:
        self.clients: list[TradesClient] = []
        self.venue = Venue(Streams("coinbase", "trades", self._opened, ()))

    async def _opened(self, _: Callable[[int, str], None]) -> TradesClient:
        self.clients.append(TradesClient(len(self.clients) + 1))
        return self.clients[-1]

    def trade(self, one: Trade) -> None:
        """A message of a trade to each."""
        for client in self.clients:
            client.trade(one)


class Follower:
    """A node's judge, which stays while its subscriptions come and go."""

    def __init__(self, venue: Venue, node: NodeId) -> None:
        self.node, self._venue = node, venue
        self._judge = FinalityJudge(node.timeframe)
        self._subscriber: Subscriber | None = None
        self.proven: dict[int, Values] = {}

    async def turn(self) -> None:
        """Subscribe, or subscribe no more."""
        if self._subscriber is None:
            self._subscriber = await self._venue.join(self.node)
            await asyncio.sleep(2 * GATHERING_S)
            return
        await self._venue.leave(self._subscriber)
        self._judge.end_connection()
        self._subscriber = None

    def judge(self, now: float) -> None:
        """Take what has come."""
        if self._subscriber is None:
            return
        while not self._subscriber.updates.empty():
            update = self._subscriber.updates.get_nowait()
            assert isinstance(update, CandleUpdate)
            self._judge.hear(update, now)
            self.proven |= {candle.ts: candle.values for candle in self._judge.final(now + SETTLE_S)}


def truth_of(node: NodeId, trades: list[Trade]) -> dict[int, Values]:
    candles = TradeCandles(node.timeframe)
    return {
        update.ts: update.values
        for number, trade in enumerate(trades)
        for update in candles.add([trade], 1, number)
    }


def every(seconds: int, until: int) -> list[Trade]:
    return [Trade(str(at), T + at, 100.0 + at % 7, 0.1 + at % 3) for at in range(1, until, seconds)]


def test_who_joins_begins_nobody_elses_candle_anew() -> None:
    trades = every(10, 300)

    async def work() -> dict[int, Values]:
        market = Market()
        minutes, fives = (Follower(market.venue, node) for node in NODES[:2])
        await minutes.turn()
        for trade in trades:
            if trade.at == T + 91:
                await fives.turn()
            market.trade(trade)
            minutes.judge(trade.at)
        await market.venue.close()
        return minutes.proven

    whole = truth_of(NODES[0], trades)
    assert run_on_virtual_time(work) == {ts: whole[ts] for ts in (T + 60, T + 120, T + 180)}


def test_whoever_comes_and_goes_no_candle_is_proven_that_is_not_whole() -> None:
    trades, proven = every(7, 7_200), 0

    async def work(rng: Random) -> list[Follower]:
        market = Market()
        followers = [Follower(market.venue, node) for node in NODES]
        for trade in trades:
            for follower in followers:
                if rng.random() < 0.01:
                    await follower.turn()
            market.trade(trade)
            for follower in followers:
                follower.judge(trade.at)
        await market.venue.close()
        return followers

    truth = {node: truth_of(node, trades) for node in NODES}
    for seed in range(10):
        for follower in run_on_virtual_time(lambda seed=seed: work(Random(seed))):  # type: ignore[misc]
            whole = truth[follower.node]
            assert {ts: bar for ts, bar in follower.proven.items() if whole[ts] != bar} == {}, seed
            proven += len(follower.proven)
    assert proven > 10 * 30


@pytest.mark.parametrize("closes", [False, True])
def test_who_joins_while_all_is_closed_is_subscribed(closes: bool) -> None:
    async def work(steps: int) -> int:
        clients: list[TradesClient] = []

        async def opened(_: Callable[[int, str], None]) -> TradesClient:
            clients.append(TradesClient())
            return clients[-1]

        venue = Venue(Streams("coinbase", "trades", opened, ()))
        last = await venue.join(NODES[0])
        await asyncio.sleep(2 * GATHERING_S)
        closing = asyncio.ensure_future(venue.close() if closes else venue.leave(last))
        for _ in range(steps):
            await asyncio.sleep(0)
        joined = await venue.join(NODES[1])
        await closing
        await asyncio.sleep(2 * GATHERING_S)
        clients[-1].trade(Trade("1", T + 1.0, 100.0, 1.0))
        heard = joined.updates.qsize()
        await venue.close()
        return heard

    # With no step between them the closing has not begun, and ends what has joined before it.
    begins_at = 1 if closes else 0
    heard = [run_on_virtual_time(lambda n=steps: work(n)) for steps in range(begins_at, 8)]  # type: ignore[misc]
    assert heard == [1] * len(heard)


@pytest.mark.parametrize(
    "error",
    [
        ExchangeUnavailable("away", status=503),
        ExchangeRefused("no", status=403),
        BudgetUnavailable("no redis"),
        MissingPackage("no aiohttp"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_who_joins_is_told_why_there_is_no_client_and_the_next_one_has_it(error: SeamlessError) -> None:
    async def work() -> None:
        client, errors = TradesClient(), [error]

        async def opened(_: Callable[[int, str], None]) -> TradesClient:
            if errors:
                raise errors.pop()
            return client

        venue = Venue(Streams("coinbase", "trades", opened, ()))
        joined = [await venue.join(node) for node in NODES[:2]]
        assert [await subscriber.updates.get() for subscriber in joined] == [error, error]
        await venue.leave(joined[0])
        again = await venue.join(NODES[0])
        await asyncio.sleep(2 * GATHERING_S)
        client.trade(Trade("1", T + 1.0, 100.0, 1.0))
        assert isinstance(await again.updates.get(), CandleUpdate)
        await venue.close()

    run_on_virtual_time(work)


def test_what_waits_for_a_subscriber_is_bounded_and_ends_with_one_error() -> None:
    async def work() -> None:
        subscriber = Subscriber(NODES[0])
        for number in range(3 * MAX_WAITING):
            subscriber.take(CandleUpdate(T, (1.0, 1.0, 1.0, 1.0, 1.0), 1, number))
        subscriber.lose("the connection ended")
        waiting = [subscriber.updates.get_nowait() for _ in range(subscriber.updates.qsize())]
        assert [one.message for one in waiting[:-1] if isinstance(one, CandleUpdate)] == [*range(MAX_WAITING)]
        assert len(waiting) == MAX_WAITING + 1
        assert isinstance(waiting[-1], ExchangeUnavailable)
        assert "come too fast" in str(waiting[-1])
        subscriber.take(CandleUpdate(T, (1.0, 1.0, 1.0, 1.0, 1.0), 1, 0))
        assert subscriber.updates.empty(), "nothing comes after the error"

    run_on_virtual_time(work)


def test_what_is_taken_at_once_does_not_wait_and_nothing_overtakes_what_does() -> None:
    async def work() -> None:
        taken: list[int] = []

        def take_all_but_the_second(update: CandleUpdate) -> bool:
            taken.append(update.message)
            return update.message != 2

        subscriber = Subscriber(NODES[0], take_all_but_the_second)
        for number in (1, 2, 3):
            subscriber.take(CandleUpdate(T, (1.0, 1.0, 1.0, 1.0, 1.0), 1, number))
        waiting = [subscriber.updates.get_nowait() for _ in range(subscriber.updates.qsize())]
        assert [one.message for one in waiting if isinstance(one, CandleUpdate)] == [2, 3]
        subscriber.take(CandleUpdate(T, (1.0, 1.0, 1.0, 1.0, 1.0), 1, 4))
        assert taken == [1, 2, 4] and subscriber.updates.empty()

    run_on_virtual_time(work)


def test_what_is_raised_at_once_reaches_whoever_follows() -> None:
    async def work() -> None:
        fault = ZeroDivisionError("a fault of ours")

        def fail(_: CandleUpdate) -> bool:
            raise fault

        subscriber = Subscriber(NODES[0], fail)
        subscriber.take(CandleUpdate(T, (1.0, 1.0, 1.0, 1.0, 1.0), 1, 1))
        assert await subscriber.updates.get() is fault

    run_on_virtual_time(work)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_client_that_is_being_closed_takes_nothing_from_those_of_the_next_one(lost: int) -> None:
    async def work() -> int:
        lose: list[Callable[[int, str], None]] = []

        async def opened(on_lost: Callable[[int, str], None]) -> TradesClient:
            lose.append(on_lost)
            return TradesClient()

        venue = Venue(Streams("coinbase", "trades", opened, ()))
        await venue.leave(await _joined(venue))
        joined = await _joined(venue)
        lose[lost](1 + lost, "closed")
        heard = joined.updates.qsize()
        await venue.close()
        return heard

    async def _joined(venue: Venue) -> Subscriber:
        subscriber = await venue.join(NODES[0])
        await asyncio.sleep(2 * GATHERING_S)
        return subscriber

    assert run_on_virtual_time(work) == lost, "only what the client in use loses is lost"


def test_who_follows_a_node_again_has_another_connection_while_others_keep_theirs() -> None:
    async def work() -> None:
        market = Market()
        silent = await market.venue.join(NODES[0])
        await asyncio.sleep(2 * GATHERING_S)
        other = await market.venue.join(NODES[1])
        await asyncio.sleep(2 * GATHERING_S)
        for turn in range(2, 6):
            await market.venue.leave(silent)
            silent = await market.venue.join(NODES[0])
            await asyncio.sleep(2 * GATHERING_S)
            market.clients[-1].trade(Trade(str(turn), T + turn, 100.0, 1.0))
            update = await silent.updates.get()
            assert isinstance(update, CandleUpdate) and update.connection == turn
            assert other.updates.empty(), "its connection is its own"
            assert [client.is_closed for client in market.clients] == [False, *[True] * (turn - 2), False]
        await market.venue.close()
        assert all(client.is_closed for client in market.clients)

    run_on_virtual_time(work)


def test_who_follows_a_node_while_all_is_closed_is_told() -> None:
    async def work() -> None:
        market = Market()
        joined = await market.venue.join(NODES[0])
        await asyncio.sleep(2 * GATHERING_S)
        await market.venue.close()
        error = await joined.updates.get()
        assert isinstance(error, ExchangeUnavailable) and "closed here" in str(error)

    run_on_virtual_time(work)


@pytest.mark.parametrize("opens_in", [0.0, 5.0])
@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("after", [0.0, GATHERING_S / 2, 3 * GATHERING_S, 6.0])
def test_a_close_at_any_moment_tells_all_who_wait_and_leaves_nothing_open(
    after: float, leaves: bool, opens_in: float
) -> None:
    clients: list[SlowClient] = []

    class SlowClient(TradesClient):
        async def close(self) -> None:
            await asyncio.sleep(1.0)
            await super().close()

    async def opened(_: Callable[[int, str], None]) -> TradesClient:
        await asyncio.sleep(opens_in)
        clients.append(SlowClient())
        return clients[-1]

    async def work() -> None:
        before = asyncio.all_tasks()
        venue = Venue(Streams("coinbase", "trades", opened, ()))
        joined = await venue.join(NODES[0])
        waiting = asyncio.create_task(joined.updates.get())
        await asyncio.sleep(after)
        leaving = asyncio.create_task(venue.leave(joined)) if leaves else None
        # Whoever leaves has begun to close what nobody else follows.
        await asyncio.sleep(0.1 if leaves else 0)
        await venue.close()
        assert all(client.is_closed for client in clients)
        if leaving is None:
            assert isinstance(await waiting, ExchangeUnavailable)
        else:
            await leaving
            waiting.cancel()
            await asyncio.wait({waiting})
        assert asyncio.all_tasks() == before

    run_on_virtual_time(work)
