"""Manifests: what they say of the opens of their bars, and how they are stored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.artifacts import sealed

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.releases.artifact import Manifest, opens_of
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.testing import START

MANIFEST = sealed().manifest
BARS = 40


@st.composite
def manifests(draw: st.DrawFn, timeframe: Timeframe) -> list[Manifest]:
    """Ascending artifacts with holes in them, and between them too."""
    first = timeframe.ceil(START)
    cuts = sorted(draw(st.lists(st.integers(0, BARS), min_size=2, max_size=8)))
    made = []
    for low, high in zip(cuts[::2], cuts[1::2], strict=False):
        holes = sorted(draw(st.sets(st.integers(low, high), max_size=6)))
        gaps = [
            Gap(timeframe.shift(first, left), timeframe.shift(first, right), "no_trades")
            for left, right in zip(holes[::2], holes[1::2], strict=False)
        ]
        split = draw(st.integers(0, len(gaps)))
        bounds = (timeframe.shift(first, low), timeframe.shift(first, high))
        made.append(replace(MANIFEST, range=bounds, absent=tuple(gaps[:split]), missing=tuple(gaps[split:])))
    return made


@pytest.mark.parametrize("name", ["1m", "1w", "1M"])
@given(data=st.data())
def test_opens_are_the_grid_but_for_the_gaps(name: str, data: st.DataObject) -> None:
    timeframe = Timeframe.parse(name)
    made = data.draw(manifests(timeframe))
    first = timeframe.ceil(START)
    part = Segment(*sorted(timeframe.shift(first, data.draw(st.integers(-2, BARS + 2))) for _ in range(2)))
    expected = []
    for one in made:
        grid = timeframe.opens(one.start, one.end)
        gaps = (*one.absent, *one.missing)
        there = [ts for ts in grid if not any(gap.start <= ts < gap.end for gap in gaps)]
        assert one.opens(timeframe, part).tolist() == [ts for ts in there if part.start <= ts < part.end]
        expected += there
    assert opens_of(made, timeframe).tolist() == expected


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"extents": ((4, 40),) * 5},
        {"policy": {}},
        {"absent": (Gap(START, START + 60, "outage"),)},
        {"policy": {"x": 1e-7, "y": "\x7f\x01\n/é"}},
    ],
)
def test_a_manifest_is_stored_in_one_form(changed: dict[str, object]) -> None:
    manifest = replace(MANIFEST, **changed)
    stored = manifest.to_json()
    assert Manifest.from_json(stored, "uri") == manifest
    assert Manifest.from_json(stored, "uri").to_json() == stored
    assert ("extents" in json.loads(stored)) == bool(manifest.extents)
    assert len(Manifest.from_json(stored, "uri").packing.extents) == (5 if "policy" not in changed else 0)


@pytest.mark.parametrize(
    ("altered", "message"),
    [
        ({"manifest_version": 2}, "manifest_version is 2, and this release reads 1"),
        ({"manifest_version": 2, "range": None}, "manifest_version is 2, and this release reads 1"),
        ({"rows": "ten"}, "Expected `int`, got `str`"),
        ({"range": [1]}, "Expected `array` of length 2"),
        ({"absent": [[1, 2]]}, "Expected `array` of length 3"),
        ({"later": 1}, "not those of a record as it is written here"),
        ({"later": 1, "manifest_version": 2}, "manifest_version is 2, and this release reads 1"),
        ({"manifest_version": None}, "manifest_version is None, and this release reads 1"),
    ],
)
def test_what_is_no_manifest_says_why(altered: dict[str, object], message: str) -> None:
    record = {**json.loads(MANIFEST.to_json()), **altered}
    with pytest.raises(ArtifactCorrupt, match="here is not a readable manifest") as refused:
        Manifest.from_json(json.dumps(record).encode(), "here")
    assert message in str(refused.value)
    lacking = MANIFEST.to_json().replace(b'"manifest_version":1,', b"")
    for payload in (lacking, MANIFEST.to_json() + b" ", b"", b"{}", b"[]", b"\xff", MANIFEST.to_json()[:-2]):
        with pytest.raises(ArtifactCorrupt, match="here is not a readable manifest"):
            Manifest.from_json(payload, "here")


@pytest.mark.parametrize("extents", [(), ((4, 20),) * 5])
def test_a_manifest_is_read_without_its_slower_form(
    extents: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = replace(MANIFEST, extents=extents)
    stored = made.to_json()
    monkeypatch.delattr(Manifest, "to_json")
    assert Manifest.from_json(stored, "here") == made
