"""Inputs that are more than what is released: filled first, read live, or held."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from dagster import AssetIn, DailyPartitionsDefinition, asset
from dagster import SpecificPartitionsPartitionMapping as Specific
from support.dagster_project import KEYS, NODES, NOW, Project

import seamless_assets as sa
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.errors import CoverageMissing, ReadRefused, SeamlessSLAExceeded
from seamless_assets.pipeline.connect import Seamless

DAYS = DailyPartitionsDefinition("2024-12-01")
HOUR_S = 3_600


def read(
    project: Project,
    metadata: dict[str, Any],
    partition: str | None = None,
    mapping: Any = None,
    kind: Any = ReadResult,
) -> Any:
    """What an asset over the hours gets."""
    seen: list[Any] = []

    def consumer(bars):  # type: ignore[no-untyped-def]
        seen.append(bars)

    consumer.__annotations__["bars"] = kind
    made = asset(
        ins={"bars": AssetIn(KEYS["1m"], metadata=metadata, partition_mapping=mapping)},
        partitions_def=DAYS if partition else None,
        io_manager_key="nowhere",
    )(consumer)
    assert project.run(made, partition=partition).success
    return seen[0]


def test_a_strategy_fills_what_a_partition_lacks(project: Project) -> None:
    with pytest.raises(CoverageMissing):
        read(project, {"seamless/strategy": "FAIL_FAST"}, "2025-01-05")
    before = project.newest("1m")
    result = read(project, {"seamless/strategy": "AUTO_BACKFILL"}, "2025-01-05")
    assert result.metadata.as_of == project.newest("1m") > before
    assert result.to_arrow()["ts"].to_pylist() == project.opens("1m", ("2025-01-05", "2025-01-06"))


def test_stretches_that_are_filled_are_read_at_one_as_of(project: Project) -> None:
    days = Specific(["2025-01-01", "2025-01-07"])
    result = read(project, {"seamless/strategy": "AUTO_BACKFILL"}, mapping=days)
    assert result.metadata.as_of == result.metadata.requested_as_of == project.newest("1m")
    expected = project.opens("1m", ("2025-01-01", "2025-01-02"), ("2025-01-07", "2025-01-08"))
    assert result.to_arrow()["ts"].to_pylist() == expected


def test_a_live_input_reaches_to_now_and_is_held_where_it_must_not_be_acted_on(project: Project) -> None:
    live = {"seamless/domain": "live", "seamless/strategy": "AUTO_BACKFILL"}
    result = read(project, {**live, "seamless/start": "2025-01-10T12:00Z"})
    assert result.metadata.domain == "live" and result.metadata.end == NOW.timestamp()
    stale = {**live, "seamless/strategy": "FAIL_FAST", "seamless/start": "2025-01-09T00:00Z",
             "seamless/end": "2025-01-09T01:00Z", "seamless/min_coverage": 0.5}  # fmt: skip
    held = read(project, stale)
    assert held.metadata.verdict == "HOLD"
    with pytest.raises(ReadRefused, match="the verdict is HOLD: coverage_below_minimum") as refused:
        read(project, stale, kind=pd.DataFrame)
    assert refused.value.reasons == held.metadata.reasons


def test_a_service_level_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    real = Seamless.read

    def remembered(pipeline: Seamless, *asked: Any, **options: Any) -> ReadResult:
        given.append(options["sla"])
        return real(pipeline, *asked, **options)

    monkeypatch.setattr(Seamless, "read", remembered)
    tight = {"seamless/sla": {"total_deadline_ms": 0.001, "max_wait_storage_ms": 0.001}}
    with pytest.raises(SeamlessSLAExceeded):
        read(project, tight, "2025-01-02")
    assert read(project, {"seamless/sla": "baseline"}, "2025-01-02").metadata.verdict == "PASS"
    assert read(project, {"seamless/min_coverage": 0.5}, "2025-01-02").metadata.verdict == "PASS"
    assert given[1] == "baseline" and given[2].min_coverage == 0.5
    with sa.connect(project.file) as pipeline:
        assert pipeline.read(NODES["1m"], "2025-01-02", "2025-01-03", sla=given[2]).metadata.verdict == "PASS"
