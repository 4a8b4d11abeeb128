"""A series over renamed and migrated symbols, as one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.bars.redenomination import redenominated
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE, OLD = "ohlcv:binance:POL/USDT:1h", "ohlcv:binance:MATIC/USDT:1h"
LAST, JOINT, FIRST = START + 4 * DAY + 7_200, START + 5 * DAY, START + 6 * DAY + 36_000
"""The old symbol ends, the series goes over, the new symbol begins."""
END = START + 8 * DAY
CALENDAR = datetime.fromtimestamp(JOINT, UTC).date()


@pytest.fixture
def migrated() -> Iterator[Sandbox]:
    markets = [
        Market("MATIC/USDT", 0.5, listed=START - 300 * DAY, delisted=LAST),
        Market("POL/USDT", 0.5, listed=FIRST),
    ]
    with Sandbox(now=START + 10 * DAY, markets=markets).running() as exchange:
        yield exchange


@pytest.fixture
def opened(migrated: Sandbox, settings_for: Callable[..., Settings]) -> Callable[..., sa.Seamless]:
    def open_it(aliases: Any = None, symbols: tuple[str, ...] = ("POL/USDT", "MATIC/USDT")) -> sa.Seamless:
        chosen = [{"symbol": "MATIC/USDT", "to": CALENDAR}] if aliases is None else aliases
        declared = {
            "base_url": migrated.url,
            "symbols": list(symbols),
            "timeframes": ["1h"],
            "aliases": {"POL/USDT": chosen},
        }
        return sa.connect(settings_for({"binance": declared}, partitions={"1h": "day"}))

    return open_it


def test_a_node_goes_on_over_the_joint_and_says_where_it_is(opened: Callable[..., sa.Seamless]) -> None:
    with opened() as s:
        report = s.materialize(NODE, START, END)
        assert report.released and report.coverage.missing == 0, report.problems
        gaps = [(gap.start, gap.end, gap.reason) for gap in report.coverage.gaps]
        assert gaps == [(LAST, JOINT, "post_delisting"), (JOINT, FIRST, "pre_listing")]
        assert s.materialize(OLD, START, JOINT).released
        before, whole = s.read(OLD, START, JOINT).to_arrow(), s.read(NODE, START, END).to_arrow()
        assert whole.filter(pc.less(whole["ts"], JOINT)).equals(before) and before.num_rows == 98
        assert whole.num_rows == 98 + (END - FIRST) // 3_600
        manifests = [s.manifest(NODE, ref) for ref in s.snapshot(NODE).artifacts]
        told = [record for manifest in manifests for record in manifest.aliases]
        assert {record["symbol"] for record in told} == {"MATIC/USDT"}
        assert (told[0]["start"], told[-1]["end"]) == (START, JOINT)
        s.compact(NODE, "month")
        assert s.verify(NODE).is_sound
        assert s.materialize(NODE, START, END).as_of == s.releases(NODE)[-1].as_of


def test_a_joint_inside_a_partition_and_a_chunk_is_one_too(opened: Callable[..., sa.Seamless]) -> None:
    joint = START + DAY + 5 * 3_600
    with opened([{"symbol": "MATIC/USDT", "to": joint}]) as s:
        report = s.materialize(NODE, START, START + 3 * DAY)
        assert report.coverage.missing == 0
        assert [tuple(gap) for gap in report.coverage.gaps] == [(joint, START + 3 * DAY, "pre_listing")]
        assert s.backfill(NODE, START, START + 3 * DAY).coverage.present == 29


def test_a_factor_makes_prices_and_volumes_those_of_the_series(opened: Callable[..., sa.Seamless]) -> None:
    with opened([{"symbol": "MATIC/USDT", "to": CALENDAR, "factor": 1_000}]) as s:
        s.materialize(NODE, START, START + DAY)
        s.materialize(OLD, START, START + DAY)
        old: pa.Table = s.read(OLD, START, START + DAY).to_arrow()
        assert s.read(NODE, START, START + DAY).to_arrow().equals(redenominated(old, 1_000.0))
        (ref,) = s.snapshot(NODE).artifacts
        assert s.manifest(NODE, ref).aliases[0]["factor"] == 1_000.0


def test_what_was_released_of_a_symbol_that_vanished_stays_readable(
    opened: Callable[..., sa.Seamless], migrated: Sandbox
) -> None:
    with opened() as s:
        s.materialize(NODE, START, END)
        s.materialize(OLD, START, JOINT)
        as_of = s.releases(NODE)[-1].as_of
        before = s.read(OLD, START, JOINT).to_arrow()
    migrated.book.markets.pop("MATIC/USDT")
    with opened(symbols=("POL/USDT",)) as s:
        assert s.read(OLD, START, JOINT).to_arrow().equals(before)
        assert s.read(
            NODE, START, END, context=sa.ComputeContext(domain="backtest", as_of=as_of)
        ).metadata.rows


def test_resampled_bars_are_held_against_each_symbol_in_its_time(migrated: Sandbox, tmp_path: Path) -> None:
    """The exchange has bars of both symbols all the time; which are the series' own is declared."""
    for symbol, price in (("POL/USDT", 0.7), ("MATIC/USDT", 0.5)):
        migrated.book.markets[symbol] = Market(symbol, price, listed=START - 300 * DAY)
    node, joint = "ohlcv:binance:POL/USDT:4h", START + DAY + 5 * 3_600
    declared = {
        "base_url": migrated.url,
        "symbols": ["POL/USDT"],
        "timeframes": ["1h"],
        "aliases": {"POL/USDT": [{"symbol": "MATIC/USDT", "to": joint, "factor": 100}]},
    }
    document = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
        },
        "exchanges": {"binance": declared},
        "derived": [{"node": node, "resample": NODE}],
    }
    with sa.connect(settings_from_mapping(document, base=tmp_path, environ={})) as s:
        s.materialize(NODE, START, START + 3 * DAY)
        report = s.materialize(node, START, START + 3 * DAY)
        assert s.read(node, START, START + 3 * DAY).metadata.rows == 18
        assert not any("differ" in problem for problem in report.problems), report.problems


WRONG: dict[str, tuple[list[dict[str, Any]], str]] = {
    "itself": ([{"symbol": "POL/USDT", "to": CALENDAR}], "named twice"),
    "twice": ([{"symbol": "A/USDT", "to": CALENDAR}, {"symbol": "A/USDT", "to": END}], "named twice"),
    "not later": ([{"symbol": "A/USDT", "to": END}, {"symbol": "B/USDT", "to": END}], "later"),
    "inside a bar": ([{"symbol": "A/USDT", "to": JOINT + 60}], "inside a bar of 1h"),
    "no factor": ([{"symbol": "A/USDT", "to": JOINT, "factor": 0}], "factor"),
    "no time": ([{"symbol": "A/USDT", "to": date(1999, 1, 1)}], "before any market"),
    "no symbol": ([{"to": JOINT}], "symbol: is not there"),
    "another kind of market": ([{"symbol": "A/USDT:USDT", "to": JOINT}], "another kind"),
    "another key": ([{"symbol": "A/USDT", "to": JOINT, "from": 3}], "from"),
}


@pytest.mark.parametrize("name", WRONG)
def test_aliases_that_cannot_be_are_refused(opened: Callable[..., sa.Seamless], name: str) -> None:
    aliases, why = WRONG[name]
    with pytest.raises(sa.SeamlessError, match=why):
        opened(aliases)


def test_a_series_that_is_not_declared_has_no_aliases(opened: Callable[..., sa.Seamless]) -> None:
    with pytest.raises(sa.SeamlessError, match="not among the symbols"):
        opened(symbols=("MATIC/USDT",))
