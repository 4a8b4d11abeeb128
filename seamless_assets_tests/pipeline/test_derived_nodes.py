"""Derived nodes that the settings declare: resampled and weighed from what is released."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.errors import InvalidChoice
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, make_bars

HOURS, OTHER = "ohlcv:binance:BTC/USDT:1h", "ohlcv:kraken:BTC/USDT:1h"
FOUR, MEAN, MEAN_FOUR = "ohlcv:derived:BTC/USDT:4h", "ohlcv:mean:BTC/USDT:1h", "ohlcv:mean:BTC/USDT:4h"
DERIVED: list[dict[str, Any]] = [
    {"node": FOUR, "resample": HOURS},
    {"node": MEAN, "synthetic": {"legs": {HOURS: 0.75, OTHER: 0.25}, "missing_leg": "hold"}},
    {"node": MEAN_FOUR, "resample": MEAN},
]
END = START + 2 * DAY


@pytest.fixture(scope="module")
def venue() -> Iterator[Sandbox]:
    with Sandbox(now=START + 10 * DAY, markets=[Market("BTC/USDT", 100.0)]).running() as exchange:
        yield exchange


@pytest.fixture
def settings_of(venue: Sandbox, tmp_path: Path) -> Callable[..., Settings]:
    def build(derived: Any = None, symbol: str = "BTC/USDT", frames: tuple[str, ...] = ("1h",)) -> Settings:
        exchange = {"base_url": venue.url, "symbols": [symbol], "timeframes": list(frames)}
        seamless = {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
            "backfill": {"retry_backoff_ms": 1},
            "partitions": {"1h": "day", "4h": "day"},
        }
        document = {
            "seamless": seamless,
            "exchanges": {"binance": exchange, "kraken": exchange},
            "derived": DERIVED if derived is None else derived,
        }
        return settings_from_mapping(document, base=tmp_path, environ={})

    return build


def test_derived_nodes_are_made_of_what_is_released_and_say_of_what(
    settings_of: Callable[..., Settings], venue: Sandbox
) -> None:
    with sa.connect(settings_of()) as s:
        nothing = s.materialize(FOUR, START, END)
        assert not nothing.released and "materialize that first" in nothing.problems[0]
        assert s.materialize(HOURS, START, END).released and s.materialize(OTHER, START, END).released
        venue.requests.clear()
        for node in (FOUR, MEAN, MEAN_FOUR):
            report = s.materialize(node, START, END)
            assert report.released and report.coverage.missing == 0 and report.problems == ()
            assert s.materialize(node, START, END).as_of == report.as_of
        assert not [request for request in venue.requests if "klines" in request.path]
        hours, four = s.read(HOURS).to_pandas(), s.read(FOUR).to_pandas()
        assert list(four["ts"]) == list(range(START, END, 14_400))
        assert (four["high"] == hours["high"].to_numpy().reshape(-1, 4).max(axis=1)).all()
        assert (four["close"] == hours["close"][3::4].to_numpy()).all()
        mean, other = s.read(MEAN).to_pandas(), s.read(OTHER).to_pandas()
        np.testing.assert_allclose(mean["open"], 0.75 * hours["open"] + 0.25 * other["open"], rtol=1e-12)
        (one,) = s.manifest(FOUR, s.snapshot(FOUR).artifacts[0]).inputs
        assert (one.node_id, one.start, one.rows) == (HOURS, START, 24)
        assert one.dataset_fingerprint == s.releases(HOURS)[-1].dataset_fingerprint
        assert len(s.manifest(MEAN, s.snapshot(MEAN).artifacts[0]).inputs) == 2
        assert all(s.verify(node).is_sound for node in (FOUR, MEAN, MEAN_FOUR))
        assert [report.node_id for report in s.gc()] == [HOURS, OTHER, FOUR, MEAN, MEAN_FOUR]
        s.evict()


def test_a_source_that_changed_makes_what_is_made_of_it_anew_and_nothing_else(
    settings_of: Callable[..., Settings],
) -> None:
    bars = make_bars(START, END, "1h").to_pandas()
    with sa.connect(settings_of(DERIVED[:1])) as s:
        s.ingest(bars, HOURS)
        first = s.materialize(FOUR, START, END)
        bars.loc[30, "close"] = bars.loc[30, "high"]
        s.ingest(bars, HOURS, revisions="confirm")
        again = s.materialize(FOUR, START, END)
        assert again.as_of != first.as_of
        entry = s.releases(FOUR)[-1]
        assert [ref.partition for ref in entry.added] == ["2025-01-02"]
        assert s.read(FOUR, START, END, context=sa.ComputeContext(as_of=first.as_of)).metadata.as_of


@pytest.mark.parametrize("day", [1, 2, 3])
def test_what_was_made_of_what_was_withdrawn_since_stays_and_is_told(
    settings_of: Callable[..., Settings], day: int
) -> None:
    node = "ohlcv:derived:BTC/USDT:12h"
    with sa.connect(settings_of([{"node": node, "resample": HOURS}])) as s:
        s.ingest(make_bars(START, START + 3 * DAY, "1h"), HOURS)
        first = s.materialize(node, START, START + 3 * DAY)
        s.withdraw(HOURS, f"2025-01-0{day}", reason="doubtful")
        report = s.materialize(node, START, START + 3 * DAY)
        (said,) = report.problems
        assert report.released == (day == 3) and ("withdraw it" in said) == (day != 2)
        assert s.read(node).metadata.as_of == first.as_of and s.read(node).metadata.rows == 6


def test_what_nobody_knows_of_a_source_is_missing_and_what_is_absent_is_not(
    settings_of: Callable[..., Settings],
) -> None:
    bars = make_bars(START, END, "1h").to_pandas()
    with sa.connect(settings_of(DERIVED[:1])) as s:
        s.ingest(bars.drop(index=[5]), HOURS, START, END)
        s.release(HOURS, reason="known", partition="2025-01-01")
        report = s.materialize(FOUR, START, START + DAY)
        assert report.coverage.missing == 1 and not report.released
        s.ingest(bars.drop(index=[5]), HOURS, START, END, complete=True)
        report = s.materialize(FOUR, START, START + DAY)
        assert report.released and report.coverage.present == 6


def test_a_bar_of_which_a_leg_is_proven_absent_is_known_to_be_none(
    settings_of: Callable[..., Settings],
) -> None:
    bars = make_bars(START, START + DAY, "1h").to_pandas()
    mean = {"node": MEAN, "synthetic": {"legs": {HOURS: 1, OTHER: 1}, "missing_leg": "missing"}}
    with sa.connect(settings_of([mean])) as s:
        s.ingest(bars, HOURS)
        s.ingest(bars.drop(index=[5]), OTHER, START, START + DAY, complete=True)
        report = s.materialize(MEAN, START, START + DAY)
        assert report.released and report.coverage.missing == 0 and report.coverage.present == 23


def test_no_exchange_is_asked_for_bars_of_a_derived_node(settings_of: Callable[..., Settings]) -> None:
    derived = [{"node": "ohlcv:binance:BTC/USDT:4h", "resample": HOURS}]
    node = derived[0]["node"]
    with sa.connect(settings_of(derived)) as s:
        s.materialize(HOURS, START, START + DAY)
        assert s.materialize(node, START, START + DAY).problems == ()
        for call in (s.backfill, s.publish, lambda *a: s.declare(*a, "halted")):
            with pytest.raises(InvalidChoice, match="is derived"):
                call(node, START, END)
        with pytest.raises(InvalidChoice, match="is derived"):
            s.ingest(make_bars(START, END, "4h"), node)
        with pytest.raises(sa.SeamlessError, match="is derived"):
            s.read(node, START, END, strategy="AUTO_BACKFILL")
        assert len(s.releases(node)) == 1


def test_resampled_bars_are_held_against_those_of_the_exchange(settings_of: Callable[..., Settings]) -> None:
    bars = make_bars(START, START + DAY, "1h")
    node = "ohlcv:binance:BTC/USDT:4h"
    with sa.connect(settings_of([{"node": node, "resample": HOURS}])) as s:
        s.ingest(bars, HOURS)
        report = s.materialize(node, START, START + DAY)
        assert (
            report.released and "6 bars differ from those that the exchange itself has" in report.problems[0]
        )


RECORDED = [
    ("binance_XRP-ETH", "1m", "5m"),
    ("bittrex_ADA-BTC", "5m", "1h"),
    *(
        pytest.param("bittrex_" + name, "1m", frame, marks=pytest.mark.deep)
        for name in ("WAX-BTC", "ADA-BTC")
        for frame in ("5m", "1h")
    ),
]


@pytest.mark.parametrize(("name", "fine", "coarse"), RECORDED)
def test_resampled_recorded_bars_are_the_recorded_longer_ones(
    market_data: Path, settings_of: Callable[..., Settings], name: str, fine: str, coarse: str
) -> None:
    symbol = name.split("_")[1].replace("-", "/")
    source, node = (f"ohlcv:{where}:{symbol}:{f}" for where, f in (("binance", fine), ("derived", coarse)))
    long = pq.read_table(market_data / f"{name}_{coarse}.parquet").to_pandas().set_index("ts")
    with sa.connect(settings_of([{"node": node, "resample": source}], symbol, (fine,))) as s:
        s.ingest(market_data / f"{name}_{fine}.parquet", source, complete=True)
        window = s.released_window(source)
        s.materialize(node, *window)
        made = s.read(node, *s.released_window(node)).to_pandas().set_index("ts")
    both = made.index.intersection(long.index)
    step = sa.NodeId.parse(node).timeframe.approximate_seconds
    both = both[(both >= window[0]) & (both + step <= window[1])]
    assert len(both) > 200
    for column in ("open", "high", "low", "close"):
        assert (made.loc[both, column] == long.loc[both, column]).all(), column
    np.testing.assert_allclose(made.loc[both, "volume"], long.loc[both, "volume"], rtol=1e-9)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"node": FOUR}, "wants one of"),
    "two ways": ({"node": FOUR, "resample": HOURS, "synthetic": {"legs": {HOURS: 1}}}, "wants one of"),
    "trades": ({"node": "ohlcv:mine:BTC/USDT:1m", "trades": True}, "which is not under `exchanges`"),
    "declared": ({"node": HOURS, "resample": OTHER}, "is declared already"),
    "unknown source": ({"node": FOUR, "resample": "ohlcv:okx:BTC/USDT:1h"}, "declare it"),
    "itself": ({"node": FOUR, "resample": FOUR}, "declare it"),
    "another's name": (
        {"node": FOUR.replace("derived", "binance").replace("BTC", "ETH"), "resample": HOURS},
        "another",
    ),
    "finer": ({"node": "ohlcv:mine:BTC/USDT:5m", "resample": HOURS}, "not made of whole bars"),
    "uneven": ({"node": "ohlcv:mine:BTC/USDT:90m", "resample": HOURS}, "not made of whole bars"),
    "other legs": ({"node": FOUR, "synthetic": {"legs": {HOURS: 1}}}, "has other bars"),
    "no weight": ({"node": MEAN, "synthetic": {"legs": {HOURS: 0}}}, "greater than 0"),
    "no legs": ({"node": MEAN, "synthetic": {"legs": {}}}, "legs: has nothing in it"),
    "another rule": (
        {"node": MEAN, "synthetic": {"legs": {HOURS: 1}, "missing_leg": "guess"}},
        "missing_leg",
    ),
    "no id": ({"node": "BTC", "resample": HOURS}, "ohlcv"),
    "another key": ({"node": FOUR, "resample": HOURS, "every": 3}, "every"),
}


def test_an_exchange_that_is_none_is_told_of_beside_what_is_derived_of_it(tmp_path: Path) -> None:
    exchange = {"symbols": ["BTC/USDT"], "timeframes": ["1h"]}
    derived = [{"node": FOUR, "resample": HOURS.replace("binance", "kraken")}]
    with pytest.raises(sa.SeamlessError, match="Kraken") as refused:
        settings_from_mapping(
            {"exchanges": {"Kraken": exchange}, "derived": derived}, base=tmp_path, environ={}
        )
    assert "declare it" in str(refused.value)


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_derived_is_refused(settings_of: Callable[..., Settings], name: str) -> None:
    derived, why = WRONG[name]
    with pytest.raises(sa.SeamlessError, match=why):
        settings_of([derived])
