"""Long values in pieces are the same bytes as at once, and each piece is short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.json import encode

from seamless_assets.core.coverage.coverage import Coverage, Gap
from seamless_assets.core.wire.pieces import ITEMS, is_long, json_pieces
from seamless_assets.core.wire.views import NodeList, NodeView, Strip


@dataclass(frozen=True)
class Nested:
    name: str
    few: tuple[int, ...]
    inner: Any
    many: tuple[Any, ...]


GAPS = tuple(Gap(60 * n, 60 * n + 60, "no_trades") for n in range(0, 2_000, 2))
NODES = tuple(NodeView(f"ohlcv:okx:É{n}/USDT:1m", 60, n, lag_seconds=n / 7) for n in range(5_000))
VALUES: list[Any] = [
    [],
    {"a": 1},
    list(range(ITEMS)),
    list(range(ITEMS + 1)),
    list(range(10 * ITEMS)),
    Coverage(3_000, 2_000, 1_000, 0, GAPS),
    NodeList(1.5, NODES),
    Strip("n", 0, 1, (0.1,) * 900, ()),
    Nested('"', (1, 2), Nested("", (), None, ("é" * 3,) * 333), ({"x": [None]},) * 250),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_pieces_are_what_is_written_at_once(value: Any) -> None:
    pieces = list(json_pieces(value))
    assert b"".join(pieces) == encode(value)
    assert is_long(value) is (len(pieces) > 1)


def test_no_piece_of_a_long_list_is_long() -> None:
    assert max(map(len, json_pieces(NodeList(1.5, NODES)))) < 60_000 < len(encode(NODES))
