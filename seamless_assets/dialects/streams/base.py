"""What the streams of all venues share: topics, updates, and the protocol on one connection.

Nothing here waits or sends: a `StreamProtocol` takes the text of a client's message and says what to answer,
and puts an update into the venue's words. Whoever holds the connection does the rest.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query

MAX_TOPICS = 1_024
"""As many topics one connection may follow, as on binance."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a client follows: candles of a timeframe, or trades where it is None.

    `name` is the venue's own, `symbol` as ccxt writes it.
    """

    name: str
    symbol: str
    timeframe: Timeframe | None = None


@dataclass(frozen=True, slots=True)
class Candle:
    """A candle `[ts, end)` as it stands: times in epoch seconds, `volume` in the base, `trades` so far."""

    ts: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade at epoch seconds `at`; `side` (`buy` or `sell`) is the taker's."""

    at: float
    price: float
    amount: float
    side: str

    @property
    def number(self) -> int:
        """Its number at the venue, the same over HTTP."""
        return int(self.at * 1000)


@dataclass(frozen=True, slots=True)
class Update:
    """What happened to a topic at epoch seconds `at`: candles, or trades in order of time."""

    topic: Topic
    at: float
    candles: tuple[Candle, ...] = ()
    trades: tuple[Trade, ...] = ()
    is_snapshot: bool = False


class StreamProtocol(ABC):
    """What one connection has said so far.

    `topics` are followed now, in the order of the subscriptions, with the number of the request for each.
    """

    has_closed_flag = True
    """Whether a candle says that it is closed, and is sent once more when it has closed."""
    beats_beside_messages = False
    """Whether heartbeats come each second, and not only while nothing else is sent."""

    def __init__(self) -> None:
        self.topics: dict[Topic, Any] = {}

    def greeting(self, now: float) -> list[Any]:
        """Messages that the venue sends as soon as a connection stands; `topics` are what its address asks for."""
        return []

    @abstractmethod
    def receive(self, text: str, now: float) -> list[Any]:
        """The answers to a client's message; `topics` change as it asks."""

    @property
    def is_beating(self) -> bool:
        """Whether heartbeats are sent on the connection as it stands."""
        return False

    def heartbeat(self, now: float) -> Any:
        """The message of a heartbeat, where it `is_beating`."""
        raise NotImplementedError(f"{type(self).__name__} sends no heartbeats")

    def snapshot_rows(self, topic: Topic) -> int:
        """How many of the latest candles or trades the venue sends at once when a topic is subscribed to."""
        return 0

    @abstractmethod
    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        """Follow a topic no more of which nothing can come, and say so as to a subscription to it."""

    def sealed(self, message: Any) -> Any:
        """A message of the protocol as it is sent, each in its turn: where messages are numbered, here."""
        return message

    @abstractmethod
    def encode(self, update: Update) -> Any:
        """An update as the venue's message."""


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """An address where a venue takes WebSocket connections. A path may hold `{name}`.

    `open` takes what the address of a connection says: the parameters of its path and its query.
    """

    exchange: str
    path: str
    open: Callable[[Query], StreamProtocol]


def parsed(text: str) -> Any:
    """The JSON of a client's message; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def names_of(value: Any) -> list[str]:
    """The texts of a list that a client sent; of anything else nothing."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def milliseconds(at: float) -> int:
    """Epoch milliseconds of epoch seconds."""
    return round(at * 1000)


def iso(at: float) -> str:
    """Epoch seconds as an ISO instant with microseconds, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def without(topics: dict[Topic, Any], names: Iterable[str]) -> None:
    """Follow topics of these names no more."""
    gone = set(names)
    for topic in [topic for topic in topics if topic.name in gone]:
        del topics[topic]
