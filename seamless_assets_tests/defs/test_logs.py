"""What the pipeline logs in a run stands in the run's own log in Dagster, with the run in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml
from dagster import DagsterInstance

from seamless_assets.cli.project.dagster_home import INSTANCE
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions


def test_a_run_holds_what_the_pipeline_logged_of_it(written: Callable[..., Path]) -> None:
    definitions = build_definitions(load_settings(written("BTC/USDT", timeframes=("1h",))))
    (name,) = [job.name for job in definitions.resolve_all_job_defs() if job.name.startswith("materialize_")]
    settings = {"python_logs": yaml.safe_load(INSTANCE)["python_logs"]}
    with DagsterInstance.ephemeral(settings=settings) as instance:
        result = definitions.resolve_job_def(name).execute_in_process(
            instance=instance, partition_key="2025-01", raise_on_error=False
        )
        messages = [
            record.event_log_entry.user_message
            for record in instance.get_records_for_run(result.run_id).records
        ]
    events = [json.loads(message) for message in messages if message.startswith('{"event"')]
    sealed = [event for event in events if event["event"] == "artifact_sealed"]
    filling = [event for event in events if event["event"] != "read"]
    assert sealed and {event["run"] for event in filling} == {result.run_id}
    assert sealed[0]["node_id"] == "ohlcv:binance:BTC/USDT:1h" and sealed[0]["fingerprint"].startswith(
        "sha256:"
    )
