"""Node identity: `ohlcv:{exchange}:{symbol}:{timeframe}`, its asset key and its path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidNodeId, InvalidTimeframe

KIND = "ohlcv"
_EXCHANGE = re.compile(r"[a-z0-9]+", re.ASCII)
_FORM = "ohlcv:{exchange}:{symbol}:{timeframe}, such as ohlcv:binance:BTC/USDT:1m"


@dataclass(frozen=True, order=True)
class NodeId:
    """One series of bars. `str(node)` is its canonical form; equal nodes have equal strings.

    Raises `InvalidNodeId`.
    """

    exchange: str
    symbol: str
    timeframe: Timeframe

    def __post_init__(self) -> None:
        if not isinstance(self.exchange, str) or not _EXCHANGE.fullmatch(self.exchange):
            raise self._invalid(
                f"exchange {self.exchange!r} is not a ccxt id (lower-case letters and digits)"
            )
        if not isinstance(self.symbol, str) or not _is_symbol(self.symbol):
            raise self._invalid(f"symbol {self.symbol!r} is empty or holds blanks or control characters")
        if not isinstance(self.timeframe, Timeframe):
            try:
                object.__setattr__(self, "timeframe", Timeframe.parse(self.timeframe))
            except InvalidTimeframe as error:
                raise self._invalid(str(error)) from error

    @classmethod
    def parse(cls, text: str | NodeId) -> NodeId:
        """The node of its canonical form, read from both ends, so symbols may hold colons."""
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise InvalidNodeId(f"{text!r} is not a node id; the form is {_FORM}", value=text)
        return cls._parsed(text)

    @classmethod
    @lru_cache(4_096)
    def _parsed(cls, text: str) -> NodeId:
        kind, _, rest = text.partition(":")
        exchange, _, rest = rest.partition(":")
        symbol, _, timeframe = rest.rpartition(":")
        if kind != KIND or not (exchange and symbol and timeframe):
            raise InvalidNodeId(f"{text!r} is not a node id; the form is {_FORM}", value=text)
        try:
            return cls(exchange, symbol, Timeframe.parse(timeframe))
        except (InvalidTimeframe, InvalidNodeId) as error:
            raise InvalidNodeId(f"{text!r} is not a node id: {error}", value=text) from error

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        # For dictionaries alone, which look nodes up all the time: the text's own, which Python keeps.
        return self._text.__hash__()

    @cached_property
    def _text(self) -> str:
        return f"{KIND}:{self.exchange}:{self.symbol}:{self.timeframe}"

    @property
    def asset_key(self) -> tuple[str, str, str]:
        """Dagster's key for it: `("ohlcv", "binance", "BTC_USDT_1m")`, each part `[A-Za-z0-9_]+`.

        Injective: a timeframe holds no underscore, so the last one of a key parts it from the symbol.
        """
        return (KIND, self.exchange, f"{symbol_word(self.symbol)}_{self.timeframe}")

    @property
    def path_values(self) -> dict[str, str]:
        """Its parts, percent-encoded for use as path segments; they differ in more than case."""
        return {
            "exchange": self.exchange,
            "symbol": upper_path_value(self.symbol),
            "timeframe": lower_path_value(str(self.timeframe)),
        }

    @property
    def former_path_values(self) -> dict[str, str]:
        """The same as the first version wrote them, where `1m` and `1M` differ in case alone."""
        return {
            "exchange": self.exchange,
            "symbol": path_value(self.symbol),
            "timeframe": path_value(str(self.timeframe)),
        }

    def _invalid(self, reason: str) -> InvalidNodeId:
        return InvalidNodeId(
            f"{reason}; the form is {_FORM}", value=(self.exchange, self.symbol, self.timeframe)
        )


@lru_cache(maxsize=65_536)
def symbol_word(symbol: str) -> str:
    """A symbol as `[A-Za-z0-9_]+`, one word per symbol and one symbol per word.

    Before a letter or digit `/` becomes `_` and `:` becomes `__`; any other byte becomes `___` and two
    hexadecimal digits. So `BTC/USDT:USDT-251226` is `BTC_USDT__USDT___2D251226`.
    """
    return "".join(_word_part(char, symbol[at + 1 : at + 2]) for at, char in enumerate(symbol))


@lru_cache(maxsize=4096)
def path_value(text: str) -> str:
    """`text` as one path segment: percent-encoded, and never `.` or `..`."""
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def upper_path_value(text: str) -> str:
    """`text` as one path segment without lower-case letters: `kPEPE/USDC` is `%6BPEPE%2FUSDC`."""
    return _encoded(path_value(text), "abcdefghijklmnopqrstuvwxyz")


def lower_path_value(text: str) -> str:
    """`text` as one path segment whose upper-case letters all stand behind a `%`: `1M` is `1%4D`."""
    return _encoded(path_value(text), "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _encoded(segment: str, letters: str) -> str:
    """A percent-encoded segment with these letters encoded too."""
    # Behind each % stand two digits that are not the text's own.
    parts = re.split("(%[0-9A-F]{2})", segment)
    return "".join(
        part if part.startswith("%") else "".join(f"%{ord(c):02X}" if c in letters else c for c in part)
        for part in parts
    )


def _word_part(char: str, following: str) -> str:
    if _is_word(char):
        return char
    if char in "/:" and _is_word(following):
        return "_" if char == "/" else "__"
    return "".join(f"___{byte:02X}" for byte in char.encode())


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _is_symbol(symbol: Any) -> bool:
    return bool(symbol) and symbol.isprintable() and not any(char.isspace() for char in symbol)
