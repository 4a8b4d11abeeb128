"""What the settings decide for reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seamless_assets.core.reading.context import Strategy
from seamless_assets.core.reading.sla import PRESETS, UNBOUNDED, SLAPolicy


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Defaults of reads: strategy, service levels and their presets, and when a live read is held.

    `past_sla` is that of reads that nothing but a release answers. `max_lag` is in seconds, `min_coverage`
    a ratio, `dryrun_publishes` whether a dry run may make a release, `starts` the declared first open of
    each node, `exchanges` those whose wanted fills may be taken over.
    """

    strategy: Strategy = "SEAMLESS"
    sla: SLAPolicy = field(default_factory=SLAPolicy)
    past_sla: SLAPolicy = UNBOUNDED
    presets: Mapping[str, SLAPolicy] = field(default_factory=lambda: PRESETS)
    max_lag: float = 120.0
    min_coverage: float = 0.98
    allow_partial: bool = True
    dryrun_publishes: bool = True
    starts: Mapping[str, int] = field(default_factory=dict)
    exchanges: frozenset[str] = frozenset()
