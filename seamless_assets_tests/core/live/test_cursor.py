"""Cursors: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.coverage.coverage import ABSENT_REASONS, MISSING, Gap
from seamless_assets.core.live.cursor import is_cursor, read_cursor, write_cursor
from seamless_assets.core.live.position import Position
from seamless_assets.errors import InvalidCursor, InvalidInput

NODES = ("ohlcv:binance:BTC/USDT:1m", "ohlcv:kraken:ETH/EUR:1h", "ohlcv:okx:BTC/USDT:USDT:1M")
UPTO = 1_736_553_600


@st.composite
def positions(draw: st.DrawFn) -> Position:
    upto = draw(st.integers(-4_000_000_000, 4_000_000_000))
    edges = sorted(draw(st.sets(st.integers(0, 10**9), max_size=8)), reverse=True)
    reasons = st.sampled_from((MISSING, *ABSENT_REASONS))
    gaps = [Gap(upto - a, upto - b, draw(reasons)) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    opens = draw(st.dictionaries(st.integers(0, 10**6), st.integers(1, 10**4), max_size=8))
    revised = sorted((upto - back, count) for back, count in opens.items())
    since = draw(st.none() | st.integers(0, 10**9).map(lambda back: upto - back))
    values = st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 5)
    unstored = draw(st.none() | st.tuples(st.integers(1, 10**9).map(lambda back: upto - back), values))
    return Position(upto, tuple(gaps), tuple(revised), since, unstored)


@given(st.dictionaries(st.sampled_from(NODES), positions(), min_size=1))
def test_what_is_written_is_read_again(places: dict[str, Position]) -> None:
    cursor = write_cursor(places)
    assert read_cursor(cursor, places) == places and is_cursor(cursor)
    assert write_cursor(dict(reversed(places.items()))) == cursor
    # It fits into a header, an address and a line.
    assert cursor.replace(".", "").replace("-", "").replace("_", "").isalnum() and cursor.isascii()


def test_it_is_compact() -> None:
    thousand = {f"ohlcv:binance:C{n}/USDT:1m": Position(UPTO) for n in range(1_000)}
    assert len(write_cursor({NODES[0]: Position(UPTO)})) < 50
    assert len(write_cursor(thousand)) < 200


def test_only_bars_that_are_not_stored_make_it_longer() -> None:
    told = (UPTO - 60, (1.5, 2.5, 0.5, 1.0, 3.25))
    stored, ahead = Position(UPTO, since=UPTO - 60), Position(UPTO, since=UPTO - 60, unstored=told)
    assert write_cursor({NODES[0]: stored}).startswith("c2.")
    assert write_cursor({NODES[0]: ahead, NODES[1]: stored}).startswith("c3.")
    assert len(write_cursor({NODES[0]: ahead})) < 100


def test_values_that_cannot_be_are_refused() -> None:
    for value in (float("nan"), float("inf")):
        cursor = write_cursor({NODES[0]: Position(UPTO, unstored=(UPTO - 60, (1.0, value, 1.0, 1.0, 1.0)))})
        with pytest.raises(InvalidCursor, match="a value that cannot be"):
            read_cursor(cursor, NODES[:1])


@pytest.mark.parametrize("unstored", [None, (UPTO - 60, (1.0, 2.0, 0.5, 1.5, 9.0))])
def test_a_changed_letter_is_found_wherever_it_stands(unstored: Any) -> None:
    gaps = (Gap(UPTO - 120, UPTO - 60, "outage"),)
    cursor = write_cursor({NODES[0]: Position(UPTO, gaps, unstored=unstored)})
    for at in range(len(cursor)):
        changed = cursor[:at] + ("B" if cursor[at] != "B" else "C") + cursor[at + 1 :]
        try:
            read = read_cursor(changed, NODES[:1])
        except InvalidInput:
            continue
        # The last letter of base64 may hold bits that mean nothing.
        assert at == len(cursor) - 1 and read == read_cursor(cursor, NODES[:1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin as one"),
        ("c", "does not begin as one"),
        ("2025-01-01", "does not begin as one"),
        ("c2.", "cannot be read"),
        ("c2.AAAA", "cannot be read"),
        ("c2.é", "cannot be read"),
        ("c2", "cannot be read"),
        ("c1.AAAA", "cannot be read"),
        ("c3.AAAA", "cannot be read"),
        ("c4.AAAA", "of version c4, and this release reads c1, c2 and c3"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidCursor, match=reason):
        read_cursor(text, NODES)


FIRST_VERSION = {
    "c1.eJyTKg1bHHDs04SGS70_eBgYirasUgEAXMgI-A": {NODES[0]: Position(UPTO)},
    "c1.eJzLCVNxKJiqX9RwqfcHD9MCiwkyTBU2DEw3WJhsGB_MBIoxTvjLOEGGkeFXV_5eAHynEP8": {
        NODES[0]: Position(
            UPTO,
            (Gap(UPTO - 7_200, UPTO - 3_600, "outage"), Gap(UPTO - 120, UPTO - 60, MISSING)),
            ((UPTO - 600, 2), (UPTO - 60, 1)),
        ),
        NODES[1]: Position(UPTO - 3_600, (Gap(UPTO - 36_000, UPTO - 32_400, "no_trades"),)),
    },
    "c1.eJyTKg1bHHDs04RyBgaNKON9ADI-Bgs": {NODES[0]: Position(-60)},
}
"""Cursors that the first release wrote, and what it meant by them."""


@pytest.mark.parametrize(("cursor", "places"), FIRST_VERSION.items(), ids=["one", "two", "before 1970"])
def test_those_of_the_first_version_are_read(cursor: str, places: dict[str, Position]) -> None:
    assert is_cursor(cursor) and read_cursor(cursor, places) == places
    assert all(position.since is None for position in places.values())
    with pytest.raises(InvalidCursor, match="made for other nodes"):
        read_cursor(cursor, NODES[2:])


def test_a_cut_one_is_refused() -> None:
    cursor = write_cursor({node: Position(UPTO) for node in NODES})
    for length in range(len(cursor) - 1):
        with pytest.raises(InvalidCursor):
            read_cursor(cursor[:length], NODES)


def test_one_of_other_nodes_is_refused() -> None:
    cursor = write_cursor({node: Position(UPTO) for node in NODES[:2]})
    for others in (NODES, NODES[:1], (NODES[0], NODES[2])):
        with pytest.raises(InvalidCursor, match="made for other nodes"):
            read_cursor(cursor, others)
