"""Node identities: one text for each, and names that never collide."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId, lower_path_value, path_value, symbol_word, upper_path_value
from seamless_assets.errors import InvalidNodeId

SYMBOLS = st.text(st.sampled_from("AaBb0129/:_-.%+é "), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "exchange", "symbol", "timeframe"),
    [
        ("ohlcv:binance:BTC/USDT:1m", "binance", "BTC/USDT", "1m"),
        ("ohlcv:okx:BTC/USDT:USDT:1m", "okx", "BTC/USDT:USDT", "1m"),
        ("ohlcv:okx:BTC/USDT:USDT-251226-100000-C:1M", "okx", "BTC/USDT:USDT-251226-100000-C", "1M"),
        ("ohlcv:kraken:X:1d:1h", "kraken", "X:1d", "1h"),
    ],
)
def test_a_node_is_read_from_both_ends(text: str, exchange: str, symbol: str, timeframe: str) -> None:
    node = NodeId.parse(text)
    assert (node.exchange, node.symbol, node.timeframe) == (exchange, symbol, Timeframe(timeframe))
    assert str(node) == text
    assert node == NodeId(exchange, symbol, timeframe)  # type: ignore[arg-type]
    assert NodeId.parse(node) is node
    assert pickle.loads(pickle.dumps(node)) == node


@given(st.from_regex("[a-z0-9]{1,6}", fullmatch=True), TEXTS, st.sampled_from(["1m", "1h", "1M"]))
@example("okx", ":", "1m")
def test_parse_and_str_make_a_round_trip(exchange: str, symbol: str, timeframe: str) -> None:
    assume(symbol.isprintable() and not any(char.isspace() for char in symbol))
    node = NodeId(exchange, symbol, Timeframe(timeframe))
    assert NodeId.parse(str(node)) == node


@pytest.mark.parametrize(
    "text",
    [
        "",
        "binance:BTC/USDT:1m",
        "trades:binance:BTC/USDT:1m",
        "OHLCV:binance:BTC/USDT:1m",
        "ohlcv:binance:1m",
        "ohlcv:binance::1m",
        "ohlcv::BTC/USDT:1m",
        "ohlcv:binance:BTC/USDT:",
        "ohlcv:binance:BTC/USDT:60",
        "ohlcv:binance:BTC/USDT:1min",
        "ohlcv:Binance:BTC/USDT:1m",
        "ohlcv:bin/ance:BTC/USDT:1m",
        "ohlcv:binance:BTC USDT:1m",
        "ohlcv:binance:BTC\n:1m",
        "ohlcv:binance:BTC/USDT:1m\n",
        " ohlcv:binance:BTC/USDT:1m",
        None,
        5,
        b"ohlcv:binance:BTC/USDT:1m",
    ],
)
def test_what_is_no_node_id_is_a_typed_value_error(text: Any) -> None:
    with pytest.raises(InvalidNodeId) as caught:
        NodeId.parse(text)
    assert isinstance(caught.value, ValueError)
    assert repr(text) in str(caught.value)
    assert "ohlcv:binance:BTC/USDT:1m" in str(caught.value) or "timeframe" in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [("", "A", "1m"), (None, "A", "1m"), ("x", "", "1m"), ("x", None, "1m"), ("x", "A", "m"), ("x", "A", 60)],
)
def test_the_parts_are_checked_too(parts: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InvalidNodeId, match="the form is"):
        NodeId(*parts)


def test_nodes_sort() -> None:
    texts = ["ohlcv:a:B:1m", "ohlcv:a:B:1d", "ohlcv:a:A:1d", "ohlcv:b:A:1m", "ohlcv:a:B:15m"]
    assert [str(node) for node in sorted(map(NodeId.parse, texts))] == [
        "ohlcv:a:A:1d",
        "ohlcv:a:B:1m",
        "ohlcv:a:B:15m",
        "ohlcv:a:B:1d",
        "ohlcv:b:A:1m",
    ]


@pytest.mark.parametrize(
    ("symbol", "word"),
    [
        ("BTC/USDT", "BTC_USDT"),
        ("BTC/USDT:USDT", "BTC_USDT__USDT"),
        ("BTC/USDT:USDT-251226", "BTC_USDT__USDT___2D251226"),
        ("BTC_USDT", "BTC___5FUSDT"),
        ("A/", "A___2F"),
        ("é", "___C3___A9"),
    ],
)
def test_symbol_words(symbol: str, word: str) -> None:
    assert symbol_word(symbol) == word


def word_meaning(word: str) -> str:
    """The one symbol of a word: three underscores and two digits first, then two, then one."""
    return re.sub(r"((?:___[0-9A-F]{2})+)|(__)|(_)", decoded, word)


def decoded(found: re.Match[str]) -> str:
    if found[1]:
        return bytes.fromhex(found[1].replace("___", "")).decode()
    return ":" if found[2] else "/"


@given(st.one_of(SYMBOLS, TEXTS))
def test_a_symbol_word_says_its_symbol(symbol: str) -> None:
    word = symbol_word(symbol)
    assert re.fullmatch("[A-Za-z0-9_]+", word)
    assert word_meaning(word) == symbol


@given(SYMBOLS, SYMBOLS)
def test_names_never_collide(one: str, other: str) -> None:
    assert (symbol_word(one) == symbol_word(other)) is (one == other)
    assert (path_value(one) == path_value(other)) is (one == other)


NODES = st.builds(
    NodeId,
    st.from_regex("[a-z0-9]{1,3}", fullmatch=True),
    SYMBOLS.filter(lambda symbol: not any(char.isspace() for char in symbol)),
    st.sampled_from([Timeframe(text) for text in ("1m", "1M", "11m", "1h", "60m", "1s", "1y")]),
)


@given(NODES, NODES)
@example(NodeId("okx", "BTC/USDT", Timeframe("1m")), NodeId("okx", "BTC/USDT", Timeframe("1M")))
@example(NodeId("okx", "BTC/USDT", Timeframe("1m")), NodeId("okx", "BTC/USDT_1m", Timeframe("1m")))
@example(NodeId("okx", "A/B_1m", Timeframe("1h")), NodeId("okx", "A/B/1m", Timeframe("1h")))
@example(NodeId("okx", "A/B:C", Timeframe("1h")), NodeId("okx", "A/B:C-251226-100-C", Timeframe("1h")))
def test_asset_keys_of_two_nodes_differ(one: NodeId, other: NodeId) -> None:
    assert all(re.fullmatch("[A-Za-z0-9_]+", part) for part in one.asset_key) and len(one.asset_key) == 3
    assert (one.asset_key == other.asset_key) is (one == other)


@given(TEXTS, TEXTS)
@example(".", "%2E")
@example("..", "%2E%2E")
@example("a/b", "a%2Fb")
def test_path_values_are_single_safe_segments(one: str, other: str) -> None:
    value = path_value(one)
    assert value not in ("", ".", "..")
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", value)
    assert (value == path_value(other)) is (one == other)


def test_keys_and_paths_of_a_node() -> None:
    node = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1m")
    assert node.asset_key == ("ohlcv", "okx", "BTC_USDT__USDT_1m")
    assert node.path_values == {"exchange": "okx", "symbol": "BTC%2FUSDT%3AUSDT", "timeframe": "1m"}
    assert node.former_path_values == node.path_values
    months = NodeId.parse("ohlcv:hyperliquid:kPEPE/USDC:USDC:1M")
    assert (months.path_values["symbol"], months.path_values["timeframe"]) == (
        "%6BPEPE%2FUSDC%3AUSDC",
        "1%4D",
    )
    assert months.former_path_values["timeframe"] == "1M"


@pytest.mark.parametrize("encode", [upper_path_value, lower_path_value])
@given(one=TEXTS, other=st.one_of(TEXTS, SYMBOLS))
@example(one="1m", other="1M")
@example(one="btc", other="BTC")
@example(one="%6b", other="%6B")
@example(one=".", other="..")
def test_path_values_of_a_node_differ_in_more_than_case(
    encode: Callable[[str], str], one: str, other: str
) -> None:
    for left, right in ((one, other), (one, one.swapcase())):
        assert (encode(left).casefold() == encode(right).casefold()) is (left == right)
    assert encode(one) not in ("", ".", "..") and re.fullmatch(r"[A-Za-z0-9_.~%-]+", encode(one))
    assert unquote(encode(one)) == one
