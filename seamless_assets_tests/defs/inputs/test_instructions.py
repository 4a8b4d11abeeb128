"""What metadata and tags say of a read: used, or refused, never ignored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from dagster import AssetIn, DailyPartitionsDefinition, In, MetadataValue, asset, graph, op
from hypothesis import example, given
from hypothesis import strategies as st
from support.dagster_project import KEYS, NODES, QUIET, Project

import seamless_assets as sa
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.defs.inputs.instructions import _READERS, Instructions, read_instructions
from seamless_assets.errors import (
    AsOfRequired,
    CoverageMissing,
    InvalidChoice,
    InvalidInput,
    InvalidNodeId,
    InvalidSegment,
    InvalidTimestamp,
    NothingReleased,
    SeamlessError,
)

JANUARY_2, JANUARY_3 = 1_735_776_000, 1_735_862_400
FINGERPRINT = "sha256:" + "0" * 64
DAYS = DailyPartitionsDefinition("2024-12-01")


@pytest.mark.parametrize(
    "value",
    ["2025-01-02", "20250102", 20250102, 20250102.0, "2025-01-02T00:00:00Z", "2025-01-02T01:00:00+01:00",
     JANUARY_2, str(JANUARY_2), float(JANUARY_2), f" {JANUARY_2} ", datetime(2025, 1, 2, tzinfo=UTC),
     MetadataValue.timestamp(float(JANUARY_2)), MetadataValue.text("2025-01-02"),
     MetadataValue.int(20250102)],
    ids=repr,
)  # fmt: skip
def test_an_instant_is_what_people_mean_by_it(value: Any) -> None:
    assert read_instructions({"seamless/start": value}, {}).start == JANUARY_2
    assert read_instructions({"seamless/end": value}, {}).end == JANUARY_2
    context = read_instructions({"seamless/as_of": value}, {}).context
    assert context is not None and context.as_of == "2025-01-02T00:00:00.000000Z"


@pytest.mark.parametrize("name", ["start", "end", "as_of"])
@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2025", 2025, "202501", "20251301", 20251301, "1970", 0, "0", -5, "-5", True, None, 1.5,
     "1.5", 99_999_999, JANUARY_2 * 1000, str(JANUARY_2 * 1000), datetime(2025, 1, 2), [],  # noqa: DTZ001
     "٢٠٢٥٠١٠٢"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_instant_is_refused_and_never_1970(name: str, value: Any) -> None:
    with pytest.raises(InvalidTimestamp, match=f"seamless/{name}"):
        read_instructions({f"seamless/{name}": value}, {})


@given(st.one_of(st.integers(), st.integers().map(str), st.floats(), st.integers(0, 10**8)))
def test_a_number_is_a_date_or_a_time_with_markets(value: Any) -> None:
    try:
        start = read_instructions({"seamless/start": value}, {}).start
    except InvalidTimestamp:
        return
    digits = str(int(value)).zfill(8) if isinstance(value, float) else str(value)
    assert start is not None
    assert start >= 1_230_940_800 or seconds_text(start)[:10].replace("-", "") == digits


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("seamless/asof", "seamless/as_of"), ("seamless/as-of", "seamless/as_of"),
     ("seamless/As_Of", "seamless/as_of"), ("seamless/strat", "seamless/start"),
     ("seamless/fingerprint", "seamless/dataset_fingerprint"),
     ("seamless/mincoverage", "seamless/min_coverage"), ("seamless/worldid", "seamless/world_id")],
)  # fmt: skip
@pytest.mark.parametrize("place", ["metadata", "tags"])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, nearest: str, place: str) -> None:
    metadata, tags = ({name: "x"}, {}) if place == "metadata" else ({}, {name: "x"})
    with pytest.raises(InvalidChoice, match=f"did you mean {nearest}"):
        read_instructions(metadata, tags)


@given(st.text(max_size=12).filter(lambda name: name not in _READERS))
def test_no_name_of_ours_is_ignored(name: str) -> None:
    with pytest.raises(InvalidChoice):
        read_instructions({}, {f"seamless/{name}": "x"})


@pytest.mark.parametrize("name", _READERS)
@pytest.mark.parametrize(
    "like",
    ["Seamless/{}", "SEAMLESS/{}", " seamless/{}", "seamless.{}", "seamless:{}", "seamless-{}", "seamless_{}",
     "seamless / {}", "seamless//{}", "Seamless.{}"],
)  # fmt: skip
def test_what_only_looks_like_ours_is_refused_with_what_was_meant(name: str, like: str) -> None:
    written = like.format(name)
    for metadata, tags in (({written: "x"}, {}), ({}, {written: "x"})):
        with pytest.raises(InvalidChoice, match=f"did you mean seamless/{name}"):
            read_instructions(metadata, tags)


@given(st.text(max_size=12).filter(lambda name: "seamless" not in name.casefold()))
@example("seamless")
@example("seamless_team")
@example("acme/seamless/as_of")
@example("unseamless/as_of")
def test_names_of_others_steer_nothing(name: str) -> None:
    assert read_instructions({name: "2025-01-01"}, {name: "2025-01-01"}) == Instructions()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("domain", "research", InvalidChoice),
        ("domain", "Live", InvalidChoice),
        ("domain", "", InvalidChoice),
        ("strategy", "fail_fast", InvalidChoice),
        ("strategy", None, InvalidChoice),
        ("world_id", "", InvalidInput),
        ("world_id", 3, InvalidInput),
        ("dataset_fingerprint", "abc", InvalidInput),
        ("dataset_fingerprint", 5, InvalidInput),
        ("min_coverage", "most", InvalidInput),
        ("min_coverage", 1.5, InvalidInput),
        ("min_coverage", "nan", InvalidInput),
        ("min_coverage", True, InvalidInput),
        ("max_lag", "soon", InvalidInput),
        ("max_lag", -1, InvalidInput),
        ("max_lag", 60, InvalidInput),
        ("sla", "{not json", InvalidInput),
        ("node", "BTC/USDT", InvalidNodeId),
        ("node", "", InvalidInput),
    ],
)
def test_a_value_that_means_nothing_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_instructions({f"seamless/{name}": value}, {})


def test_metadata_go_before_tags_and_both_are_heard() -> None:
    instructions = read_instructions(
        {"seamless/as_of": "2025-01-03"},
        {"seamless/as_of": "2025-01-02", "seamless/world_id": "w1", "dagster/partition": "x"},
    )
    assert instructions.context == ComputeContext(as_of="2025-01-03", world_id="w1")
    live = read_instructions({}, {"seamless/domain": "live", "seamless/max_lag": "60"})
    assert live.context == ComputeContext(domain="live", max_lag=60.0) and live.fills
    sla = read_instructions({}, {"seamless/sla": '{"total_deadline_ms": 500}'}).sla
    assert sla == {"total_deadline_ms": 500}
    assert read_instructions({"seamless/sla": {"total_deadline_ms": 500}}, {}).sla == sla
    assert read_instructions({"seamless/sla": "baseline"}, {}).sla == "baseline"


def read(project: Project, metadata: dict[str, Any], partition: str | None = None, **tags: str) -> ReadResult:
    """What an asset over the minutes gets."""
    seen: list[ReadResult] = []

    @asset(
        ins={"bars": AssetIn(KEYS["1m"], metadata=metadata)},
        partitions_def=DAYS if partition else None,
        io_manager_key="nowhere",
    )
    def consumer(bars: ReadResult) -> None:
        seen.append(bars)

    assert project.run(consumer, partition=partition, **tags).success
    return seen[0]


def bounds(result: ReadResult) -> tuple[int, int]:
    return result.metadata.start, result.metadata.end


def test_a_bound_alone_moves_its_end_of_the_window(project: Project) -> None:
    end = project.settled("1m")
    assert bounds(read(project, {"seamless/start": "2025-01-02"})) == (JANUARY_2, end)
    assert bounds(read(project, {"seamless/start": "2025-01-10T06:00Z"})) == (
        JANUARY_2 + 8 * 86_400 + 21_600,
        end,
    )
    assert bounds(read(project, {"seamless/end": "2025-01-03"})) == (JANUARY_2 - 86_400, JANUARY_3)
    assert bounds(read(project, {"seamless/start": "2025-01-01"}, "2025-01-02")) == (
        JANUARY_2 - 86_400,
        JANUARY_3,
    )
    assert bounds(read(project, {"seamless/end": "2025-01-04"}, "2025-01-02")) == (
        JANUARY_2,
        JANUARY_3 + 86_400,
    )
    both = {"seamless/start": "2025-01-02T06:00Z", "seamless/end": "2025-01-02T07:00Z"}
    assert bounds(read(project, both, "2025-01-03")) == (JANUARY_2 + 21_600, JANUARY_2 + 25_200)
    tagged = read(project, {}, **{"seamless/start": "2025-01-02", "seamless/end": "2025-01-03"})
    assert bounds(tagged) == (JANUARY_2, JANUARY_3)


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"seamless/start": "2024-12-31"}, CoverageMissing),
        ({"seamless/start": "2025-02-01"}, InvalidSegment),
        ({"seamless/end": "2024-12-01"}, InvalidSegment),
        ({"seamless/end": "2025-01-06"}, CoverageMissing),
        ({"seamless/start": "2025-01-03", "seamless/end": "2025-01-02"}, InvalidSegment),
        ({"seamless/as_of": "2020-01-01"}, NothingReleased),
        ({"seamless/dataset_fingerprint": FINGERPRINT}, NothingReleased),
        ({"seamless/domain": "backtest"}, AsOfRequired),
        ({"seamless/sla": "bassline"}, InvalidChoice),
        ({"seamless/sla": {"total_deadline": 5}}, InvalidChoice),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_a_typed_error(
    metadata: Any, error: type[SeamlessError], project: Project
) -> None:
    with pytest.raises(error):
        read(project, metadata)


def test_a_read_is_bound_to_the_knowledge_that_is_named(project: Project) -> None:
    with sa.connect(project.file) as pipeline:
        first = pipeline.releases(NODES["1m"])[0]
    for metadata in (
        {"seamless/as_of": first.as_of},
        {"seamless/dataset_fingerprint": first.dataset_fingerprint},
        {"seamless/as_of": first.as_of, "seamless/world_id": "w1", "seamless/strategy": "AUTO_BACKFILL",
         "seamless/sla": "baseline", "seamless/min_coverage": "0.98"},
    ):  # fmt: skip
        result = read(project, metadata)
        assert (result.metadata.as_of, result.metadata.dataset_fingerprint) == (
            first.as_of,
            first.dataset_fingerprint,
        )
        assert bounds(result) == (JANUARY_2 - 86_400, JANUARY_2)
        assert result.metadata.world_id == metadata.get("seamless/world_id", "default")
    newest = read(project, {}, **{"seamless/world_id": "w2"}).metadata
    assert (newest.as_of, newest.world_id) == (project.newest("1m"), "w2")


PLACES: dict[str, dict[str, Any]] = {
    "metadata of reader": {"metadata": {"seamless/as_of": "2025-01-10"}},
    "metadata of reader, misspelt": {"metadata": {"Seamless/asof": "2025-01-10"}},
    "tags of reader": {"tags": {"seamless/strategy": "AUTO_BACKFILL"}},
    "tags of the op": {"op_tags": {"seamless/sla": "baseline"}},
    "tags of the op, misspelt": {"op_tags": {"seamless/slo": "baseline"}},
}


@pytest.mark.parametrize("place", PLACES)
def test_an_instruction_where_nothing_reads_it_is_refused(place: str, project: Project) -> None:
    @asset(ins={"bars": AssetIn(KEYS["1h"])}, io_manager_key="nowhere", **PLACES[place])
    def reader(bars: pd.DataFrame) -> None:
        raise AssertionError("nothing is read")

    with pytest.raises(InvalidInput, match=place.partition(",")[0]):
        project.run(reader)


def test_an_op_of_a_job_is_judged_by_its_tags_too(project: Project) -> None:
    @op(ins={"bars": In(metadata={"seamless/node": NODES["1h"]}, input_manager_key="seamless_io_manager")},
        tags={"seamless/max_lag": "60"})  # fmt: skip
    def reader(bars: pd.DataFrame) -> None:
        raise AssertionError("nothing is read")

    resources = dict(project.definitions().resources or {})

    @graph
    def reading() -> None:
        reader()

    with pytest.raises(InvalidInput, match="tags of the op reader"):
        reading.to_job(resource_defs=resources).execute_in_process(
            instance=project.instance, run_config=QUIET
        )


def test_tags_of_nodes_and_of_others_may_stand_on_what_is_made_of_them(project: Project) -> None:
    seen: list[int] = []

    @asset(
        ins={"bars": AssetIn(KEYS["1h"])},
        io_manager_key="nowhere",
        tags={"seamless/exchange": "binance", "seamless/timeframe": "1h", "acme/as_of": "never"},
        metadata={"as_of": "2020-01-01"},
    )
    def reader(bars: pd.DataFrame) -> None:
        seen.append(len(bars))

    assert project.run(reader).success and seen[0] > 0


def test_a_node_that_another_io_manager_would_keep_is_refused(project: Project) -> None:
    @asset(
        ins={"bars": AssetIn(KEYS["1h"])},
        io_manager_key="nowhere",
        metadata={"seamless/node_id": "ohlcv:research:BTC/USDT:1h"},
    )
    def unkept(bars: pd.DataFrame) -> pd.DataFrame:
        return bars

    with pytest.raises(InvalidInput, match="io_manager_key"):
        project.run(unkept)
