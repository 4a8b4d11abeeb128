"""What each venue answers on a stream, without a connection."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.streams.base import MAX_TOPICS, Candle, StreamProtocol, Topic, Trade, Update
from seamless_assets.dialects.venues import VENUES
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.market import Market

NOW = 1_736_553_600
SYMBOLS = ("BTC/USDT", "BTC/USD", "ETH/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-251226")
BOOK = Book(SandboxClock(NOW), markets=[Market(symbol, 1.0) for symbol in SYMBOLS])
PATHS = sorted({route.path for venue in VENUES.values() for route in venue.streams(BOOK)})


def opened(path: str, **address: str) -> StreamProtocol:
    (route,) = [route for venue in VENUES.values() for route in venue.streams(BOOK) if route.path == path]
    return route.open(address)


def okx(operation: str, *pairs: tuple[str, str]) -> str:
    return json.dumps({"op": operation, "args": [{"channel": c, "instId": i} for c, i in pairs]})


def kraken(method: str, channel: str, *symbols: str, **params: Any) -> str:
    asked = {"channel": channel, "symbol": list(symbols), **params}
    return json.dumps({"method": method, "params": asked, "req_id": 3})


def coinbase(kind: str, *products: str, channel: str = "market_trades") -> str:
    return json.dumps({"type": kind, "product_ids": list(products), "channel": channel})


def binance(method: str, *names: str) -> str:
    return json.dumps({"method": method, "params": list(names), "id": 7})


def bybit(operation: str, *names: str) -> str:
    return json.dumps({"op": operation, "args": list(names), "req_id": "7"})


HOUR, MINUTE, FIVE = Timeframe("1h"), Timeframe("1m"), Timeframe("5m")
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
TAKEN: list[tuple[str, str, list[Topic]]] = [
    ("/ws/{number}", binance("SUBSCRIBE", "btcusdt@kline_1h"), [Topic("btcusdt@kline_1h", "BTC/USDT", HOUR)]),
    ("/ws", binance("SUBSCRIBE", "btcusdt@trade"), [Topic("btcusdt@trade", "BTC/USDT")]),
    ("/ws", binance("SUBSCRIBE", "nope@trade", "btcusdt@kline_1s", "btcusdt@kline_7m"), []),
    ("/stream", binance("SUBSCRIBE", "btcusdt@kline_1m"), [Topic("btcusdt@kline_1m", SPOT, MINUTE)]),
    ("/market/ws", binance("SUBSCRIBE", "btcusdt@kline_1m"), [Topic("btcusdt@kline_1m", SWAP, MINUTE)]),
    ("/public/ws", binance("SUBSCRIBE", "ethusdt@kline_1m"), []),
    ("/v5/public/spot", bybit("subscribe", "kline.60.BTCUSDT"), [Topic("kline.60.BTCUSDT", SPOT, HOUR)]),
    (
        "/v5/public/linear",
        bybit("subscribe", "publicTrade.BTCUSDT-26DEC25"),
        [Topic("publicTrade.BTCUSDT-26DEC25", "BTC/USDT:USDT-251226")],
    ),
    ("/ws/v5/business", okx("subscribe", ("candle1H", "BTC-USDT")), [Topic("candle1H:BTC-USDT", SPOT, HOUR)]),
    ("/ws/v5/public", okx("subscribe", ("trades", "BTC-USDT-SWAP")), [Topic("trades:BTC-USDT-SWAP", SWAP)]),
    ("/v2", kraken("subscribe", "ohlc", "BTC/USD", interval=60), [Topic("ohlc:BTC/USD-60", "BTC/USD", HOUR)]),
    (
        "/v2",
        kraken("subscribe", "trade", "BTC/USD", "BTC/USDT"),
        [Topic("trade:BTC/USD", "BTC/USD"), Topic("trade:BTC/USDT", "BTC/USDT")],
    ),
    ("/", coinbase("subscribe", "BTC-USD"), [Topic("market_trades:BTC-USD", "BTC/USD")]),
    ("/", coinbase("subscribe", "BTC-USD", channel="candles"), [Topic("candles:BTC-USD", "BTC/USD", FIVE)]),
]  # fmt: skip


def is_error(answer: Any) -> bool:
    is_said = answer.get("error") or answer.get("event") == "error" or answer.get("type") == "error"
    return bool(is_said) or answer.get("success") is False


@pytest.mark.parametrize(("path", "text", "topics"), TAKEN)
def test_what_can_be_followed_is_followed_and_left_again(path: str, text: str, topics: list[Topic]) -> None:
    protocol = opened(path)
    answers = protocol.receive(text, NOW)
    assert answers and not any(map(is_error, answers))
    assert list(protocol.topics) == topics
    left = protocol.receive(text.replace("SUBSCRIBE", "UNSUBSCRIBE").replace("subscribe", "unsubscribe"), NOW)
    assert left and not any(map(is_error, left)) and not protocol.topics


REFUSED: list[tuple[str, str]] = [
    ("/ws", binance("SUBSCRIBE", "btcusdt")),
    ("/ws", binance("SUBSCRIBE")),
    ("/ws", binance("GET_PROPERTY", "combined")),
    ("/v5/public/spot", bybit("subscribe", "kline.60.NOPE")),
    ("/v5/public/spot", bybit("subscribe", "kline.7.BTCUSDT")),
    ("/v5/public/spot", bybit("subscribe", "orderbook.50.BTCUSDT")),
    ("/v5/public/spot", bybit("subscribe", *["kline.60.BTCUSDT"] * 11)),
    ("/v5/public/linear", bybit("auth", "key")),
    ("/ws/v5/business", okx("subscribe", ("candle1H", "NOPE"))),
    ("/ws/v5/business", okx("subscribe", ("trades", "BTC-USDT"))),
    ("/ws/v5/public", okx("subscribe", ("candle1H", "BTC-USDT"))),
    ("/ws/v5/public", okx("login", ("a", "b"))),
    ("/v2", kraken("subscribe", "ohlc", "NOPE/USD", interval=60)),
    ("/v2", kraken("subscribe", "ohlc", "BTC/USD", interval=7)),
    ("/v2", kraken("subscribe", "ohlc", "BTC/USD", interval=True)),
    ("/v2", kraken("subscribe", "book", "BTC/USD")),
    ("/v2", kraken("subscribe", "trade")),
    ("/", coinbase("subscribe", "NOPE-USD")),
    ("/", coinbase("subscribe", "BTC-USD", channel="level2")),
    ("/", coinbase("subscribe")),
]


@pytest.mark.parametrize(("path", "text"), REFUSED)
def test_what_cannot_be_followed_is_refused_in_the_venues_words(path: str, text: str) -> None:
    protocol = opened(path)
    answers = protocol.receive(text, NOW)
    assert answers and all(map(is_error, answers)) and not protocol.topics


def odd_texts() -> list[str]:
    """No JSON, JSON of other shapes, and each message that is taken with each of its values made odd."""
    odd: list[Any] = [
        None,
        True,
        -1,
        1e400,
        "",
        "x" * 300,
        [],
        [[]],
        {},
        {"a": []},
        ["a", 1],
        [None],
        "BTC/USD",
    ]
    texts = ["", "{", "null", "[]", "1", '"ping"', "[" * 20_000, "NaN", "\x00", "{}", '{"op":null}']
    for _, text, _ in TAKEN:
        message = json.loads(text)
        texts += [json.dumps({**message, key: value}) for key in message for value in odd]
        if isinstance(message.get("params"), dict):
            params = message["params"]
            texts += [json.dumps({**message, "params": {**params, k: v}}) for k in params for v in odd]
        if isinstance(message.get("args"), list):
            texts += [json.dumps({**message, "args": [value]}) for value in odd]
    return texts


@pytest.mark.parametrize("path", PATHS)
def test_whatever_a_client_says_is_answered_with_json(path: str) -> None:
    for text in odd_texts():
        protocol = opened(path)
        answers = protocol.receive(text, NOW)
        assert isinstance(json.dumps(answers), str)
        assert len(json.dumps(answers)) < 4_000
        assert all(topic.symbol in SYMBOLS for topic in protocol.topics)


def test_pings_of_the_venues_are_answered() -> None:
    assert opened("/ws/v5/public").receive("ping", NOW) == ["pong"]
    (pong,) = opened("/v5/public/spot").receive('{"op":"ping","req_id":"4"}', NOW)
    assert (pong["ret_msg"], pong["req_id"], pong["success"]) == ("pong", "4", True)
    (pong,) = opened("/v2").receive('{"method":"ping"}', NOW)
    assert pong["method"] == "pong"


def test_pongs_have_the_number_of_their_ping() -> None:
    (pong,) = opened("/v2").receive('{"method":"ping","req_id":7}', NOW)
    assert pong["method"] == "pong" and pong["req_id"] == 7


@pytest.mark.parametrize(("base", "symbol"), [("", SPOT), ("/market", SWAP), ("/public", SWAP)])
def test_an_address_of_binance_names_streams(base: str, symbol: str) -> None:
    topics = [Topic("btcusdt@kline_1m", symbol, MINUTE), Topic("btcusdt@trade", symbol)]
    one = opened(f"{base}/ws/{{number}}", number="btcusdt@kline_1m")
    assert one.greeting(NOW) == [] and list(one.topics) == topics[:1]
    several = opened(f"{base}/stream", streams="btcusdt@kline_1m/btcusdt@trade")
    assert several.greeting(NOW) == [] and list(several.topics) == topics
    candle = Candle(NOW, NOW + 60, 1.0, 1.0, 1.0, 1.0, 1.0, 3, is_closed=True)
    update = Update(topics[0], NOW + 60.0, candles=(candle,))
    assert several.encode(update) == {"stream": "btcusdt@kline_1m", "data": one.encode(update)}
    several.receive(binance("UNSUBSCRIBE", "btcusdt@trade"), NOW)
    assert list(several.topics) == topics[:1]


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/ws/{number}", {"number": "17"}),
        ("/ws", {}),
        ("/stream", {}),
        ("/stream", {"streams": ""}),
        ("/ws/{number}", {"number": "nope@kline_1m"}),
    ],
)
def test_an_address_that_names_nothing_known_follows_nothing(path: str, address: dict[str, str]) -> None:
    protocol = opened(path, **address)
    assert protocol.greeting(NOW) == [] and not protocol.topics


@pytest.mark.parametrize(
    "address",
    [
        {"streams": "btcusdt"},
        {"streams": "btcusdt@kline_1m//"},
        {"streams": "/".join(["btcusdt@kline_1m"] * (MAX_TOPICS + 1))},
        {"streams": "btcusdt@kline_1m", "timeUnit": "MICROSECOND"},
    ],
)
def test_an_address_that_asks_for_what_is_not_there_is_told_so(address: dict[str, str]) -> None:
    protocol = opened("/stream", **address)
    (answer,) = protocol.greeting(NOW)
    assert is_error(answer) and not protocol.topics


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, text, topics in TAKEN if topics])
def test_a_topic_that_ends_is_refused_as_its_subscription_would_be(path: str, text: str) -> None:
    protocol = opened(path)
    asked = json.loads(text)
    protocol.receive(text, NOW)
    before = list(protocol.topics)
    answer = protocol.refuse(before[0], "gone", NOW)
    assert is_error(answer) and "gone" in json.dumps(answer) and list(protocol.topics) == before[1:]
    for number in asked.keys() & {"id", "req_id"}:
        assert answer[number] == asked[number]
    protocol.receive(text, NOW)
    assert before[0] in protocol.topics, "it may be asked for anew"


def test_binance_lists_what_is_followed() -> None:
    protocol = opened("/ws/{number}")
    protocol.receive(binance("SUBSCRIBE", "btcusdt@trade", "btcusdt@kline_1m"), NOW)
    (listed,) = protocol.receive('{"method":"LIST_SUBSCRIPTIONS","id":9}', NOW)
    assert listed == {"result": ["btcusdt@trade", "btcusdt@kline_1m"], "id": 9}


def test_kraken_follows_a_topic_once_and_leaves_the_snapshot_out_where_asked() -> None:
    protocol, asked = opened("/v2"), kraken("subscribe", "ohlc", "BTC/USD", interval=1, snapshot=False)
    assert not is_error(protocol.receive(asked, NOW)[0]) and is_error(protocol.receive(asked, NOW)[0])
    (topic,) = protocol.topics
    assert protocol.snapshot_rows(topic) == 0
    protocol.receive(asked.replace('"subscribe"', '"unsubscribe"'), NOW)
    protocol.receive(kraken("subscribe", "ohlc", "BTC/USD", interval=1), NOW)
    assert protocol.snapshot_rows(topic) > 0


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_follows_only_so_many_topics(path: str) -> None:
    protocol = opened(path)
    protocol.topics = {Topic(str(number), "BTC/USD"): None for number in range(MAX_TOPICS)}
    for where, text, _ in TAKEN:
        if where == path:
            assert all(map(is_error, protocol.receive(text, NOW)))
    assert len(protocol.topics) == MAX_TOPICS


def test_numbers_are_written_whole_and_read_the_same() -> None:
    values = [0.1, 1e-9, 123456.789, 98765432.12345678, 0.00001234]
    for path, text, _ in TAKEN:
        protocol = opened(path)
        protocol.receive(text, NOW)
        for topic, (one, other) in itertools.product(protocol.topics, itertools.pairwise(values)):
            candle = Candle(NOW, NOW + 60, one, other, one, other, one, 3, is_closed=True)
            happened = (
                {"candles": (candle,)}
                if topic.timeframe
                else {"trades": (Trade(NOW + 0.25, one, other, "buy"),)}
            )
            message = json.dumps(protocol.encode(Update(topic, NOW + 1.0, **happened)))  # type: ignore[arg-type]
            numbers = {_number(part) for part in _leaves(json.loads(message))}
            assert {one, other} <= numbers


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in _leaves(part)]
    return [value]


def _number(leaf: Any) -> float | None:
    try:
        return None if isinstance(leaf, str) and "e" in leaf else float(leaf)
    except (TypeError, ValueError):
        return None


def test_coinbase_counts_its_heartbeats_for_those_who_want_them() -> None:
    protocol = opened("/")
    assert not protocol.is_beating
    for products in ((), ("BTC-USD",)):
        (answer,) = protocol.receive(coinbase("subscribe", *products, channel="heartbeats"), NOW)
        assert answer["events"] == [{"subscriptions": {"heartbeats": ["heartbeats"]}}]
        assert protocol.is_beating and not protocol.topics
    beats = [protocol.heartbeat(NOW + number) for number in range(3)]
    assert [beat["channel"] for beat in beats] == ["heartbeats"] * 3
    assert [beat["events"][0]["heartbeat_counter"] for beat in beats] == [1, 2, 3]
    # Numbers are those of the order in which messages are sent, and not that in which they were made.
    sent = [protocol.sealed(beat) for beat in reversed(beats)]
    assert [beat["sequence_num"] for beat in sent] == [0, 1, 2]
    protocol.receive(coinbase("unsubscribe", channel="heartbeats"), NOW)
    assert not protocol.is_beating


def test_errors_of_coinbase_have_no_number() -> None:
    protocol = opened("/")
    (error,) = protocol.receive(coinbase("subscribe", "NOPE-USD"), NOW)
    assert protocol.sealed(error) == error and "sequence_num" not in error


def test_kraken_beats_once_anything_is_followed() -> None:
    protocol = opened("/v2")
    assert not protocol.is_beating
    protocol.receive(kraken("subscribe", "ohlc", "BTC/USD", interval=60), NOW)
    assert protocol.is_beating and protocol.heartbeat(NOW) == {"channel": "heartbeat"}
