"""Bars of a node by Dagster's own ways to load an asset's value, as in a notebook."""

from __future__ import annotations

import asyncio
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dagster import PartitionKeyRange
from support.dagster_project import KEYS, Project

from seamless_assets.core.reading.result import ReadResult
from seamless_assets.errors import CoverageMissing, InvalidChoice, NothingReleased

DAY = ("2025-01-02", "2025-01-03")


def opens(frame: Any) -> list[int]:
    return list(frame["ts"])


@pytest.fixture(params=["definitions", "definitions and instance", "repository", "loader"])
def load(request: pytest.FixtureRequest, project: Project) -> Any:
    """Each of Dagster's ways to load a value."""
    definitions = project.definitions()
    if request.param == "definitions":
        yield definitions.load_asset_value
    elif request.param == "definitions and instance":
        yield lambda *key, **options: definitions.load_asset_value(*key, instance=project.instance, **options)
    elif request.param == "repository":
        repository = definitions.get_repository_def()
        yield lambda *key, **options: repository.load_asset_value(*key, instance=project.instance, **options)
    else:
        with definitions.get_asset_value_loader(instance=project.instance) as loader:
            yield loader.load_asset_value


def test_a_value_loads_in_a_notebook(load: Any, project: Project) -> None:
    end = project.settled("1m")
    assert opens(load(KEYS["1m"], partition_key="2025-01-02")) == project.opens("1m", DAY)
    assert opens(load(KEYS["1m"], partition_key="2025-01-10")) == project.opens("1m", ("2025-01-10", end))
    assert opens(load(KEYS["1m"])) == project.opens(
        "1m", ("2025-01-01", "2025-01-04"), ("2025-01-06", "2025-01-07"), ("2025-01-10", end)
    )
    with pytest.raises(CoverageMissing):
        load(KEYS["1m"], partition_key="2025-01-05")


def test_a_value_comes_in_the_form_and_of_the_time_that_is_asked_for(project: Project) -> None:
    load = project.definitions().load_asset_value
    for kind in (pd.DataFrame, pa.Table, pl.DataFrame, pl.LazyFrame, ReadResult):
        assert type(load(KEYS["1m"], python_type=kind, partition_key="2025-01-02")) is kind
    with pytest.raises(InvalidChoice, match="bars do not come as dict"):
        load(KEYS["1m"], python_type=dict)
    first = {"seamless/end": "2025-01-01T01:00Z"}
    assert len(load(KEYS["1m"], metadata=first)) == len(
        project.opens("1m", ("2025-01-01", "2025-01-01T01:00Z"))
    )
    with pytest.raises(NothingReleased):
        load(KEYS["1m"], metadata={"seamless/as_of": "20200101"})
    with pytest.raises(InvalidChoice, match="did you mean seamless/as_of"):
        load(KEYS["1m"], metadata={"seamless/asof": "20200101"})


def test_a_range_of_partitions_loads_as_one(project: Project) -> None:
    with project.definitions().get_asset_value_loader(instance=project.instance) as loader:
        days = PartitionKeyRange("2025-01-01", "2025-01-03")
        frame = loader.load_asset_value(KEYS["1m"], partition_key_range=days)
        assert opens(frame) == project.opens("1m", ("2025-01-01", "2025-01-04"))
        again = loader.load_asset_value(KEYS["1h"], partition_key="2024-12")
        assert opens(again) == project.opens("1h", ("2024-12-01", "2025-01-01"))


async def test_a_value_loads_inside_a_running_event_loop(project: Project) -> None:
    assert asyncio.get_running_loop().is_running()
    frame: Any = project.definitions().load_asset_value(KEYS["1d"], partition_key="2024")
    assert opens(frame) == project.opens("1d", ("2024-01-01", "2025-01-01"))
