"""Pictures of bars and coverage: whole images, small enough for an event, with what they are to show."""

from __future__ import annotations

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.coverage.coverage import Coverage, Gap
from seamless_assets.defs.nodes.pictures import (
    ABSENT,
    DOWN,
    LOST,
    PRICES,
    STRIP,
    UNPROVEN,
    UP,
    VOLUMES,
    WIDEST_BODY,
    candles_picture,
    coverage_picture,
)

START, DAY = 1_735_689_600, 86_400


def bars(opens: np.ndarray, close: np.ndarray) -> pa.Table:
    before = np.concatenate((close[:1], close[:-1]))
    columns = [before, np.maximum(before, close), np.minimum(before, close), close, np.ones(len(close))]
    return pa.table([pa.array(opens, pa.int64()), *map(pa.array, columns)], schema=BARS_SCHEMA)


def image_of(markdown: str) -> Image.Image:
    payload = base64.b64decode(markdown.partition("base64,")[2].removesuffix(")"))
    assert len(payload) < 12_000
    return Image.open(io.BytesIO(payload)).convert("RGB")


def shows(image: Image.Image, colour: str, least: int = 20) -> bool:
    """Whether more pixels have about this colour than letters have at their edges."""
    return bool(is_about(np.asarray(image), colour).sum() > least)


def is_about(pixels: np.ndarray, colour: str) -> np.ndarray:
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    near: np.ndarray = np.abs(pixels.astype(int) - wanted).max(axis=2) < 24
    return near


@pytest.mark.parametrize("count", [1, 2, 119, 120, 121, 1440, 50_000])
def test_candles_rise_and_fall(count: int) -> None:
    opens = START + 60 * np.arange(count)
    image = image_of(candles_picture(bars(opens, 100 + np.sin(np.arange(count) / max(1, count / 9))), "a"))
    assert image.size == (640, 288)
    assert shows(image, UP) and (count < 9 or shows(image, DOWN))


def test_a_candle_reaches_from_low_to_high_and_its_body_from_open_to_close() -> None:
    values = [[START], [110.0], [120.0], [100.0], [115.0], [1.0]]
    table = pa.table([pa.array(v, f.type) for v, f in zip(values, BARS_SCHEMA, strict=True)], BARS_SCHEMA)
    pixels = np.asarray(image_of(candles_picture(table, "one")))
    body = is_about(pixels, UP)[PRICES.top : PRICES.bottom]
    rows = body.sum(axis=1)
    height = int((rows > 0).sum())
    # A twentieth of what the candle spans is left free above it and below it.
    assert height == pytest.approx((PRICES.bottom - PRICES.top) / 1.1, abs=2)
    assert int((rows == WIDEST_BODY).sum()) == pytest.approx(height / 4, abs=2)
    first = int(np.argmax(rows == WIDEST_BODY))
    assert first - int(np.argmax(rows > 0)) == pytest.approx(height / 4, abs=2)
    middle = (PRICES.left + PRICES.right) / 2
    assert np.flatnonzero(body.any(axis=0)).mean() == pytest.approx(middle, abs=2)


def test_volumes_are_summed_and_stand_on_their_axis() -> None:
    # Three bars to a candle, of which the last has one.
    table = bars(START + 60 * np.arange(241), np.linspace(1, 2, 241))
    pixels = is_about(np.asarray(image_of(candles_picture(table, "three"))), UP)[VOLUMES.top : VOLUMES.bottom]
    tall = pixels.sum(axis=0)[VOLUMES.left + 1 : VOLUMES.right]
    columns = tall[tall > 0]
    height = VOLUMES.bottom - VOLUMES.top
    assert (columns[0], columns[-1]) == pytest.approx((height, height / 3), abs=1)
    assert len(set(columns.tolist())) == 2


@pytest.mark.parametrize(("name", "value"), [("high", 200.0), ("low", 1.0)])
def test_a_candle_of_several_bars_reaches_as_far_as_any_of_them(name: str, value: float) -> None:
    table = bars(START + 60 * np.arange(241), np.full(241, 100.0))
    values = table[name].to_numpy().copy()
    values[4] = value
    table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pixels = is_about(np.asarray(image_of(candles_picture(table, "far"))), UP)[PRICES.top : PRICES.bottom]
    reached = pixels.any(axis=1).sum()
    assert reached == pytest.approx((PRICES.bottom - PRICES.top) / 1.1, abs=2)


def test_odd_bars_are_drawn_too() -> None:
    flat = np.full(1440, 5.0)
    opens = START + 60 * np.arange(1440)
    holey = np.concatenate((opens[:100], opens[1300:]))
    assert shows(image_of(candles_picture(bars(opens, flat), "flat")), UP)
    assert shows(image_of(candles_picture(bars(holey, np.linspace(9, 1, 240)), "a hole")), DOWN)
    assert image_of(candles_picture(BARS_SCHEMA.empty_table(), "none")).size == (640, 288)


def test_a_strip_tells_present_absent_and_missing_apart() -> None:
    gaps = (Gap(START + 20_000, START + 40_000, "outage"), Gap(START + 60_000, START + 70_000, "missing"))
    image = image_of(coverage_picture(Coverage(1440, 940, 333, 167, gaps), START, START + DAY))
    assert all(shows(image, colour, 500) for colour in (UP, ABSENT, LOST))
    whole = image_of(coverage_picture(Coverage(1440, 1440, 0, 0, ()), START, START + DAY))
    assert [shows(whole, colour, 500) for colour in (UP, ABSENT, UNPROVEN, LOST)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("reason", ["retention", "declared"])
def test_a_strip_tells_what_is_out_of_reach_from_what_never_was(reason: str) -> None:
    gaps = (Gap(START + 20_000, START + 40_000, reason),)
    image = image_of(coverage_picture(Coverage(1440, 1107, 333, 0, gaps), START, START + DAY))
    assert [shows(image, colour, 500) for colour in (UP, UNPROVEN, ABSENT)] == [True, True, False]


def test_a_gap_lies_where_it_was() -> None:
    gaps = (Gap(START + DAY // 4, START + DAY // 2, "outage"),)
    image = image_of(coverage_picture(Coverage(1440, 1080, 360, 0, gaps), START, START + DAY))
    row = is_about(np.asarray(image), ABSENT)[(STRIP.top + STRIP.bottom) // 2]
    found, width = np.flatnonzero(row), STRIP.right - STRIP.left
    expected = (STRIP.left + width / 4, STRIP.left + width / 2)
    assert (found[0], found[-1]) == pytest.approx(expected, abs=1)
