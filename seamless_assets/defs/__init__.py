"""The Dagster shell: assets, checks, partitions, resources, IO manager and jobs over the plain face."""

from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.inputs.io_manager import SeamlessIOManager, seamless_io_manager
from seamless_assets.defs.resources import SeamlessResource

__all__ = ["SeamlessIOManager", "SeamlessResource", "build_definitions", "seamless_io_manager"]
