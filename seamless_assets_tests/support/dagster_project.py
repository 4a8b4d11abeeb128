"""A Dagster project whose nodes have partitions of each length, for tests that take them as inputs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dagster import AssetKey, DagsterInstance, Definitions, IOManager, IOManagerDefinition

import seamless_assets as sa
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions

NOW = datetime(2025, 1, 10, 12, 30, tzinfo=UTC)
NODES = {timeframe: f"ohlcv:binance:BTC/USDT:{timeframe}" for timeframe in ("1m", "1h", "1d", "1w")}
KEYS = {timeframe: AssetKey(["ohlcv", "binance", f"BTC_USDT_{timeframe}"]) for timeframe in NODES}
RELEASED = {
    "1m": [("2025-01-01", "2025-01-04"), ("2025-01-06", "2025-01-07"), ("2025-01-10", "2025-01-11")],
    "1h": [("2024-12-01", "2025-02-01")],
    "1d": [("2024-01-01", "2026-01-01")],
    "1w": [("2022-01-01", "2024-01-01")],
}
"""What is materialized, the running partition of each among it; of 1m not without holes."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Nowhere(IOManager):
    """Keeps nothing of what assets return."""

    def handle_output(self, context: Any, obj: Any) -> None:
        return None

    def load_input(self, context: Any) -> Any:
        raise AssertionError("a node is loaded by the seamless IO manager")


NOWHERE = IOManagerDefinition.hardcoded_io_manager(Nowhere())


@dataclass(frozen=True)
class Project:
    """A project with released bars."""

    file: Path
    instance: DagsterInstance

    def definitions(self, *assets: Any, checks: Any = ()) -> Definitions:
        """The project's definitions with a user's beside them."""
        own = Definitions(
            assets=list(assets),
            asset_checks=list(checks),
            resources={"nowhere": NOWHERE},
        )
        return Definitions.merge(build_definitions(load_settings(self.file)), own)

    def run(self, *assets: Any, partition: str | None = None, **tags: str) -> Any:
        """Materialize a user's assets; raises what their step raised."""
        job = self.definitions(*assets).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=tags,
            asset_selection=[key for asset in assets for key in asset.keys],
            run_config=QUIET,
        )

    def opens(self, timeframe: str, *stretches: tuple[Any, Any]) -> list[int]:
        """The opens of the released bars of stretches."""
        with sa.connect(self.file) as pipeline:
            tables = [pipeline.read(NODES[timeframe], *part).to_arrow() for part in stretches]
        return [ts for table in tables for ts in table["ts"].to_pylist()]

    def settled(self, timeframe: str) -> int:
        """Where what is released of the running partition ends, in epoch seconds."""
        with sa.connect(self.file) as pipeline:
            return pipeline.released_window(NODES[timeframe]).end

    def newest(self, timeframe: str) -> str:
        """The `as_of` of the newest release."""
        with sa.connect(self.file) as pipeline:
            return pipeline.releases(NODES[timeframe])[-1].as_of
