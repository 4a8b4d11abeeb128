"""Everything that settings declare, as Dagster's definitions."""

from __future__ import annotations

from dagster import Definitions
from dagster_aws.s3 import S3Resource

from seamless_assets.config.load import Settings
from seamless_assets.defs.assets import IO_MANAGER, build_assets
from seamless_assets.defs.housekeeping import housekeeping, housekeeping_every_night
from seamless_assets.defs.io_manager import SeamlessIOManager
from seamless_assets.defs.jobs import build_jobs
from seamless_assets.defs.resources import SeamlessResource


def build_definitions(settings: Settings, config: str = "", s3: S3Resource | None = None) -> Definitions:
    """Definitions of settings; `config` is the path that runs open again, empty for the usual place.

    `s3` is how a Dagster project reaches its buckets already, if it does.
    """
    assets = build_assets(settings)
    resource = SeamlessResource(config=config, s3=s3)
    return Definitions(
        assets=assets,
        jobs=[*build_jobs(assets), housekeeping],
        schedules=[housekeeping_every_night],
        resources={"seamless": resource, IO_MANAGER: SeamlessIOManager(seamless=resource)},
    )
