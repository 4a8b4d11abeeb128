"""Symbols as ccxt writes them, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_FORM = re.compile(
    r"(?P<base>[^\s/:]+)/(?P<quote>[^\s/:]+)"
    r"(?::(?P<settle>[^\s/:-]+)(?:-(?P<day>[0-9]{6})(?P<option>-[0-9.]+-[CP])?)?)?"
)


@dataclass(frozen=True, slots=True)
class SymbolParts:
    """What a symbol says: `settle` and `day` (YYMMDD, as written) of contracts alone."""

    base: str
    quote: str
    settle: str | None
    day: str | None
    is_option: bool

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap."""
        return self.settle is not None and self.day is None

    @property
    def expiry(self) -> datetime | None:
        """When a dated contract ends; None for others. Raises `ValueError` where `day` is none."""
        return None if self.day is None else datetime.strptime(f"{self.day}08+0000", "%y%m%d%H%z")


def parts_of(symbol: str) -> SymbolParts | None:
    """The parts of a symbol; None for what is of no such form."""
    form = _FORM.fullmatch(symbol)
    if form is None:
        return None
    return SymbolParts(form["base"], form["quote"], form["settle"], form["day"], form["option"] is not None)
