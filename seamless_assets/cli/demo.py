"""The main job on a laptop: a local exchange, several days of several nodes through Dagster, read back."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import uuid4

from dagster import DagsterInstance, EventLogEntry
from rich.console import Console

from seamless_assets.config.load import NodeSettings, Settings, load_settings
from seamless_assets.core.calendar.partition import KEY_FORMATS
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.nodes.assets import build_assets
from seamless_assets.errors import ChecksFailed, ConfigError
from seamless_assets.pipeline.connect import connect
from seamless_assets.sandbox.server import Sandbox

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def run_demo(days: int) -> None:
    """Materialize `days` days of every declared node, read them back at an `as_of`, say what came of it.

    Raises `ConfigError` where `seamless.yaml` is wrong, `ChecksFailed` where a run released nothing.
    """
    console = Console(highlight=False)
    settings = load_settings()
    with ExitStack() as stack:
        for url in _local_exchanges(settings):
            stack.enter_context(local_exchange(url, console))
        window_end = _first_start(settings) + timedelta(days=days)
        _materialize(settings, window_end, console)
        _read_back(settings, window_end, console)
    _say_next(console)


@contextmanager
def local_exchange(url: str, console: Console) -> Iterator[None]:
    """The local exchange at `url`; one that already listens there is used as it is."""
    place = urlsplit(url)
    host, port = place.hostname or "127.0.0.1", place.port or 80
    if _is_local_exchange(url):
        console.print(f"local exchange: already running at {url}")
        yield
        return
    if not _is_free(host, port):
        raise ConfigError(
            f"{url}, the base_url in seamless.yaml, is taken by another program; stop it, or set "
            "SEAMLESS_EXCHANGE to an address that is free, such as http://127.0.0.1:8081",
            problems=(),
        )
    with Sandbox(host=host, port=port).running() as exchange:
        console.print(f"local exchange: {exchange.url}")
        yield


def run_ui(port: int) -> None:
    """Run Dagster's UI and daemon on this folder, with the local exchange beside them, until stopped."""
    console = Console(highlight=False)
    settings = load_settings()
    with ExitStack() as stack:
        for url in _local_exchanges(settings):
            stack.enter_context(local_exchange(url, console))
        console.print(f"Dagster: http://127.0.0.1:{port} (Ctrl-C stops it)")
        command = [
            str(Path(sys.executable).with_name("dagster")),
            "dev",
            "-w",
            "workspace.yaml",
            "-p",
            str(port),
        ]
        subprocess.run(command, check=False)


def _materialize(settings: Settings, end: datetime, console: Console) -> None:
    definitions = build_definitions(settings)
    Path("data/dagster").mkdir(parents=True, exist_ok=True)
    with DagsterInstance.from_config(str(Path.cwd())) as instance:
        for asset in build_assets(settings):
            first = next(n for n in settings.nodes if n.node.asset_key == tuple(next(iter(asset.keys)).path))
            name = f"materialize_{asset.op.name}"
            console.print(f"[bold]{name}[/bold]")
            run_id = str(uuid4())
            instance.add_event_listener(run_id, partial(_show_progress, console))
            result = definitions.resolve_job_def(name).execute_in_process(
                run_id=run_id,
                instance=instance,
                tags=_range_tags(settings, first, end),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
            if not result.success:
                raise ChecksFailed(f"run {result.run_id} of {name} failed; open it in the UI", problems=())


def _show_progress(console: Console, entry: EventLogEntry) -> None:
    if not entry.is_dagster_event:
        console.print(f"  {entry.user_message}", soft_wrap=True)


def _read_back(settings: Settings, end: datetime, console: Console) -> None:
    console.print("\n[bold]Released, and read back as known at its as_of[/bold]")
    with connect(settings) as pipeline:
        for item in settings.nodes:
            as_of = pipeline.releases(item.node)[-1].as_of
            context = ComputeContext(world_id="demo", domain="backtest", as_of=as_of)
            metadata = pipeline.read(item.node, item.start, end, context=context).metadata
            facts = [
                f"{item.node}: {metadata.rows} bars as of {as_of}",
                f"  {metadata.dataset_fingerprint}",
                f"  {metadata.manifest_uris[0]}",
            ]
            console.print("\n".join(facts), soft_wrap=True)


def _say_next(console: Console) -> None:
    console.print(
        "\nOpen the UI:         .venv/bin/seamless ui       then http://127.0.0.1:3000"
        "\nRead from Python:    seamless_assets.connect().read(node, start, end).to_pandas()"
        "\nUse a real exchange: remove the base_url line of that exchange in seamless.yaml",
        soft_wrap=True,
    )


def _local_exchanges(settings: Settings) -> list[str]:
    urls = {str(exchange.base_url) for exchange in settings.exchanges.values() if exchange.base_url}
    return sorted(url for url in urls if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"))


def _first_start(settings: Settings) -> datetime:
    return datetime.fromtimestamp(max(item.start for item in settings.nodes), UTC)


def _range_tags(settings: Settings, first: NodeSettings, end: datetime) -> dict[str, str]:
    form = KEY_FORMATS[settings.partition_unit(first.node.timeframe)]
    last = end - timedelta(seconds=1)
    start = datetime.fromtimestamp(first.start, UTC)
    return {RANGE_START: start.strftime(form), RANGE_END: last.strftime(form)}


def _is_local_exchange(url: str) -> bool:
    try:
        with urlopen(f"{url.rstrip('/')}/_sandbox/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
