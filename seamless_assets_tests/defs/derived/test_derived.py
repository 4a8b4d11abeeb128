"""Assets that are nodes: published with their inputs, and derived anew where these changed and only there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from dagster import (
    AssetIn,
    AssetKey,
    BackfillPolicy,
    DagsterInstance,
    DagsterRunStatus,
    DailyPartitionsDefinition,
    MonthlyPartitionsDefinition,
    Nothing,
    RunRequest,
    TimeWindowPartitionMapping,
    asset,
    build_output_context,
    build_sensor_context,
)
from dagster._core.storage.tags import SENSOR_NAME_TAG
from dagster._core.test_utils import freeze_time
from dagster._time import get_current_datetime
from support.dagster_project import QUIET

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.config.load import load_settings
from seamless_assets.defs import build_definitions, node_partitions
from seamless_assets.defs.automation.requests import LOST_AFTER
from seamless_assets.defs.derived import derivation
from seamless_assets.defs.derived.due import Lineage, load_lineage
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.defs.io_manager import SeamlessIOManager
from seamless_assets.errors import ChecksFailed, InvalidFrame, InvalidInput
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

MINUTES, HOURS, SMOOTH = (
    "ohlcv:binance:BTC/USDT:1m",
    "ohlcv:research:BTC/USDT:1h",
    "ohlcv:research:BTC_SMOOTH/USDT:1h",
)
DAYS = DailyPartitionsDefinition("2025-01-01", end_offset=1)
KEY = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"])
IO = "seamless_io_manager"
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


with warnings.catch_warnings(action="ignore"):  # the policy is in beta

    @asset(
        key=["research", "hours"],
        ins={"minutes": AssetIn(KEY)},
        partitions_def=DAYS,
        metadata={"seamless/node_id": HOURS},
        io_manager_key=IO,
        backfill_policy=BackfillPolicy.single_run(),
    )
    def hours(minutes: pd.DataFrame) -> pd.DataFrame:
        """Hours of minutes."""
        grouped = minutes.groupby(minutes.ts // 3600 * 3600)
        rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        return grouped.agg(rules).rename_axis("ts").reset_index()


@asset(
    ins={
        "bars": AssetIn(["research", "hours"], partition_mapping=TimeWindowPartitionMapping(start_offset=-1))
    },
    partitions_def=DAYS,
    metadata={"seamless/node_id": SMOOTH},
    io_manager_key=IO,
)
def smooth(bars: pd.DataFrame) -> pd.DataFrame:
    """Hours, each price the mean of the last six; the first hours want those of the day before."""
    prices = ["open", "high", "low", "close"]
    return bars.assign(**{name: bars[name].rolling(6, min_periods=1).mean() for name in prices})


@dataclass
class Project:
    """Two derived nodes in a project on the local exchange, whose clock and ours are one."""

    file: Path
    exchange: Sandbox
    instance: DagsterInstance
    now: float = START + 3 * DAY + 3600
    cursor: str | None = None

    def correct(self, ts: int) -> None:
        """The exchange finds trades of a bar that it had not counted, and it is fetched anew."""
        made = self.exchange.book.generator.minutes

        def corrected(*arguments: Any) -> Any:
            bars = made(*arguments)
            bars["volume"][bars["ts"] == ts] += 1.0
            return bars

        self.exchange.book.generator.minutes = corrected  # type: ignore[method-assign]
        self.fetch("2025-01-01", "2025-01-04")

    def fetch(self, first: str, last: str) -> None:
        """Materialize minutes of `[first, last)`."""
        with sa.connect(self.file) as s:
            assert s.materialize(MINUTES, first, last).released

    def run(self, first: str, last: str | None = None, *, assets: Any = (hours, smooth), **more: Any) -> Any:
        """Derive the first of some assets over a partition, or a range."""
        definitions = build_definitions(load_settings(self.file), derived=assets)
        job = definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            partition_key=None if last else first,
            tags={FIRST: first, LAST: last} if last else None,
            asset_selection=[assets[0].key],
            run_config=QUIET,
            **more,
        )

    def tick(self) -> list[RunRequest]:
        """What the sensor asks for now."""
        definitions = build_definitions(load_settings(self.file), derived=[hours, smooth])
        repository, resources = definitions.get_repository_def(), dict(definitions.resources or {})
        with build_sensor_context(
            self.instance, repository_def=repository, cursor=self.cursor, resources=resources
        ) as context:
            tick = repository.get_sensor_def("derivation").evaluate_tick(context)
        self.cursor = tick.cursor
        return list(tick.run_requests or [])

    def manifests(self, node: str) -> dict[str, Any]:
        """The manifests in force, by partition."""
        with sa.connect(self.file) as s:
            return {ref.partition: s.manifest(node, ref) for ref in s.snapshot(node).artifacts}

    def pages(self, key: AssetKey) -> dict[str, Any]:
        """The last materialization of each partition."""
        records = self.instance.fetch_materializations(key, limit=100).records
        return {str(record.partition_key): record.asset_materialization for record in reversed(records)}


@pytest.fixture
def project(
    written: Callable[..., Path],
    exchange: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        made = Project(written("BTC/USDT"), exchange, instance)
        monkeypatch.setattr(SystemClock, "now", lambda _: made.now)
        exchange.clock.set(made.now)
        made.fetch("2025-01-01", "2025-01-03")
        yield made


def asked(requests: list[RunRequest]) -> list[tuple[str, str, str]]:
    """The asset, the first and the last partition of each request."""
    found = []
    for request in requests:
        (key,) = request.asset_selection or []
        first, last = (request.tags.get("dagster/partition") or request.tags[end] for end in (FIRST, LAST))
        found.append((key.path[-1], first, last))
    return found


def test_a_derived_node_is_released_partition_by_partition_and_asked_for_where_it_changed(
    project: Project,
) -> None:
    assert asked(project.tick()) == [("hours", "2025-01-01", "2025-01-02")]
    assert project.tick() == []
    assert project.run("2025-01-01", "2025-01-02").success
    made = project.manifests(HOURS)
    ((first,), (second,)) = (made[key].inputs for key in ("2025-01-01", "2025-01-02"))
    assert (first.node_id, first.start, first.end) == (MINUTES, START, START + DAY)
    assert (second.start, second.end) == (START + DAY, START + 2 * DAY)
    pages = project.pages(hours.key)
    for key, page in pages.items():
        shown = {name: entry.value for name, entry in page.metadata.items()}
        assert shown["artifact_fingerprint"] == made[key].dataset_fingerprint
        assert shown["manifest"]["policy"]["inputs"][0]["fingerprint"] == made[key].inputs[0].fingerprint
    newest = pages["2025-01-02"]
    assert newest.tags["dagster/data_version"] == newest.metadata["dataset_fingerprint"].value
    assert asked(project.tick()) == [("smooth", day, day) for day in ("2025-01-01", "2025-01-02")]
    assert project.run("2025-01-02", assets=(smooth, hours)).success
    (looked_back,) = project.manifests(SMOOTH)["2025-01-02"].inputs
    assert (looked_back.node_id, looked_back.start, looked_back.end) == (HOURS, START, START + 2 * DAY)
    project.correct(START + 18 * 3600)
    found = [("hours", day, day) for day in ("2025-01-01", "2025-01-03")]
    assert sorted(asked(project.tick())) == [*found, ("smooth", "2025-01-01", "2025-01-01")]


def test_what_failed_is_derived_again_after_a_while_and_ever_more_rarely(project: Project) -> None:
    def end(request: RunRequest, status: DagsterRunStatus) -> None:
        definitions = build_definitions(load_settings(project.file), derived=[hours])
        job = definitions.resolve_job_def("derive_research_hours")
        tags = {**request.tags, SENSOR_NAME_TAG: "derivation"}
        project.instance.create_run_for_job(job, status=status, tags=tags)

    (first,) = project.tick()
    assert first.job_name == "derive_research_hours"
    keys = [first.run_key]
    project.now += 400
    assert project.tick() == []  # no run of it failed
    for wait in (300, 600, 1_200):
        end(first, DagsterRunStatus.FAILURE)
        project.now += wait - 100 if keys[1:] else 0
        before = project.cursor
        if keys[1:]:
            assert project.tick() == []
            project.now += 100
            before = project.cursor
        (again,) = project.tick()
        keys.append(again.run_key)
        after, project.cursor = project.cursor, before
        assert [one.run_key for one in project.tick()] == [again.run_key]
        assert project.cursor == after
    assert len(set(keys)) == 4 and asked([again]) == asked([first])
    project.now += DAY
    end(first, DagsterRunStatus.CANCELED)
    assert project.tick() == []  # a person ended it
    end(first, DagsterRunStatus.FAILURE)
    project.fetch("2025-01-03", "2025-01-04")
    (other,) = project.tick()
    assert "retry" not in str(other.run_key) and asked([other])[0][2] == "2025-01-03"
    project.now += DAY
    end(other, DagsterRunStatus.STARTED)
    assert project.tick() == []  # it may still work
    with freeze_time(get_current_datetime() + LOST_AFTER):
        (lost,) = project.tick()
    assert asked([lost]) == asked([other]) and "retry" in str(lost.run_key)


def test_each_month_of_a_run_is_made_of_the_months_that_it_alone_asks_for(
    written: Callable[..., Path], exchange: Sandbox, instance: DagsterInstance
) -> None:
    node = "ohlcv:research:BTC/USDT:4h"
    with warnings.catch_warnings(action="ignore"):

        @asset(
            ins={
                "bars": AssetIn(
                    ["ohlcv", "binance", "BTC_USDT_1h"],
                    partition_mapping=TimeWindowPartitionMapping(start_offset=-1),
                )
            },
            partitions_def=MonthlyPartitionsDefinition("2025-01", fmt="%Y-%m", end_offset=1),
            metadata={"seamless/node_id": node},
            io_manager_key=IO,
            backfill_policy=BackfillPolicy.single_run(),
        )
        def fours(bars: pd.DataFrame) -> pd.DataFrame:
            """Every fourth hour."""
            return bars[bars.ts % 14_400 == 0]

    exchange.clock.set(START + 200 * DAY)
    made = Project(written("BTC/USDT", timeframes=("1h",)), exchange, instance)
    with sa.connect(made.file) as s:
        assert s.materialize("ohlcv:binance:BTC/USDT:1h", "2025-01-01", "2025-05-01").released
    assert made.run("2025-02", "2025-04", assets=(fours,)).success
    windows = {key: (*one.inputs,)[0] for key, one in made.manifests(node).items()}
    first_days = [START, *(START + days * DAY for days in (31, 59, 90, 120))]
    assert {key: (one.start, one.end) for key, one in windows.items()} == {
        f"2025-0{month}": (first_days[month - 2], first_days[month]) for month in (2, 3, 4)
    }


def test_a_slow_tick_keeps_what_it_looked_at_and_the_next_one_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    async def slow(ports: Any, one: DerivedNode) -> Lineage:
        looked.append(one.key.path[-1])
        project.now += 25
        return await load_lineage(ports, one)

    monkeypatch.setattr(derivation, "load_lineage", slow)
    assert asked(project.tick()) == [("hours", "2025-01-01", "2025-01-02")]
    project.tick()
    assert looked == ["hours", "smooth"]


def test_what_cannot_be_published_is_refused_and_what_lacks_bars_blocks(project: Project) -> None:
    def with_mean(minutes: pd.DataFrame) -> pd.DataFrame:
        return minutes.assign(mean=minutes.close)

    def a_part(minutes: pd.DataFrame) -> pd.DataFrame:
        return minutes[:720]

    def nothing(minutes: pd.DataFrame) -> Any:
        return None

    filled = AssetIn(KEY, metadata={"seamless/strategy": "AUTO_BACKFILL"})
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (with_mean, AssetIn(KEY), InvalidFrame, "the frame holds mean too"),
        (a_part, AssetIn(KEY), ChecksFailed, "719 of 1440 bars are missing without proof"),
        (nothing, AssetIn(KEY), InvalidInput, "returned nothing"),
        (a_part, filled, InvalidInput, "leave seamless/strategy"),
    ]
    node = "ohlcv:research:BTC/USDT:1m"
    for make, taken, error, said in cases:
        made = asset(
            name="made",
            ins={"minutes": taken},
            partitions_def=DAYS,
            metadata={"seamless/node_id": node},
            io_manager_key=IO,
        )(make)
        with pytest.raises(error, match=said):
            project.run("2025-01-01", assets=(made,))
    with sa.connect(project.file) as s:
        assert s.releases(node) == []
        # It was sealed before it was found to lack bars, and waits.
        assert s.release(node, reason="half a day will do").checks == {"conformance": True, "coverage": False}
        assert s.read(node).metadata.rows == 720


def test_an_asset_that_is_no_derived_node_is_refused_before_anything_runs(written: Any) -> None:
    settings = load_settings(written("BTC/USDT"))
    months = node_partitions(settings, "ohlcv:research:BTC/USDT:1h", "2025-01-01")

    def made(node: Any, partitions: Any = DAYS, **more: Any) -> Any:
        metadata = {} if node is None else {"seamless/node_id": node}
        how = {"deps": [KEY], "io_manager_key": IO, **more}
        return asset(name="made", partitions_def=partitions, metadata=metadata, **how)(lambda: None)

    for wrong, said in [
        (made(None), "is no node; say which"),
        (made("BTC/USDT"), "is not a node id"),
        (made(MINUTES), "which the settings declare and its exchange fills"),
        (made(HOURS, None), "whose partitions are UTC days, months or years"),
        (made(HOURS, DailyPartitionsDefinition("2025-01-01", timezone="Asia/Tokyo")), "are UTC days"),
        (made(HOURS, deps=["elsewhere"]), "takes no node as an input"),
        (made(HOURS, deps=[]), "takes no node as an input"),
        (made(HOURS, dagster_type=Nothing), "returns nothing"),
    ]:
        with pytest.raises(InvalidInput, match=said):
            build_definitions(settings, derived=[wrong])
    with pytest.raises(InvalidInput, match="are both ohlcv:research"):
        build_definitions(settings, derived=[hours, made(HOURS)])
    with pytest.raises(InvalidInput, match="decorate it with @asset"):
        build_definitions(settings, derived=[made])
    taken = build_definitions(settings, derived=[made(HOURS, months)])
    assert taken.resolve_job_def("derive_made") and months.fmt == "%Y-%m"


def test_an_asset_may_be_made_of_a_node_that_the_settings_derive(written: Any) -> None:
    file = written("BTC/USDT")
    held = yaml.safe_load(file.read_text())
    held["derived"] = [{"node": "ohlcv:made:BTC/USDT:15m", "resample": MINUTES}]
    file.write_text(yaml.safe_dump(held))
    settings, source = load_settings(file), AssetKey(["ohlcv", "made", "BTC_USDT_15m"])

    def made(node: str) -> Any:
        how = {"deps": [source], "io_manager_key": IO, "metadata": {"seamless/node_id": node}}
        return asset(name="made", partitions_def=DAYS, **how)(lambda: None)

    taken = build_definitions(settings, derived=[made(HOURS)])
    assert {"derive_made", "derive_ohlcv_made_BTC_USDT_15m"} <= {job.name for job in taken.jobs or []}
    with pytest.raises(InvalidInput, match="are both ohlcv:made:BTC/USDT:15m"):
        build_definitions(settings, derived=[made("ohlcv:made:BTC/USDT:15m")])
    # Nor may an asset that these definitions never saw publish over either of them.
    manager = SeamlessIOManager(SimpleNamespace(settings=settings, pipeline=None))  # type: ignore[arg-type]
    for node in (MINUTES, "ohlcv:made:BTC/USDT:15m"):
        named = {"seamless/node_id": node}
        context = build_output_context(asset_key=["foreign"], step_key="foreign", definition_metadata=named)
        with pytest.raises(InvalidInput, match="which the settings declare or derive"):
            manager.handle_output(context, None)
