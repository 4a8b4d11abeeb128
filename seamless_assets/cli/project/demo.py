"""The main job on a laptop: a local exchange, several days of several nodes through Dagster, read back."""

from __future__ import annotations

import sys
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from dagster import DagsterInstance, EventLogEntry
from dagster._core.instance.ref import InstanceRef

from seamless_assets.cli.project.dagster_home import dagster_environment
from seamless_assets.cli.project.local_exchange import local_exchanges
from seamless_assets.cli.terminal import say
from seamless_assets.config.load import (
    DEFAULT_FILE,
    SMALLEST_YAML,
    NodeSettings,
    Settings,
    is_file_there,
    load_settings,
)
from seamless_assets.core.calendar.partition import KEY_FORMATS
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.nodes.assets import build_assets
from seamless_assets.errors import ChecksFailed
from seamless_assets.pipeline.connect import connect

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
LOCAL_EXCHANGE = "    base_url: http://127.0.0.1:8080  # the local exchange; without this line the real one\n"


def run_demo(days: int) -> None:
    """Materialize `days` days of every declared node, read them back at an `as_of`, say what came of it.

    Raises `ConfigError` where `seamless.yaml` is wrong, `ChecksFailed` where a run released nothing.
    """
    _make_file()
    settings = load_settings()
    with local_exchanges(settings, must_be_ours=True):
        window_end = _first_start(settings) + timedelta(days=days)
        _materialize(settings, window_end)
        _read_back(settings, window_end)
    _say_next()


def _make_file() -> None:
    """A file to begin with, where there is none and none is named."""
    if is_file_there():
        return
    text = SMALLEST_YAML.replace("  binance:\n", f"  binance:\n{LOCAL_EXCHANGE}")
    Path(DEFAULT_FILE).write_text(f"{text.rstrip()}\n", encoding="utf-8")
    say(f"{DEFAULT_FILE}: made, with one series of the local exchange")


def _materialize(settings: Settings, end: datetime) -> None:
    definitions = build_definitions(settings)
    home = dagster_environment(settings)["DAGSTER_HOME"]
    # Who watches a demo is told of partitions, not of each event on the way to them.
    quiet = InstanceRef.from_dir(home, overrides={"python_logs": {}})
    with chdir(settings.base), DagsterInstance.from_ref(quiet) as instance:
        for asset in build_assets(settings):
            first = next(n for n in settings.nodes if n.node.asset_key == tuple(next(iter(asset.keys)).path))
            name = f"materialize_{asset.op.name}"
            say(name)
            run_id = str(uuid4())
            instance.add_event_listener(run_id, _show_progress)
            result = definitions.resolve_job_def(name).execute_in_process(
                run_id=run_id,
                instance=instance,
                tags=_range_tags(settings, first, end),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
            if not result.success:
                raise ChecksFailed(f"run {result.run_id} of {name} failed; open it in the UI", problems=())


def _show_progress(entry: EventLogEntry) -> None:
    if not entry.is_dagster_event:
        say(f"  {entry.user_message}")


def _read_back(settings: Settings, end: datetime) -> None:
    say("\nReleased, and read back as known at its as_of")
    with connect(settings) as pipeline:
        for item in settings.nodes:
            as_of = pipeline.releases(item.node)[-1].as_of
            context = ComputeContext(world_id="demo", domain="backtest", as_of=as_of)
            metadata = pipeline.read(item.node, item.start, end, context=context).metadata
            say(f"{item.node}: {metadata.rows} bars as of {as_of}")
            say(f"  {metadata.dataset_fingerprint}")
            say(f"  {metadata.manifest_uris[0]}")


def _say_next() -> None:
    tool = Path(sys.argv[0])
    say(f"\nOpen the UI:         {tool} ui       then http://127.0.0.1:3000")
    say("Read from Python:    seamless_assets.connect().read(node, start, end).to_pandas()")
    say("Use a real exchange: remove the base_url line of that exchange in seamless.yaml")


def _first_start(settings: Settings) -> datetime:
    return datetime.fromtimestamp(max(item.start for item in settings.nodes), UTC)


def _range_tags(settings: Settings, first: NodeSettings, end: datetime) -> dict[str, str]:
    form = KEY_FORMATS[settings.partition_unit(first.node.timeframe)]
    last = end - timedelta(seconds=1)
    start = datetime.fromtimestamp(first.start, UTC)
    return {RANGE_START: start.strftime(form), RANGE_END: last.strftime(form)}
