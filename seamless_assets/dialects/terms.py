"""What a market's orders keep to, for lists of markets that are made here rather than handed on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Steps of prices (`tick`) and of amounts (`lot`), limits of amounts and costs, fees, size of a contract.

    Numbers are as they are written.
    """

    tick: str = "0.00000001"
    lot: str = "0.00000001"
    least: str = "0.00000001"
    most: str = "1000000"
    least_cost: str = "1"
    maker: str = "0.0016"
    taker: str = "0.0026"
    contract: str = "1"

    @property
    def price_places(self) -> int:
        """Decimals of a price."""
        return places_of(self.tick)

    @property
    def amount_places(self) -> int:
        """Decimals of an amount."""
        return places_of(self.lot)


def places_of(step: str) -> int:
    """Decimals of a step."""
    return len(step.partition(".")[2])
