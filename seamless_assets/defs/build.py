"""Everything that settings declare, as Dagster's definitions."""

from __future__ import annotations

from dagster import Definitions

from seamless_assets.config import Settings
from seamless_assets.defs.assets import IO_MANAGER, build_assets
from seamless_assets.defs.io_manager import SeamlessIOManager
from seamless_assets.defs.jobs import build_jobs
from seamless_assets.defs.resources import SeamlessResource


def build_definitions(settings: Settings, config: str = "") -> Definitions:
    """Definitions of settings; `config` is the path that runs open again, empty for the usual place."""
    assets = build_assets(settings)
    resource = SeamlessResource(config=config)
    return Definitions(
        assets=assets,
        jobs=build_jobs(assets),
        resources={"seamless": resource, IO_MANAGER: SeamlessIOManager(seamless=resource)},
    )
