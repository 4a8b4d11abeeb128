"""The reference of Python: what is exported, by its docstrings, which mkdocstrings lays out."""

from __future__ import annotations

from typing import Any

import seamless_assets as sa
from seamless_assets import testing
from seamless_assets.pipeline.seamless import AsyncSeamless, WorldSession
from seamless_assets.pipeline.world import AsyncWorldSession

LIVE = ("Bar", "CaughtUp", "Filled", "Gap", "Revised", "Stale", "Tick")
FACE = ("connect", "Seamless", "S3Access")
SETTINGS = ("load_settings", "Settings")
READING = (
    "ComputeContext",
    "SLAPolicy",
    "ReadResult",
    "ReadMetadata",
    "PanelResult",
    "PanelMetadata",
    "Release",
    "verify_export",
)
BARS = (
    "NodeId",
    "Timeframe",
    "Segment",
    "Coverage",
    "conform",
    "fingerprint",
    "merge_ranges",
    "missing_ranges",
)
ELSEWHERE = ("SeamlessError",)
"""On the page of errors."""

TITLES = {
    "connect.md": (
        "An open pipeline",
        "What `connect` gives: what is marked *async* is awaited in `Seamless.aio`, and returns when it is done in `Seamless`.",
        FACE,
    ),
    "reading.md": ("Reads and releases", "What a reader says and gets.", READING),
    "bars.md": ("Bars, nodes and time", "Values and arithmetic, without I/O.", BARS),
    "live.md": ("Events of a stream", "What `subscribe`, `panel` and `replay` tell.", LIVE),
    "configuration.md": (
        "Settings in Python",
        "How `seamless.yaml` is read; its keys have [a page of their own](settings.md).",
        SETTINGS,
    ),
}


DAGSTER = """# Dagster
`seamless_assets.defs`: nodes as assets of a Dagster project. [Nodes in your own Dagster project](../dagster.md) shows them at work.

::: seamless_assets.defs.build.build_definitions

::: seamless_assets.defs.resources.SeamlessResource

::: seamless_assets.defs.io_manager.SeamlessIOManager

::: seamless_assets.defs.io_manager.seamless_io_manager

::: seamless_assets.defs.partitions.node_partitions

::: seamless_assets.defs.component.SeamlessComponent

::: seamless_assets.defs.component.SeamlessMarketsComponent
"""
TESTING = """# Testing
`seamless_assets.testing`: for those who build on this package. [Test what you build on it](../testing.md) shows it at work.

"""


def pages() -> dict[str, str]:
    """Pages by file name, in Markdown."""
    known = {*FACE, *SETTINGS, *READING, *BARS, *LIVE, *ELSEWHERE}
    if known != set(sa.__all__):
        raise SystemExit(f"python_pages.py: {sorted(known ^ set(sa.__all__))} on no page, or not exported")
    made = {
        name: f"# {title}\n{text}\n\n" + "".join(map(reference, names))
        for name, (title, text, names) in TITLES.items()
    }
    return {**made, "dagster.md": DAGSTER, "testing.md": TESTING + "".join(map(of_testing, testing.__all__))}


def reference(name: str) -> str:
    """What mkdocstrings is told of an exported name: where it stands; of what has a twin, each method of that."""
    value: Any = getattr(sa, name)
    if value not in TWINS:
        return directive(value)
    methods = (
        getattr(TWINS[value], method)
        for method in vars(value)
        if not method.startswith("_") and method != "settings"
    )
    return directive(value, members=False) + "".join(
        directive(method, level=3) for method in methods if callable(method)
    )


def directive(value: Any, level: int = 2, *, members: bool = True) -> str:
    options = f"    options:\n      heading_level: {level}\n" + ("" if members else "      members: false\n")
    return f"::: {value.__module__}.{value.__qualname__}\n{options}\n"


TWINS = {sa.Seamless: AsyncSeamless, WorldSession: AsyncWorldSession}
"""Classes whose methods are derived from those of another while they are imported."""


def of_testing(name: str) -> str:
    value: Any = getattr(testing, name)
    module = getattr(value, "__module__", None)
    return f"::: {module}.{name}\n\n" if module else ""
