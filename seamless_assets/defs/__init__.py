"""The Dagster shell: assets, checks, partitions, resources, IO manager and jobs over the plain face."""

from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.io_manager import SeamlessIOManager, seamless_io_manager
from seamless_assets.defs.partitions import node_partitions
from seamless_assets.defs.resources import SeamlessResource

__all__ = [
    "SeamlessIOManager",
    "SeamlessResource",
    "build_definitions",
    "node_partitions",
    "seamless_io_manager",
]
