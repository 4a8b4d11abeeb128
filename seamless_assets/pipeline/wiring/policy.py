"""What the settings decide for the flows."""

from __future__ import annotations

from importlib.metadata import version
from time import monotonic

from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.partition import UNITS
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import PRESETS, UNBOUNDED, SLAPolicy
from seamless_assets.core.sharing.aliases import Alias
from seamless_assets.core.sharing.policy import Policy

PACKAGE = "seamless-assets"


def policy_of(settings: Settings) -> Policy:
    """The settings in the words of the flows."""
    seamless = settings.seamless
    return Policy(
        stabilization_bars=seamless.artifact.stabilization_bars,
        max_attempts=seamless.backfill.max_attempts,
        retry_backoff_ms=seamless.backfill.retry_backoff_ms,
        jitter_ratio=seamless.backfill.jitter_ratio,
        window_bars=seamless.backfill.window_bars,
        lease_ttl_ms=seamless.backfill.distributed_lease_ttl_ms,
        single_flight_ttl_ms=seamless.backfill.single_flight_ttl_ms,
        coverage_ratio_threshold=seamless.observability.coverage_ratio_threshold,
        conformance_version=seamless.conformance.version,
        severities={**seamless.conformance.severities},
        compression=seamless.artifact.compression,
        early_fingerprint=seamless.artifact.early_fingerprint,
        partition_units=dict(seamless.partitions),
        producer={"name": PACKAGE, "version": version(PACKAGE)},
        drops_flat_bars=frozenset(
            name for name, exchange in settings.exchanges.items() if exchange.flat_bars == "drop"
        ),
        aliases={
            (name, symbol): tuple(Alias(one.symbol, one.to, one.factor) for one in aliases)
            for name, exchange in settings.exchanges.items()
            for symbol, aliases in exchange.aliases.items()
        },
        derived=frozenset(settings.recipes),
        repaired_by_trades=settings.repaired_by_trades,
        made_of_trades=settings.made_of_trades,
        feeds={name: exchange.live for name, exchange in settings.exchanges.items()},
        told_when_proven=frozenset(
            name for name, exchange in settings.exchanges.items() if exchange.live_delivery == "proven"
        ),
        keep_days={unit: getattr(seamless.hot_store.keep_days, unit) for unit in UNITS},
    )


def read_settings(settings: Settings) -> ReadSettings:
    """What the settings decide for reads."""
    sla, live = SLAPolicy(**settings.seamless.sla.model_dump()), settings.domains.live
    own = {
        name: SLAPolicy.from_mapping(preset.model_dump(exclude_unset=True), sla)
        for name, preset in settings.seamless.sla_presets.items()
    }
    return ReadSettings(
        strategy=settings.seamless.strategy,
        sla=sla,
        presets={**PRESETS, **own},
        past_sla=sla if "sla" in settings.seamless.model_fields_set else UNBOUNDED,
        max_lag=live.max_lag_sec,
        min_coverage=_or(live.min_coverage, settings.seamless.observability.coverage_ratio_threshold),
        allow_partial=live.allow_partial,
        dryrun_publishes=settings.domains.dryrun.source == "artifact_prefers",
        waits_for_fills=settings.seamless.backfill.mode == "sync",
        starts={str(node): start for node, start in settings.starts.items()},
        exchanges=frozenset(settings.exchanges),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def frames_of(settings: Settings) -> ReadCache:
    """The cache of reads, as large and as long-lived as the settings say."""
    cache = settings.cache
    max_bytes = cache.max_memory_mb * 1_000_000
    return ReadCache(monotonic, cache.ttl_ms / 1000, cache.max_shards, cache.key_template, max_bytes)
