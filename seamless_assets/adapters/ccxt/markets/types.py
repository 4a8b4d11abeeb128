"""Which of an exchange's market lists are asked for: those in which symbols that are wanted can stand.

Some exchanges list each type of market by itself, and options by a dozen of requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

FETCHING, TYPES = "fetchMarkets", "types"
"""Where ccxt keeps the types that it asks for."""
_OPTION = re.compile(r"-[0-9.]+-[CP]$")


class MarketTypes:
    """The types of markets that a client asks for; `symbols` are those that are wanted.

    All types are asked for where ccxt names none, where its user names some (`is_chosen`), and once the
    answer to all was had (`stop_choosing`).
    """

    def __init__(self, client: Any, symbols: Iterable[str], *, is_chosen: bool) -> None:
        declared = client.options.get(FETCHING)
        types = declared.get(TYPES) if isinstance(declared, dict) else None
        self._client, self._symbols = client, tuple(symbols)
        self._every = list(types) if isinstance(types, list) and self._symbols and not is_chosen else []

    @property
    def may_lack(self) -> bool:
        """Whether any type may have been left out until now."""
        return bool(self._every)

    def choose(self) -> None:
        """Ask for those types next in which a wanted symbol can stand, or one that is listed by now."""
        symbols = [*self._symbols, *(self._client.markets or {})]
        self._ask_for([name for name in self._every if any(map(_holder(name), symbols))] or self._every)

    def choose_all(self) -> None:
        """Ask for all types next."""
        self._ask_for(self._every)

    def stop_choosing(self) -> None:
        """Ask for the same types from now on as were asked for last."""
        self._every = []

    def _ask_for(self, types: list[str]) -> None:
        if self._every:
            self._client.options[FETCHING] = {**self._client.options[FETCHING], TYPES: types}


def _holder(name: str) -> Callable[[str], bool]:
    """Whether a symbol can stand in the list of a type; in one that is not known here any can."""
    return _HOLDERS.get(name, lambda _: True)


def _is_spot(symbol: str) -> bool:
    return ":" not in symbol


def _is_option(symbol: str) -> bool:
    return not _is_spot(symbol) and _OPTION.search(symbol) is not None


def _is_future(symbol: str) -> bool:
    """A perpetual or a dated one: some exchanges list both as one type."""
    return not _is_spot(symbol) and not _is_option(symbol)


def _is_inverse(symbol: str) -> bool:
    base, settle = symbol.partition("/")[0], symbol.partition(":")[2].partition("-")[0]
    return _is_future(symbol) and settle == base


def _is_linear(symbol: str) -> bool:
    return _is_future(symbol) and not _is_inverse(symbol)


_HOLDERS: dict[str, Callable[[str], bool]] = {
    "spot": _is_spot,
    **dict.fromkeys(("swap", "future", "contract"), _is_future),
    "linear": _is_linear,
    "inverse": _is_inverse,
    "option": _is_option,
}
