"""What the local exchange trades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

import numpy as np

from seamless_assets.dialects.symbols import SymbolParts, parts_of
from seamless_assets.dialects.terms import Terms
from seamless_assets.errors import InvalidInput

LISTED = 1_577_836_800
"""2020-01-01T00:00:00Z, when generated markets were listed."""


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol, as ccxt writes it: spot, a perpetual swap or a dated future; others raise `InvalidInput`.

    `quiet` is the share of minutes without a trade, `price` where it began.

    From `delisted` on it is not traded: listed as halted, gone from the list, or even its past refused, as
    `afterwards` says. `retention` is how many bars of a timeframe are served; a page that begins before
    them has the older ones left out, or is refused, as `too_old` says. `has_zero_row`: where there are no
    bars yet, one of zeros is served. `offsets` are timeframes whose bars open so many seconds after the
    usual grid (before it, if negative).
    """

    symbol: str
    price: float
    quiet: float = 0.0
    listed: int = LISTED
    delisted: int | None = None
    afterwards: Literal["halted", "unlisted", "refused"] = "halted"
    retention: int | None = None
    too_old: Literal["left out", "refused"] = "left out"
    has_zero_row: bool = False
    offsets: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if wrong := _fault_of(self.symbol):
            raise InvalidInput(f"symbol {self.symbol!r} {wrong}", value=self.symbol)

    def is_halted(self, now: float) -> bool:
        """Whether it is no longer traded at `now`."""
        return self.delisted is not None and now >= self.delisted

    @property
    def base(self) -> str:
        """What is traded."""
        return self._parts.base

    @property
    def quote(self) -> str:
        """What it is priced in."""
        return self._parts.quote

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap."""
        return self._parts.is_swap

    @property
    def expiry(self) -> datetime | None:
        """When a dated future (`BTC/USDT:USDT-251226`) ends; None for what does not."""
        return self._parts.expiry

    @property
    def places(self) -> int:
        """Decimals of its prices: they have about eight significant digits, by where they began."""
        return max(2, 7 - self._magnitude)

    @property
    def terms(self) -> Terms:
        """Its steps, limits and fees: finer where a unit is dear, and another fee where dollars are paid."""
        lot, is_dear = places_to_step(min(8, max(0, 4 + self._magnitude))), self.quote in ("USD", "EUR")
        return Terms(
            tick=places_to_step(self.places),
            lot=lot,
            least=f"{10 * Decimal(lot):f}",
            most=f"{Decimal(10) ** max(0, 7 - self._magnitude):f}",
            least_cost=_LEAST_COST.get(self.quote, "5"),
            maker="0.0016" if is_dear else "0.0008",
            taker="0.0026" if is_dear else "0.0010",
            contract=f"{Decimal(10) ** (2 - self._magnitude):f}",
        )

    @property
    def _magnitude(self) -> int:
        return int(np.floor(np.log10(self.price)))

    @property
    def _parts(self) -> SymbolParts:
        parts = parts_of(self.symbol)
        assert parts is not None, self.symbol
        return parts


_LEAST_COST = {"BTC": "0.0001", "ETH": "0.001"}


def places_to_step(places: int) -> str:
    """The step of so many decimals."""
    return f"{Decimal(1).scaleb(-places):f}"


def _fault_of(symbol: object) -> str | None:
    """Why a symbol cannot be traded here; None where it can."""
    parts = parts_of(symbol) if isinstance(symbol, str) and symbol.isprintable() else None
    if parts is None:
        return "is not of the form BASE/QUOTE, BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD"
    if parts.is_option:
        return "is an option; the local exchange trades spot, perpetual swaps and dated futures"
    if parts.settle not in (None, parts.quote):
        return f"settles in {parts.settle}; the local exchange has contracts that settle in their quote"
    try:
        _ = parts.expiry
    except ValueError:
        return f"ends on {parts.day}, which is no day; write it as YYMMDD"
    return None


_COINS = (
    ("BTC", 60_000.0, 0.002),
    ("ETH", 3_000.0, 0.004),
    ("SOL", 150.0, 0.02),
    ("XRP", 0.6, 0.05),
    ("ADA", 0.4, 0.1),
)
DEFAULT_MARKETS: tuple[Market, ...] = (
    *(
        Market(f"{coin}/{quote}", price, quiet)
        for coin, price, quiet in _COINS
        for quote in ("USDT", "USD", "EUR")
    ),
    *(Market(f"{coin}/USDT:USDT", price, quiet) for coin, price, quiet in _COINS[:3]),
    Market("ETH/BTC", 0.05, 0.05),
    Market("XRP/ETH", 0.0002, 0.3),
    Market("ADA/BTC", 0.00001, 0.14),
    Market("WAX/BTC", 0.000005, 0.55),
)
