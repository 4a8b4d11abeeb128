"""An exchange's archive as the first source of long backfills, REST for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from support.file_server import FileServer

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.canonical import sha256_text
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
MONTH = "monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01.zip"
LATER = START + 40 * DAY + 43_200


def daily(number: int) -> str:
    return f"daily/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01-{number:02}.zip"


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer().running() as server:
        yield server


@pytest.fixture
def later() -> Iterator[Sandbox]:
    """A local exchange of which January is over."""
    with Sandbox(now=LATER, markets=[Market("BTC/USDT", 100.0)]).running() as exchange:
        yield exchange


@pytest.fixture
def opened(
    later: Sandbox, files: FileServer, settings_for: Callable[..., Settings]
) -> Callable[..., sa.Seamless]:
    def open_it(**archive: Any) -> sa.Seamless:
        declared = {
            "base_url": later.url,
            "symbols": ["BTC/USDT"],
            "archive": {"base_url": files.url, **archive},
        }
        return sa.connect(settings_for({"binance": declared}))

    return open_it


def sent(exchange: Sandbox, settings_for: Callable[..., Settings], start: int, end: int) -> pa.Table:
    """What the exchange itself sends."""
    plain = {"base_url": exchange.url, "symbols": ["BTC/USDT"]}
    with sa.connect(settings_for({"binance": plain}, hot_store={"dsn": "sqlite:///./other.sqlite"},
                                 artifact={"object_store_uri": "./other"})) as s:  # fmt: skip
        s.materialize(NODE, start, end)
        read: pa.Table = s.read(NODE, start, end).to_arrow()
    exchange.requests.clear()
    return read


def candles(exchange: Sandbox) -> int:
    return sum("klines" in request.path for request in exchange.requests)


def asked_of(exchange: Sandbox) -> list[Segment]:
    """The ranges of minutes that were asked for over REST, ascending and disjoint."""
    asked = [parse_qs(request.query) for request in exchange.requests if "klines" in request.path]
    minutes = [query for query in asked if query["interval"] == ["1m"]]
    found = [(int(query["startTime"][0]), int(query["endTime"][0])) for query in minutes]
    return join_segments((start // 1_000, end // 60_000 * 60 + 60) for start, end in found)


@pytest.mark.parametrize("per_second", [1_000, 1_000_000])
def test_a_month_comes_as_one_file_and_not_over_rest(
    opened: Callable[..., sa.Seamless],
    later: Sandbox,
    files: FileServer,
    settings_for: Callable[..., Settings],
    per_second: int,
) -> None:
    bars = sent(later, settings_for, START, START + 2 * DAY)
    files.put_archive(MONTH, bars, per_second)
    with opened() as s:
        report = s.materialize(NODE, START, START + 2 * DAY)
        assert report.released and report.coverage.missing == 0 and candles(later) == 0
        assert files.asked == [MONTH, MONTH + ".CHECKSUM"]
        assert s.read(NODE, START, START + 2 * DAY).to_arrow().equals(bars)
        digest = sha256_text(files.files[MONTH])
        for number, ref in enumerate(s.snapshot(NODE).artifacts):
            (held,) = s.manifest(NODE, ref).from_archives
            assert held.segment == (START + number * DAY, START + (number + 1) * DAY)
            assert digest in held.evidence and held.evidence.startswith("BTCUSDT-1m-2025-01.zip, ")
            assert held.evidence.endswith("as its checksum says")
        again = s.materialize(NODE, START, START + DAY)
        assert candles(later) > 0 and again.as_of == report.as_of


def test_what_no_file_has_comes_over_rest_and_is_held_against_what_one_has(
    opened: Callable[..., sa.Seamless],
    later: Sandbox,
    files: FileServer,
    settings_for: Callable[..., Settings],
) -> None:
    bars = sent(later, settings_for, START, START + 2 * DAY)
    first = bars.slice(0, 1_440).to_pandas()
    first = first.drop(index=range(300, 320))
    first.loc[299, "volume"] += 1
    files.put_archive(daily(1), pa.Table.from_pandas(first, preserve_index=False))
    files.files[daily(2)] = b"no zip"
    with opened() as s:
        report = s.materialize(NODE, START, START + 2 * DAY)
        assert report.released and report.coverage.missing == 0
        assert s.read(NODE, START, START + 2 * DAY).to_arrow().equals(bars)
        revised = s.manifest(NODE, s.snapshot(NODE).artifacts[0]).conformance_flags
        assert revised == {"revised": 1}
        first_day, second_day = (s.manifest(NODE, ref) for ref in s.snapshot(NODE).artifacts)
        minute = START + 299 * 60
        (differing,) = first_day.archive_differences
        assert differing.segment == (minute, minute + 60)
        assert sha256_text(files.files[daily(1)]) in differing.evidence
        # What came over REST counts as that, beside the holes too, where it is as the file has it.
        rest = asked_of(later)
        assert any(part.start <= minute and minute + 21 * 60 <= part.end < START + DAY // 2 for part in rest)
        assert [one.segment for one in first_day.from_archives] == outside(Segment(START, START + DAY), rest)
        assert not second_day.from_archives and not second_day.archive_differences
        asked = len(files.asked)
        # Chunks are filled side by side, so their files come in any order.
        assert files.asked[0] == MONTH and {daily(1), daily(2)} <= {*files.asked}
        s.backfill(NODE, START, START + 2 * DAY)
        assert len(files.asked) == asked


def test_a_compaction_keeps_which_file_bars_are_of(
    opened: Callable[..., sa.Seamless], files: FileServer
) -> None:
    end = START + 31 * DAY
    opens = range(end - 2 * DAY, end, 60)
    files.put_archive(MONTH, table_of(((ts, 100.0, 101.0, 99.0, 100.5, 2.0) for ts in opens), BARS_SCHEMA))
    with opened() as s:
        s.materialize(NODE, end - 2 * DAY, end)
        days = [s.manifest(NODE, ref) for ref in s.snapshot(NODE).artifacts]
        (made,) = {one.evidence for day in days for one in day.from_archives}
        s.compact(NODE)
        (ref,) = s.snapshot(NODE).artifacts
        held = s.manifest(NODE, ref).from_archives
        assert [one.segment for one in held] == [one.segment for day in days for one in day.from_archives]
        assert {one.evidence for one in held} == {made}


BROKEN: dict[str, Callable[[FileServer], object]] = {
    "a wrong checksum": lambda files: files.files.update({MONTH + ".CHECKSUM": b"0" * 64 + b"  x.zip"}),
    "an error": lambda files: files.broken.update({MONTH: 500}),
    "half a file": lambda files: files.files.update({MONTH: files.files[MONTH][:-9]}),
    "nothing": lambda files: files.files.clear(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_archive_that_is_away_or_wrong_costs_no_bar(
    opened: Callable[..., sa.Seamless],
    later: Sandbox,
    files: FileServer,
    settings_for: Callable[..., Settings],
    name: str,
) -> None:
    bars = sent(later, settings_for, START, START + DAY)
    files.put_archive(MONTH, bars)
    BROKEN[name](files)
    with opened() as s:
        assert s.materialize(NODE, START, START + DAY).released and candles(later) > 0
        assert s.read(NODE, START, START + DAY).to_arrow().equals(bars)
        assert not s.manifest(NODE, s.snapshot(NODE).artifacts[0]).from_archives


def test_files_of_another_kind_of_market_or_of_days_that_go_on_are_not_asked_for(
    opened: Callable[..., sa.Seamless], files: FileServer, later: Sandbox
) -> None:
    with opened(market="swap") as s:
        s.backfill(NODE, START, START + DAY)
    with opened() as s:
        s.backfill(NODE, LATER - 3_600, LATER)
    assert files.asked == []


def test_templates_say_where_files_lie(opened: Callable[..., sa.Seamless], files: FileServer) -> None:
    with opened(monthly="{quote}/{base}/{timeframe}/{month}.zip", daily="d/{id}-{timeframe}-{day}.zip") as s:
        s.backfill(NODE, START, START + DAY)
    assert files.asked == ["USDT/BTC/1m/2025-01.zip", "d/BTCUSDT-1m-2025-01-01.zip"]
    for template in ("{month}", "{symbol}-{timeframe}-{month}", "{timeframe}"):
        with pytest.raises(sa.SeamlessError, match="archive"):
            opened(monthly=template)
