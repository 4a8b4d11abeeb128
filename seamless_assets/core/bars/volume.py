"""What the column `volume` counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

VolumeKind = Literal["base", "quote", "contracts"]


@dataclass(frozen=True, slots=True)
class VolumeUnit:
    """One of `volume`: a unit of the base or quote `currency`, or a contract of `contract_size` of it."""

    counts: VolumeKind
    currency: str
    contract_size: float | None = None

    def __str__(self) -> str:
        """It in words: `BTC`, `contracts of 0.01 BTC`."""
        size = "" if self.contract_size is None else f"contracts of {self.contract_size:g} "
        return f"{size}{self.currency}"

    def as_record(self) -> dict[str, Any]:
        """What a manifest says of it, as plain JSON values."""
        size = {} if self.contract_size is None else {"contract_size": self.contract_size}
        return {"counts": self.counts, "currency": self.currency, **size}
