"""The job that fills what readers left behind: asked for where there is such a thing, and not else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, Definitions, build_schedule_context

import seamless_assets as sa
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

NODE = "ohlcv:binance:BTC/USDT:1m"
WINDOW = (START, START + 3_600)


def left_behind(path: Path, exchange: Sandbox) -> None:
    """A reader wants a fill, and is gone before the exchange says anything."""
    exchange.faults.add(Fault("hang", path="klines", times=None))
    live = sa.ComputeContext(domain="live", max_lag=1e9)
    with sa.connect(path) as pipeline:
        # A busy machine may be slow to look what is there; what is not is left to the background.
        unhurried = {"max_wait_storage_ms": 10_000, "total_deadline_ms": 20_000}
        pipeline.read(NODE, *WINDOW, context=live, strategy="PARTIAL_FILL", sla=unhurried)
    exchange.faults.clear()


def tick(definitions: Definitions, instance: DagsterInstance) -> Any:
    repository = definitions.get_repository_def()
    resources = dict(definitions.resources or {})
    with build_schedule_context(instance, repository_def=repository, resources=resources) as context:
        return repository.get_schedule_def("fills_schedule").evaluate_tick(context)


def test_what_a_reader_left_is_filled_by_a_run_that_is_asked_for_once(
    written: Callable[..., Path], exchange: Sandbox, instance: DagsterInstance
) -> None:
    path = written("BTC/USDT")
    definitions = build_definitions(load_settings(path), config=str(path))
    assert "nobody left" in tick(definitions, instance).skip_message
    left_behind(path, exchange)
    (asked,) = tick(definitions, instance).run_requests
    under_way = instance.create_run_for_job(
        definitions.resolve_job_def("fills"),
        tags={"dagster/schedule_name": "fills_schedule", **asked.tags},
        status=DagsterRunStatus.STARTED,
    )
    assert "is not over" in tick(definitions, instance).skip_message
    instance.delete_run(under_way.run_id)
    done = definitions.resolve_job_def("fills").execute_in_process(instance=instance)
    (output,) = (event for event in done.all_events if event.is_successful_output)
    (row,) = output.step_output_data.metadata["fills"].records  # type: ignore[union-attr]
    assert (row.data["node"], row.data["problems"]) == (NODE, "")
    with sa.connect(path) as pipeline:
        assert pipeline.coverage(NODE, *WINDOW).missing == 0
    assert "nobody left" in tick(definitions, instance).skip_message


def test_messages_of_the_webhook_are_a_reason_too(
    written: Callable[..., Path], instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("BTC/USDT")
    environment = (
        "environment: {world_webhook_url: 'http://127.0.0.1:9/', world_webhook_secret: 0123456789abcdef}"
    )
    path.write_text(f"{path.read_text()}\n{environment}\n")
    definitions = build_definitions(load_settings(path), config=str(path))
    assert tick(definitions, instance).skip_message
    live = sa.ComputeContext(domain="live", max_lag=1e9)
    with sa.connect(path) as pipeline:
        assert pipeline.read(NODE, *WINDOW, context=live, strategy="FAIL_FAST").metadata.verdict == "HOLD"
    assert len(tick(definitions, instance).run_requests) == 1
    done = definitions.resolve_job_def("fills").execute_in_process(instance=instance)
    (output,) = (event for event in done.all_events if event.is_successful_output)
    assert output.step_output_data.metadata["messages_waiting"].value == 1
