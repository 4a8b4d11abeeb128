"""The resource in an asset: the reads of a pipeline, for more than one window and for sessions."""

from typing import Any

import pytest
from dagster import AssetExecutionContext, asset
from support.dagster_project import NODES, Project

import seamless_assets as sa
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import InvalidInput

DAY = ("2025-01-02", "2025-01-03")


def test_an_asset_reads_several_windows_and_a_session_by_its_resource(project: Project) -> None:
    seen: dict[str, Any] = {}

    @asset
    def levels(context: AssetExecutionContext, seamless: SeamlessResource) -> None:
        for timeframe in ("1m", "1h"):
            seen[timeframe] = seamless.read(NODES[timeframe], *DAY).metadata
        with seamless.session("w1", "backtest", as_of=seen["1m"].as_of) as world:
            seen["session"] = world.read(NODES["1m"], *DAY).metadata
        seen["condition"] = seamless.condition(NODES["1m"], *DAY)
        context.add_output_metadata({"rows": seen["1h"].rows})

    assert project.run(levels).success
    with sa.connect(project.file) as pipeline:
        for timeframe in ("1m", "1h"):
            assert seen[timeframe] == pipeline.read(NODES[timeframe], *DAY).metadata
        assert seen["session"].world_id == "w1" and seen["session"].rows == seen["1m"].rows
        assert seen["condition"] == pipeline.condition(NODES["1m"], *DAY)


@pytest.mark.parametrize("name", ["read", "session", "condition", "pipeline"])
def test_outside_a_run_the_resource_says_so(name: str) -> None:
    with pytest.raises(InvalidInput, match="only while a run lasts"):
        getattr(SeamlessResource(), name)
