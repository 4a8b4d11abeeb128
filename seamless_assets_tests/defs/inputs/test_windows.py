"""Which time an input covers, for each kind of consumer, node and partition mapping, run for real."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from dagster import (
    AllPartitionMapping,
    AssetCheckResult,
    AssetIn,
    AssetSpec,
    BackfillPolicy,
    DagsterInvalidDefinitionError,
    DailyPartitionsDefinition,
    Definitions,
    HourlyPartitionsDefinition,
    IdentityPartitionMapping,
    LastPartitionMapping,
    MonthlyPartitionsDefinition,
    MultiPartitionsDefinition,
    PartitionMapping,
    PartitionsDefinition,
    StaticPartitionsDefinition,
    TimeWindowPartitionMapping,
    TimeWindowPartitionsDefinition,
    WeeklyPartitionsDefinition,
    asset,
    asset_check,
    build_input_context,
    build_resources,
    graph_asset,
    op,
)
from dagster import SpecificPartitionsPartitionMapping as Specific
from support.dagster_project import KEYS, NOWHERE, QUIET, Project

from seamless_assets.config.load import load_settings
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.inputs.joining import NOT_REQUESTED
from seamless_assets.errors import CoverageMissing, InvalidChoice

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAYS = DailyPartitionsDefinition("2024-12-01")
DAYS_LIKE_THE_NODE = DailyPartitionsDefinition("2022-01-01", end_offset=1)
OLD_DAYS = DailyPartitionsDefinition("2021-12-01")
EVENING_DAYS = DailyPartitionsDefinition("2024-12-01", hour_offset=18)
HOURS = HourlyPartitionsDefinition("2024-12-01-00:00")
HALF_HOURS = HourlyPartitionsDefinition("2024-12-01-00:00", minute_offset=30)
WEEKS = WeeklyPartitionsDefinition("2024-12-01")
MONDAYS = WeeklyPartitionsDefinition("2022-12-05", day_offset=1)
MONTHS = MonthlyPartitionsDefinition("2024-01-01")
YEARS = TimeWindowPartitionsDefinition("2022", cron_schedule="0 0 1 1 *", fmt="%Y")
COINS = StaticPartitionsDefinition(["a", "b"])
DAYS_AND_COINS = MultiPartitionsDefinition({"coin": COINS, "day": DAYS})
NEW_YORK = DailyPartitionsDefinition("2024-12-01", timezone="America/New_York")
BERLIN_HOURS = HourlyPartitionsDefinition(
    "2024-12-01-00:00+0100", timezone="Europe/Berlin", fmt="%Y-%m-%d-%H:%M%z"
)

Before, Shifted = TimeWindowPartitionMapping(start_offset=-1), TimeWindowPartitionMapping(-1, -1)
After, Early = TimeWindowPartitionMapping(end_offset=1), TimeWindowPartitionMapping(-3)
Nowhere = TimeWindowPartitionMapping(2, 0)
with warnings.catch_warnings(action="ignore"):  # the argument is in beta
    MaybeNone = TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
ALL_1M = [("2025-01-01", "2025-01-04"), ("2025-01-06", "2025-01-07"), ("2025-01-10", "settled")]

CASES: list[Any] = [
    # An asset gets its own window, whatever partitions the node has.
    (DAYS, "2025-01-02", "1m", None, [("2025-01-02", "2025-01-03")]),
    (DAYS, "2024-12-05", "1h", None, [("2024-12-05", "2024-12-06")]),
    (DAYS, "2025-01-05", "1h", None, [("2025-01-05", "2025-01-06")]),
    (DAYS, "2025-01-05", "1d", None, [("2025-01-05", "2025-01-06")]),
    (DAYS, "2024-12-31", "1d", None, [("2024-12-31", "2025-01-01")]),
    (DAYS_LIKE_THE_NODE, "2025-01-02", "1m", None, [("2025-01-02", "2025-01-03")]),
    (EVENING_DAYS, "2025-01-01", "1m", None, [("2025-01-01T18:00Z", "2025-01-02T18:00Z")]),
    (EVENING_DAYS, "2024-12-31", "1h", None, [("2024-12-31T18:00Z", "2025-01-01T18:00Z")]),
    (EVENING_DAYS, "2024-12-31", "1d", None, []),
    (HOURS, "2025-01-02-07:00", "1m", None, [("2025-01-02T07:00Z", "2025-01-02T08:00Z")]),
    (HOURS, "2025-01-02-23:00", "1m", None, [("2025-01-02T23:00Z", "2025-01-03")]),
    (HOURS, "2025-01-10-11:00", "1m", None, [("2025-01-10T11:00Z", "2025-01-10T12:00Z")]),
    (HOURS, "2025-01-02-07:00", "1h", None, [("2025-01-02T07:00Z", "2025-01-02T08:00Z")]),
    (HOURS, "2025-01-02-07:00", "1d", None, []),
    (HALF_HOURS, "2025-01-02-07:30", "1m", None, [("2025-01-02T07:30Z", "2025-01-02T08:30Z")]),
    (HALF_HOURS, "2025-01-01-23:30", "1m", None, [("2025-01-01T23:30Z", "2025-01-02T00:30Z")]),
    (HALF_HOURS, "2025-01-02-07:30", "1h", None, []),
    (WEEKS, "2024-12-29", "1h", None, [("2024-12-29", "2025-01-05")]),
    (WEEKS, "2024-12-29", "1d", None, [("2024-12-29", "2025-01-05")]),
    (MONTHS, "2024-12-01", "1h", None, [("2024-12-01", "2025-01-01")]),
    (MONTHS, "2024-02-01", "1d", None, [("2024-02-01", "2024-03-01")]),
    (YEARS, "2024", "1d", None, [("2024-01-01", "2025-01-01")]),
    (DAYS_AND_COINS, "a|2025-01-02", "1m", None, [("2025-01-02", "2025-01-03")]),
    (DAYS_AND_COINS, "b|2025-01-05", "1h", None, [("2025-01-05", "2025-01-06")]),
    (YEARS, "2022", "1w", None, [("2022-01-03", "2022-12-26")]),
    (MONDAYS, "2022-12-26", "1w", None, [("2022-12-26", "2023-01-02")]),
    (OLD_DAYS, "2023-01-01", "1w", None, []),
    (OLD_DAYS, "2023-01-01", "1w", TimeWindowPartitionMapping(-6), [("2022-12-26", "2023-01-02")]),
    # Offsets move its ends, in its own partitions.
    (DAYS, "2025-01-02", "1m", Before, [("2025-01-01", "2025-01-03")]),
    (DAYS, "2025-01-02", "1m", Shifted, [("2025-01-01", "2025-01-02")]),
    (DAYS, "2025-01-02", "1m", After, [("2025-01-02", "2025-01-04")]),
    (DAYS, "2025-01-01", "1h", Before, [("2024-12-31", "2025-01-02")]),
    (DAYS, "2025-01-01", "1d", Shifted, [("2024-12-31", "2025-01-01")]),
    (DAYS, "2025-01-02", "1m", Nowhere, []),
    (HOURS, "2025-01-02-02:00", "1m", Early, [("2025-01-01T23:00Z", "2025-01-02T03:00Z")]),
    (HALF_HOURS, "2025-01-02-02:30", "1m", Before, [("2025-01-02T01:30Z", "2025-01-02T03:30Z")]),
    (WEEKS, "2024-12-29", "1h", Shifted, [("2024-12-22", "2024-12-29")]),
    (MONTHS, "2024-03-01", "1d", Before, [("2024-02-01", "2024-04-01")]),
    (OLD_DAYS, "2021-12-15", "1m", MaybeNone, []),
    # Any other mapping gives the partitions that it names.
    (DAYS_LIKE_THE_NODE, "2025-01-02", "1m", IdentityPartitionMapping(), [("2025-01-02", "2025-01-03")]),
    (DAYS, "2025-01-03", "1m", Specific(["2025-01-02"]), [("2025-01-02", "2025-01-03")]),
    (DAYS, "2025-01-03", "1h", Specific(["2024-12"]), [("2024-12-01", "2025-01-01")]),
    (None, None, "1m", Specific(["2025-01-02"]), [("2025-01-02", "2025-01-03")]),
    (None, None, "1m", Specific(["2025-01-06", "2025-01-02", "2025-01-01"]),
     [("2025-01-01", "2025-01-03"), ("2025-01-06", "2025-01-07")]),
    (None, None, "1m", Specific(["2025-01-03", "2025-01-10"]),
     [("2025-01-03", "2025-01-04"), ("2025-01-10", "settled")]),
    (None, None, "1m", Specific([]), []),
    (None, None, "1d", Specific(["2024"]), [("2024-01-01", "2025-01-01")]),
    (None, None, "1w", Specific(["2022"]), [("2022-01-03", "2023-01-02")]),
    (DAYS, "2025-01-03", "1m", LastPartitionMapping(), [("2025-01-10", "settled")]),
    (None, None, "1m", LastPartitionMapping(), [("2025-01-10", "settled")]),
    (None, None, "1h", LastPartitionMapping(), [("2025-01-01", "settled")]),
    (COINS, "a", "1m", LastPartitionMapping(), [("2025-01-10", "settled")]),
    (NEW_YORK, "2025-01-02", "1m", Specific(["2025-01-02"]), [("2025-01-02", "2025-01-03")]),
    (BERLIN_HOURS, "2025-01-02-07:00+0100", "1m", LastPartitionMapping(), [("2025-01-10", "settled")]),
    # All there is, is what is released.
    (DAYS, "2025-01-03", "1m", AllPartitionMapping(), ALL_1M),
    (COINS, "a", "1m", AllPartitionMapping(), ALL_1M),
    (NEW_YORK, "2025-01-02", "1m", AllPartitionMapping(), ALL_1M),
    (None, None, "1m", AllPartitionMapping(), ALL_1M),
    (None, None, "1m", None, ALL_1M),
    (None, None, "1h", None, [("2024-12-01", "settled")]),
]  # fmt: skip


def shown(case: Any) -> str:
    consumer, key, timeframe, mapping, _ = case
    return f"{type(consumer).__name__.removesuffix('PartitionsDefinition')} {key} {timeframe} {mapping}"


def consumer_of(
    timeframe: str, partitions: PartitionsDefinition | None, mapping: PartitionMapping | None, **options: Any
) -> tuple[Any, list[ReadResult]]:
    """An asset that takes a node as its input, and where the input ends up."""
    seen: list[ReadResult] = []

    @asset(
        ins={"bars": AssetIn(KEYS[timeframe], partition_mapping=mapping)},
        partitions_def=partitions,
        io_manager_key="nowhere",
        **options,
    )
    def consumer(bars: ReadResult) -> None:
        seen.append(bars)

    return consumer, seen


@pytest.mark.parametrize("case", CASES, ids=shown)
def test_an_input_covers_what_its_mapping_says(case: Any, project: Project) -> None:
    partitions, key, timeframe, mapping, expected = case
    consumer, seen = consumer_of(timeframe, partitions, mapping)
    assert project.run(consumer, partition=key).success
    (result,) = seen
    segments = settled(project, timeframe, expected)
    assert result.to_arrow()["ts"].to_pylist() == project.opens(timeframe, *segments)
    assert result.to_arrow().schema == BARS_SCHEMA
    between = [gap[:2] for gap in result.metadata.gaps if gap.reason == NOT_REQUESTED]
    assert len(between) == max(0, len(segments) - 1)
    assert result.metadata.rows == result.bars.num_rows
    if segments:
        assert result.metadata.as_of == project.newest(timeframe)


def settled(project: Project, timeframe: str, segments: Any) -> list[tuple[Any, Any]]:
    end = project.settled(timeframe)
    return [(start, end if until == "settled" else until) for start, until in segments]


@pytest.mark.parametrize(
    ("timeframe", "mapping", "expected"),
    [
        ("1m", None, ("2025-01-01", "2025-01-04")),
        ("1h", None, ("2025-01-01", "2025-01-04")),
        ("1h", Before, ("2024-12-31", "2025-01-04")),
        ("1d", None, ("2025-01-01", "2025-01-04")),
    ],
)
def test_a_run_over_a_range_gets_the_whole_range(
    timeframe: str, mapping: PartitionMapping | None, expected: tuple[str, str], project: Project
) -> None:
    with warnings.catch_warnings(action="ignore"):  # backfill policies are in beta
        consumer, seen = consumer_of(timeframe, DAYS, mapping, backfill_policy=BackfillPolicy.single_run())
    assert project.run(consumer, **{RANGE_START: "2025-01-01", RANGE_END: "2025-01-03"}).success
    assert seen[0].to_arrow()["ts"].to_pylist() == project.opens(timeframe, expected)


@pytest.mark.parametrize(
    ("partitions", "key", "timeframe", "mapping", "missing"),
    [
        (DAYS, "2025-01-05", "1m", None, ("2025-01-05", "2025-01-06")),
        (DAYS, "2025-01-04", "1m", Before, ("2025-01-04", "2025-01-05")),
        (DAYS_LIKE_THE_NODE, "2025-01-10", "1m", None, ("settled", "2025-01-11")),
        (HOURS, "2025-01-04-07:00", "1m", None, ("2025-01-04T07:00Z", "2025-01-04T08:00Z")),
        (None, None, "1m", Specific(["2025-01-03", "2025-01-05"]), ("2025-01-05", "2025-01-06")),
    ],
)
def test_what_is_asked_for_and_not_released_is_refused_by_name(
    partitions: Any, key: str | None, timeframe: str, mapping: Any, missing: Any, project: Project
) -> None:
    consumer, _ = consumer_of(timeframe, partitions, mapping)
    (named,) = settled(project, timeframe, [missing[::-1]] if "settled" in missing else [missing])
    with pytest.raises(CoverageMissing) as refused:
        project.run(consumer, partition=key)
    assert refused.value.gaps[0][:2] == tuple(sorted(epoch_seconds(bound) for bound in named))


def test_partitions_that_the_node_has_not_are_refused(project: Project) -> None:
    consumer, _ = consumer_of("1m", None, Specific(["2025-01-02", "2021-12-31"]))
    with pytest.raises(
        InvalidChoice, match="has no partition 2021-12-31; its partitions begin with 2022-01-01"
    ):
        project.run(consumer)


def test_time_zones_that_dagster_does_not_map_are_refused_by_it(project: Project) -> None:
    consumer, seen = consumer_of("1m", NEW_YORK, None)
    with pytest.raises(DagsterInvalidDefinitionError, match="America/New_York"):
        project.run(consumer, partition="2025-01-02")
    assert seen == []


@pytest.mark.parametrize("partitions", [None, DAYS_LIKE_THE_NODE], ids=["unpartitioned", "partitioned"])
def test_a_check_of_ones_own_gets_its_partition_or_what_is_released(
    partitions: PartitionsDefinition | None, project: Project
) -> None:
    seen: list[ReadResult] = []

    def enough(bars: ReadResult) -> AssetCheckResult:
        seen.append(bars)
        return AssetCheckResult(passed=bars.bars.num_rows > 0)

    with warnings.catch_warnings(action="ignore"):  # partitions of checks are in preview
        check = asset_check(asset=KEYS["1m"], partitions_def=partitions)(enough)

    job = project.definitions(checks=[check]).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(
        instance=project.instance,
        partition_key="2025-01-02",
        asset_selection=[KEYS["1m"]],
        run_config=QUIET,
    )
    assert {check.check_name: check.passed for check in done.get_asset_check_evaluations()}["enough"]
    expected = [("2025-01-02", "2025-01-03")] if partitions else settled(project, "1m", ALL_1M)
    assert seen[0].to_arrow()["ts"].to_pylist() == project.opens("1m", *expected)


def test_a_graph_of_ops_takes_a_node_as_an_asset_does(project: Project) -> None:
    seen: list[ReadResult] = []

    @op
    def keep(bars: ReadResult) -> int:
        seen.append(bars)
        return bars.bars.num_rows

    @graph_asset(ins={"bars": AssetIn(KEYS["1h"])}, partitions_def=DAYS)
    def counted(bars: Any) -> Any:
        return keep(bars)

    assert project.run(counted, partition="2024-12-05").success
    assert seen[0].to_arrow()["ts"].to_pylist() == project.opens("1h", ("2024-12-05", "2024-12-06"))


def test_nodes_and_what_is_made_of_them_run_together(project: Project) -> None:
    seen: list[ReadResult] = []

    @asset(ins={"bars": AssetIn(KEYS["1m"])}, partitions_def=DAYS_LIKE_THE_NODE, io_manager_key="nowhere")
    def derived(bars: ReadResult) -> None:
        seen.append(bars)

    job = project.definitions(derived).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(
        instance=project.instance,
        partition_key="2025-01-02",
        asset_selection=[KEYS["1m"], derived.key],
        run_config=QUIET,
    )
    assert done.success
    assert seen[0].to_arrow()["ts"].to_pylist() == project.opens("1m", ("2025-01-02", "2025-01-03"))


def test_other_projects_may_know_a_node_by_its_key_alone(project: Project) -> None:
    """Without the partitions of its node, or by others, an asset gets no more than its own window."""
    resources = build_definitions(load_settings(project.file)).resources or {}
    for partitions in (None, MonthlyPartitionsDefinition("2024-01-01"), WEEKS):
        foreign, seen = consumer_of("1h", DAYS, None)
        spec = AssetSpec(KEYS["1h"], partitions_def=partitions).with_io_manager_key("seamless_io_manager")
        stranger = Definitions(assets=[spec, foreign], resources={**dict(resources), "nowhere": NOWHERE})
        job = stranger.resolve_implicit_global_asset_job_def()
        run = job.execute_in_process(instance=project.instance, partition_key="2024-12-05", run_config=QUIET)
        assert run.success
        assert seen[0].to_arrow()["ts"].to_pylist() == project.opens("1h", ("2024-12-05", "2024-12-06"))


def test_a_context_made_by_hand_reads_a_partition(project: Project) -> None:
    manager = build_definitions(load_settings(project.file))
    with build_resources(dict(manager.resources or {})) as opened:
        for options in ({}, {"asset_partitions_def": DAYS_LIKE_THE_NODE}):
            context = build_input_context(asset_key=KEYS["1m"], partition_key="2025-01-02", **options)
            frame = opened.seamless_io_manager.load_input(context)
            assert list(frame.ts) == project.opens("1m", ("2025-01-02", "2025-01-03"))
