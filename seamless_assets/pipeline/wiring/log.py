"""Where what happens is logged, for the rooms that know no adapter."""

from seamless_assets.adapters.machine.log import FORMS, LOGGER, LogEvents, log_context, log_to

__all__ = ["FORMS", "LOGGER", "LogEvents", "log_context", "log_to"]
