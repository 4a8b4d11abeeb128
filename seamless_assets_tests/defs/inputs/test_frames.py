"""The form of an input, and what a run shows of it."""

from __future__ import annotations

from typing import Any, Optional

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dagster import (
    AssetIn,
    AssetKey,
    AssetSpec,
    DailyPartitionsDefinition,
    In,
    JobDefinition,
    MaterializeResult,
    asset,
    graph,
    multi_asset,
    op,
)
from support.dagster_project import KEYS, NODES, QUIET, Project

import seamless_assets as sa
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.defs.inputs.frames import CHOICES, frame_maker
from seamless_assets.errors import InvalidChoice, InvalidInput

DAY = ("2025-01-02", "2025-01-03")


class OwnFrame(pd.DataFrame):
    """A kind of frame that nobody here can make."""


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pd.DataFrame, pd.DataFrame),
        (pa.Table, pa.Table),
        (pl.DataFrame, pl.DataFrame),
        (pl.LazyFrame, pl.LazyFrame),
        (ReadResult, ReadResult),
        (Optional[pd.DataFrame], pd.DataFrame),  # noqa: UP045
        (pa.Table | None, pa.Table),
        (pl.DataFrame | None, pl.DataFrame),
        (pl.LazyFrame | None, pl.LazyFrame),
        (ReadResult | None, ReadResult),
        (Any, pd.DataFrame),
        (None, pd.DataFrame),
    ],
    ids=str,
)
def test_an_input_comes_as_its_annotation_says(annotation: Any, kind: type, project: Project) -> None:
    consumer, seen = annotated(annotation)
    assert project.run(consumer).success
    assert type(seen[0]) is kind
    assert opens(seen[0]) == project.opens("1m", DAY)


def annotated(annotation: Any) -> tuple[Any, list[Any]]:
    """An asset whose input is annotated so, and where the input ends up."""
    seen: list[Any] = []

    def consumer(bars):  # type: ignore[no-untyped-def]
        seen.append(bars)

    if annotation is not None:
        consumer.__annotations__["bars"] = annotation
    ins = {"bars": AssetIn(KEYS["1m"], metadata=window(*DAY))}
    return asset(ins=ins, io_manager_key="nowhere")(consumer), seen


def window(start: str, end: str) -> dict[str, str]:
    return {"seamless/start": start, "seamless/end": end}


def opens(frame: Any) -> list[int]:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, ReadResult):
        frame = frame.to_arrow()
    column = frame["ts"]
    assert str(column.dtype if hasattr(column, "dtype") else column.type).lower() == "int64"
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column)


@pytest.mark.parametrize(
    "annotation",
    [dict, list[pd.DataFrame], dict[str, pa.Table], int, object, pl.Series, pd.Series, OwnFrame, int | None],
    ids=str,
)
def test_other_forms_are_refused_with_those_there_are(annotation: Any, project: Project) -> None:
    consumer, _ = annotated(annotation)
    with pytest.raises(InvalidChoice, match="annotate the input with") as refused:
        project.run(consumer)
    assert refused.value.choices == CHOICES


def test_a_form_is_judged_by_the_type_itself() -> None:
    fake = type("DataFrame", (), {"__module__": "mine.polars"})
    for wanted in (fake, fake | None, pd.DataFrame | pa.Table, None, "pandas.DataFrame", 3):
        with pytest.raises(InvalidChoice):
            frame_maker(wanted)


def test_what_was_read_is_shown_on_what_is_made_of_it(project: Project) -> None:
    days = DailyPartitionsDefinition("2024-12-01")

    @asset(
        ins={"minutes": AssetIn(KEYS["1m"]), "hours": AssetIn(KEYS["1h"])},
        partitions_def=days,
        io_manager_key="nowhere",
    )
    def feature(minutes: pd.DataFrame, hours: pd.DataFrame) -> None: ...

    assert project.run(feature, partition="2025-01-02").success
    event = project.instance.get_latest_materialization_event(feature.key)
    assert event is not None and event.asset_materialization is not None
    shown = {name: entry.value for name, entry in event.asset_materialization.metadata.items()}
    with sa.connect(project.file) as pipeline:
        for name, timeframe in (("minutes", "1m"), ("hours", "1h")):
            newest = pipeline.releases(NODES[timeframe])[-1]
            read = pipeline.read(NODES[timeframe], *DAY).metadata
            of_the_input = {key: value for key, value in shown.items() if key.startswith(f"{name}/")}
            assert {key.partition("/")[2]: value for key, value in of_the_input.items()} == {
                "node_id": NODES[timeframe],
                "as_of": newest.as_of,
                "dataset_fingerprint": newest.dataset_fingerprint,
                "window": "2025-01-02T00:00:00Z to 2025-01-03T00:00:00Z",
                "rows": read.rows,
                "coverage": round(read.coverage_ratio, 6),
                "verdict": read.verdict,
                "source": "artifacts",
                "domain": read.domain,
                "world_id": "default",
            }  # fmt: skip
    assert not project.instance.fetch_observations(KEYS["1m"], limit=1).records


def test_each_asset_that_a_step_makes_shows_it(project: Project) -> None:
    specs = [AssetSpec(name, deps=[KEYS["1d"]], skippable=True) for name in ("one", "other")]

    # Where specs say their dependencies, an input says its name alone.
    @multi_asset(specs=specs, ins={"bars": AssetIn(KEYS["1d"])})
    def both(bars: pa.Table) -> Any:
        yield MaterializeResult("one", metadata={"mine": bars.num_rows})
        yield MaterializeResult("other")

    assert project.run(both).success
    for name, mine in (("one", {"mine"}), ("other", set())):
        event = project.instance.get_latest_materialization_event(AssetKey(name))
        assert event is not None and event.asset_materialization is not None
        shown = event.asset_materialization.metadata
        rows = len(project.opens("1d", ("2024-01-01", project.settled("1d"))))
        assert shown["bars/rows"].value == rows and mine <= set(shown)


def test_a_plain_op_takes_the_node_that_it_names(project: Project) -> None:
    seen: list[int] = []

    metadata = {"seamless/node": NODES["1d"]}

    @op(ins={"bars": In(pa.Table, metadata=metadata, input_manager_key="seamless_io_manager")})
    def count(bars: Any) -> None:
        seen.append(bars.num_rows)

    @op(ins={"bars": In(pa.Table, input_manager_key="seamless_io_manager")})
    def count_nothing(bars: Any) -> None:
        raise AssertionError("the input is refused before the op begins")

    def job_of(counting: Any) -> JobDefinition:
        @graph
        def alone() -> None:
            counting()

        return alone.to_job(resource_defs=dict(project.definitions().resources or {}))

    assert job_of(count).execute_in_process(instance=project.instance, run_config=QUIET).success
    assert seen == [len(project.opens("1d", ("2024-01-01", project.settled("1d"))))]
    with pytest.raises(InvalidInput, match="this input is of no asset"):
        job_of(count_nothing).execute_in_process(instance=project.instance, run_config=QUIET)


def test_an_asset_and_a_node_that_contradict_are_refused(project: Project) -> None:
    @asset(
        ins={"bars": AssetIn(KEYS["1m"], metadata={"seamless/node": NODES["1h"]})}, io_manager_key="nowhere"
    )
    def consumer(bars: pa.Table) -> None: ...

    with pytest.raises(InvalidInput, match="leave one of the two out"):
        project.run(consumer)
