"""What an exchange's list of markets says of one market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Listing:
    """An entry of a list of markets as the exchange sent it, under the exchange's own `name` of the market.

    `assets` are what its list of assets says of both currencies, by its names of them; empty where it has no
    such list for anybody. `is_gone`: the list names it no more, and this is what it said last.
    """

    name: str
    entry: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_gone: bool = False
