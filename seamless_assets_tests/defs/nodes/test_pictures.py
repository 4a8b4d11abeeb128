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
    UNPROVEN,
    UP,
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
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return bool((np.abs(np.asarray(image).astype(int) - wanted).max(axis=2) < 24).sum() > least)


@pytest.mark.parametrize("count", [1, 2, 119, 120, 121, 1440, 50_000])
def test_candles_rise_and_fall(count: int) -> None:
    opens = START + 60 * np.arange(count)
    image = image_of(candles_picture(bars(opens, 100 + np.sin(np.arange(count) / max(1, count / 9))), "a"))
    assert image.size == (640, 288)
    assert shows(image, UP) and (count < 9 or shows(image, DOWN))


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
