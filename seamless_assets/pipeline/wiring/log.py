"""Where what happens is logged, for the rooms that know no adapter."""

from seamless_assets.adapters.machine.log import LOGGER, LogEvents

__all__ = ["LOGGER", "LogEvents"]
