"""Candle history that is ready, complete, reproducible and on time.

import seamless_assets as sa

with sa.connect("seamless.yaml") as s:
    s.materialize("ohlcv:binance:BTC/USDT:1m", "2025-01-01", "2025-01-08")
    frame = s.read("ohlcv:binance:BTC/USDT:1m", "2025-01-01", "2025-01-08").to_pandas()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seamless_assets.aio.late_imports import late_imports

if TYPE_CHECKING:
    from seamless_assets.config.load import Settings, load_settings
    from seamless_assets.core.bars.conformance.conform import conform
    from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
    from seamless_assets.core.calendar.timeframe import Timeframe
    from seamless_assets.core.coverage.coverage import Coverage
    from seamless_assets.core.live.events import Bar, CaughtUp, Filled, Gap, Revised, Stale
    from seamless_assets.core.live.panel import Tick
    from seamless_assets.core.node import NodeId
    from seamless_assets.core.reading.context import ComputeContext
    from seamless_assets.core.reading.panel import PanelMetadata, PanelResult
    from seamless_assets.core.reading.result import ReadMetadata, ReadResult
    from seamless_assets.core.reading.sla import SLAPolicy
    from seamless_assets.core.releases.fingerprint import fingerprint
    from seamless_assets.core.releases.release import Release
    from seamless_assets.defs.component import SeamlessComponent as SeamlessComponent
    from seamless_assets.defs.component import SeamlessMarketsComponent as SeamlessMarketsComponent
    from seamless_assets.errors import SeamlessError
    from seamless_assets.pipeline.connect import S3Access, Seamless, connect
    from seamless_assets.pipeline.files import verify_export

    __version__: str

__all__ = [
    "Bar",
    "CaughtUp",
    "ComputeContext",
    "Coverage",
    "Filled",
    "Gap",
    "NodeId",
    "PanelMetadata",
    "PanelResult",
    "ReadMetadata",
    "ReadResult",
    "Release",
    "Revised",
    "S3Access",
    "SLAPolicy",
    "Seamless",
    "SeamlessError",
    "Segment",
    "Settings",
    "Stale",
    "Tick",
    "Timeframe",
    "conform",
    "connect",
    "fingerprint",
    "load_settings",
    "merge_ranges",
    "missing_ranges",
    "verify_export",
]

_HOMES = {
    "config.load": ("Settings", "load_settings"),
    "core.bars.conformance.conform": ("conform",),
    "core.calendar.segment": ("Segment", "merge_ranges", "missing_ranges"),
    "core.calendar.timeframe": ("Timeframe",),
    "core.coverage.coverage": ("Coverage",),
    "core.live.events": ("Bar", "CaughtUp", "Filled", "Gap", "Revised", "Stale"),
    "core.live.panel": ("Tick",),
    "core.node": ("NodeId",),
    "core.reading.context": ("ComputeContext",),
    "core.reading.panel": ("PanelMetadata", "PanelResult"),
    "core.reading.result": ("ReadMetadata", "ReadResult"),
    "core.reading.sla": ("SLAPolicy",),
    "core.releases.fingerprint": ("fingerprint",),
    "core.releases.release": ("Release",),
    "errors": ("SeamlessError",),
    "pipeline.connect": ("S3Access", "Seamless", "connect"),
    "pipeline.files": ("verify_export",),
    "defs.component": ("SeamlessComponent", "SeamlessMarketsComponent"),
}
"""Where what is exported lives: imported when it is first asked for, as most use little of it.

Dagster's component registry finds components here too, which need Dagster.
"""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOME_OF[name]}"
    with late_imports(home):
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, "__version__"})


def _installed_version() -> str:
    with late_imports("importlib.metadata"):
        from importlib.metadata import PackageNotFoundError, version
    try:
        return version("seamless-assets")
    except PackageNotFoundError as error:
        raise AttributeError(
            f"{__name__} has no version: it is not installed, only found on a path"
        ) from error
