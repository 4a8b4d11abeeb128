"""What the local exchange trades."""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.errors import InvalidInput

LISTED = 1_577_836_800
"""2020-01-01T00:00:00Z, when generated markets were listed."""


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol: `quiet` is the share of minutes without a trade, `price` where it began."""

    symbol: str
    price: float
    quiet: float = 0.0
    listed: int = LISTED

    def __post_init__(self) -> None:
        base, _, rest = self.symbol.partition("/")
        if not base or not rest:
            raise InvalidInput(f"symbol {self.symbol!r} is not of the form BASE/QUOTE or BASE/QUOTE:SETTLE")

    @property
    def base(self) -> str:
        """What is traded."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """What it is priced in."""
        return self.symbol.partition("/")[2].partition(":")[0]

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap."""
        return ":" in self.symbol


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
