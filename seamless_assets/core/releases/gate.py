"""The gates of a release: what bars must be to be sealed, and what must hold before they move an `as_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.flags import BLOCKING, severities_of
from seamless_assets.core.bars.table import BARS_SCHEMA, PRICES, timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.errors import SealRefused

CHECK_CONFORMANCE = "conformance"
CHECK_COVERAGE = "coverage"


@dataclass(frozen=True, slots=True)
class GateResult:
    """Outcome of the blocking checks: name to passed, and a sentence for each that failed."""

    checks: Mapping[str, bool]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the release may go out."""
        return all(self.checks.values())


def refuse_unsound(node: NodeId, window: Segment, bars: pa.Table) -> None:
    """Raise `SealRefused` unless bars ascend on the node's grid inside `window`, with finite prices.

    A volume may be unknown (NaN), but never infinite.
    """
    problem = _unsound(node, window, bars)
    if problem is not None:
        raise SealRefused(
            f"{node}: bars of [{seconds_text(window.start)}, {seconds_text(window.end)}) are not sealed, as "
            f"{problem}; the hot store is damaged: restore it, or remove it and materialize again",
            node_id=str(node),
            segment=window,
        )


def check_manifests(
    manifests: Sequence[Manifest], severities: Mapping[str, str], threshold: float
) -> dict[str, bool]:
    """The checks of artifacts as their manifests say; of several, each name says the partition too."""
    weights = severities_of(severities)
    found: dict[str, bool] = {}
    for manifest in manifests:
        coverage = manifest_coverage(manifest)
        blocking = [name for name in manifest.conformance_flags if weights.get(name) == BLOCKING]
        if "non_finite" not in severities and not coverage.missing:
            # Volumes that nobody knows are counted so too; a bar without a price would be missing.
            blocking = [name for name in blocking if name != "non_finite"]
        judged = check_release(manifest.partition, blocking, manifest.conformance_flags, coverage, threshold)
        of = f" of {manifest.partition}" if len(manifests) > 1 else ""
        found.update({f"{name}{of}": passed for name, passed in judged.checks.items()})
    return found


def overridden_checks(checks: Mapping[str, bool], partition: str) -> list[str]:
    """The names of the checks that a release failed and a person overrode, as far as a partition goes."""
    failed = [name for name, passed in checks.items() if not passed]
    mine = f" of {partition}"
    return [name.removesuffix(mine) for name in failed if " of " not in name or name.endswith(mine)]


def manifest_coverage(manifest: Manifest, window: Segment | None = None) -> Coverage:
    """The coverage of an artifact, or of the part of it inside `window`, as its manifest says."""
    timeframe = NodeId.parse(manifest.node_id).timeframe
    part = manifest.segment if window is None else manifest.segment.intersect(window)
    return coverage_of(timeframe, part, manifest.opens(timeframe, part), manifest.absent)


def check_release(
    partition: str, blocking: Sequence[str], flags: Mapping[str, int], coverage: Coverage, threshold: float
) -> GateResult:
    """Judge one partition: no blocking conformance flag, and coverage at or above `threshold`."""
    problems: list[str] = []
    if blocking:
        counts = ", ".join(f"{name} {flags[name]}" for name in blocking)
        problems.append(
            f"{partition}: conformance found {counts}; materialize again once the exchange mends it"
        )
    if coverage.ratio < threshold:
        gap = coverage.missing_gaps[0]
        problems.append(
            f"{partition}: {coverage.missing} of {coverage.expected} bars are missing without proof, "
            f"the first at {seconds_text(gap.start)}; coverage {coverage.ratio:.4f} is below {threshold}"
        )
    return GateResult(
        {CHECK_CONFORMANCE: not blocking, CHECK_COVERAGE: coverage.ratio >= threshold}, tuple(problems)
    )


def _unsound(node: NodeId, window: Segment, bars: pa.Table) -> str | None:
    if not bars.schema.equals(BARS_SCHEMA) or any(column.null_count for column in bars.columns):
        return "their columns are not those of bars"
    ts = timestamps(bars)
    if bool((ts[1:] <= ts[:-1]).any()):
        return "their opens do not ascend"
    if len(ts) and not window.start <= ts[0] <= ts[-1] < window.end:
        outside = ts[(ts < window.start) | (ts >= window.end)]
        return f"one opens outside, at {int(outside[0])} epoch seconds"
    grid = node.timeframe.opens_array(*window)
    if not bool(np.isin(ts, grid, assume_unique=True).all()):
        return "one opens off the grid"
    if not all(bool(np.isfinite(bars.column(name).to_numpy()).all()) for name in PRICES):
        return "a price is not finite"
    return "a volume is infinite" if bool(np.isinf(bars.column("volume").to_numpy()).any()) else None
