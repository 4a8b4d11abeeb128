"""The place where adapters meet flows, and the face that people call.

`connect()` opens everything that the settings name; `aio` of what it returns is the async twin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random
from types import AsyncGeneratorType
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.lazy import Lazy
from seamless_assets.config.load import S3Settings, Settings, load_settings
from seamless_assets.core.calendar.partition import UNITS
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.reading import ReadResult
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import UNBOUNDED, SLAPolicy
from seamless_assets.core.sharing.health import Finding
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ConfigError
from seamless_assets.flows.diagnose import diagnose
from seamless_assets.flows.filling import history
from seamless_assets.flows.ports import CandleSource, HotStore, Ports
from seamless_assets.flows.reading import read as reading
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.releasing import materialize as materializing
from seamless_assets.flows.releasing.materialize import MaterializeReport, PartitionReport
from seamless_assets.flows.releasing.publish import Sealed
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.pipeline.coordination import Coordination
from seamless_assets.pipeline.face import Instant, window_of
from seamless_assets.pipeline.filling import AsyncFilling, Filling
from seamless_assets.pipeline.governing import AsyncGovernance, Governance

T = TypeVar("T")
PACKAGE = "seamless-assets"


def connect(settings: str | Path | Settings | None = None, *, s3: S3Access | None = None) -> Seamless:
    """Open the pipeline of a `seamless.yaml` (or of settings already read).

    `s3` goes before what the settings say of the bucket. Nothing is asked of an exchange or store yet.
    Raises `ConfigError` with every problem of the file.
    """
    read = settings if isinstance(settings, Settings) else load_settings(settings)
    return Seamless(read, s3)


class AsyncSeamless(AsyncFilling, AsyncGovernance):
    """The async face: every method of `Seamless`, awaited. Reached as `Seamless.aio`."""

    def __init__(self, settings: Settings, s3: S3Access | None = None) -> None:
        super().__init__(settings, lambda: _Opened(settings, s3))

    async def read(
        self,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        context: ComputeContext | None = None,
        strategy: str | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
        columns: Sequence[str] | str | None = None,
        limit: int | None = None,
        fill: str | None = None,
    ) -> ReadResult:
        """See `Seamless.read`."""
        is_past = context is None or context.domain == "backtest"
        settings = read_settings(self.settings)
        request = ReadRequest.parse(
            node,
            start,
            end,
            context=context,
            strategy=strategy,
            sla=sla,
            columns=columns,
            limit=limit,
            fill=fill,
            default_sla=settings.past_sla if is_past else settings.sla,
            presets=settings.presets,
        )
        return await self._do(lambda ports: reading.read(ports, request))

    async def materialize(self, node: str | NodeId, start: Instant, end: Instant) -> MaterializeReport:
        """See `Seamless.materialize`."""
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: materializing.materialize(ports, known, window))

    async def materialize_each(
        self, node: str | NodeId, start: Instant, end: Instant
    ) -> AsyncIterator[PartitionReport]:
        """Materialize partition by partition, handing over each report as soon as it is done."""
        known, window = self._declared(node), window_of(start, end)
        reports = self.worker.adopted(lambda ports: materializing.materialize_each(ports, known, window))
        while (report := await self._do(lambda _: _next(reports))) is not None:
            yield report

    async def publish(self, node: str | NodeId, start: Instant, end: Instant) -> list[Sealed]:
        """See `Seamless.publish`."""
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: materializing.publish(ports, known, window))

    async def diagnose(self) -> list[Finding]:
        """See `Seamless.diagnose`."""
        shared = self.worker.opened.shared
        return await self._do(lambda ports: diagnose(ports, tuple(self.settings.exchanges), shared))

    async def evict(self) -> int:
        """See `Seamless.evict`."""
        return await self._do(lambda ports: history.evict(ports, self._nodes()))


class Seamless(Filling, Governance):
    """An open pipeline. Use it as a context manager, or call `close()`.

    Times are epoch seconds, ISO 8601 texts or aware datetimes; windows are half-open and hold the whole
    bars inside. A node is its id (`ohlcv:binance:BTC/USDT:1m`) or a `NodeId`.
    """

    aio: AsyncSeamless

    def __init__(self, settings: Settings, s3: S3Access | None = None) -> None:
        self.aio = AsyncSeamless(settings, s3)

    def read(
        self,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        context: ComputeContext | None = None,
        strategy: str | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
        columns: Sequence[str] | str | None = None,
        limit: int | None = None,
        fill: str | None = None,
    ) -> ReadResult:
        """Bars of `[start, end)` with a verdict, as the context's domain and the strategy allow.

        Without a context the newest release is bound and nothing is asked of an exchange;
        `metadata.as_of` says which release it was, and passing it back gives the same bars for ever.
        An open `end` is up to now, or the end of what is released; `limit` keeps the last so many bars.
        `sla` is an `SLAPolicy`, a mapping of its fields or the name of a preset; `fill="previous_close"`
        makes a row of each bar that is not there and marks it in the column `filled`. Raises
        `NothingReleased`, `CoverageMissing`, `AsOfRequired`, `AsOfInFuture`, `SeamlessSLAExceeded`,
        `InvalidInput`.
        """
        return self._run(self.aio.read(node, start, end, context, strategy, sla, columns, limit, fill))

    def materialize(self, node: str | NodeId, start: Instant, end: Instant) -> MaterializeReport:
        """Fetch anew, conform, seal and release every partition that the window touches.

        A corrected bar becomes a revision and a new release; the same content changes nothing.
        Raises `ExchangeRefused`, `StoreError`, `InvalidInput`; what an exchange withholds is in `problems`.
        """
        return self._run(self.aio.materialize(node, start, end))

    def materialize_each(self, node: str | NodeId, start: Instant, end: Instant) -> Iterator[PartitionReport]:
        """The same, handing over each partition's report as soon as it is done."""
        reports = self.aio.materialize_each(node, start, end)
        while (report := self._run(_next(reports))) is not None:
            yield report

    def publish(self, node: str | NodeId, start: Instant, end: Instant) -> list[Sealed]:
        """Seal what is settled of the window's partitions as artifacts; nothing is released."""
        return self._run(self.aio.publish(node, start, end))

    def diagnose(self) -> list[Finding]:
        """Whether each store, server and exchange answers, its version and lag, and what to do if not."""
        return self._run(self.aio.diagnose())

    def evict(self) -> int:
        """Drop hot bars that artifacts hold and that are older than `hot_store.keep_days`; the bars dropped.

        What no released artifact holds always stays. Raises `StoreError`.
        """
        return self._run(self.aio.evict())


class _Opened:
    """The adapters that the settings name, wired together."""

    def __init__(self, settings: Settings, s3: S3Access | None) -> None:
        uri = settings.seamless.artifact.object_store_uri
        if uri is None:
            raise ConfigError(
                "no artifact store is set; name a folder or s3://bucket/prefix in "
                "seamless.artifact.object_store_uri",
                problems=(),
            )
        # What may be refused comes before what has to be closed.
        self._artifacts = _artifact_store(settings, uri, s3)
        self._hot = _hot_store(settings)
        clock = SystemClock()
        self._coordination = coordination = Coordination(settings, clock)
        self.shared = coordination.shared
        self._fills = BackgroundFills()
        # ccxt takes longer to import than a year of released bars to read, and readers never need it.
        self._source = Lazy(lambda: _ccxt_source(settings, coordination))
        self.ports = Ports(
            clock=clock,
            source=cast(CandleSource, self._source),
            hot=self._hot,
            artifacts=self._artifacts,
            policy=policy_of(settings),
            rng=Random(),
            leases=coordination.leases,
            observer=coordination.observer,
            flights=coordination.flights,
            worker=coordination.worker,
            quota=LeaseQuota(),
            reading=read_settings(settings),
            fills=self._fills,
        )

    async def close(self) -> None:
        await self._fills.close()
        await self._source.close()
        await self._coordination.close()
        await self._hot.close()
        await self._artifacts.close()


def _ccxt_source(settings: Settings, coordination: Coordination) -> CandleSource:
    from seamless_assets.adapters.ccxt.source import CcxtSource

    return CcxtSource(
        {name: _client_settings(settings, name) for name in settings.exchanges},
        coordination.gate,
        ExchangeMemory(settings.seamless.state_dir / "exchanges.sqlite"),
    )


def _artifact_store(settings: Settings, uri: str, s3: S3Access | None) -> ArtifactStore:
    told = settings.seamless.artifact
    most = settings.cache.max_segment_mb * 1_000_000
    copies = CopyFolder(settings.seamless.state_dir / "segments", most) if most else None
    options = client_options(s3 or _s3_access(told.s3)) if uri.startswith("s3://") else {}
    return ArtifactStore(uri, told.partition_template, copies, **options)


def _s3_access(told: S3Settings) -> S3Access:
    secret, token = told.secret_access_key, told.session_token
    return S3Access(
        region=told.region,
        endpoint_url=told.endpoint_url,
        access_key_id=told.access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
        session_token=token.get_secret_value() if token else None,
        profile=told.profile,
    )


def _hot_store(settings: Settings) -> HotStore:
    told = settings.seamless.hot_store
    if told.path is not None:
        return SqliteHotStore(told.path)
    # psycopg and the QuestDB client are needed by those who have a server.
    from seamless_assets.adapters.questdb.address import QuestDbAddress
    from seamless_assets.adapters.questdb.store import QuestDbHotStore

    place = urlsplit(told.dsn)
    return QuestDbHotStore(
        QuestDbAddress(
            host=place.hostname or "127.0.0.1",
            http_port=place.port or 9000,
            pg_port=told.pg_port,
            tls=told.tls,
            tls_ca=told.tls_ca,
            tls_verify=told.tls_verify,
            user=unquote(place.username) if place.username else None,
            password=unquote(place.password) if place.password else None,
            token=told.token.get_secret_value() if told.token else None,
            pg_user=told.pg_user,
            pg_password=told.pg_password.get_secret_value(),
            timeout_s=told.timeout_ms / 1000,
            retry_s=told.retry_ms / 1000,
        )
    )


def policy_of(settings: Settings) -> Policy:
    """What the settings decide for the flows."""
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
        keep_days={unit: getattr(seamless.hot_store.keep_days, unit) for unit in UNITS},
    )


def read_settings(settings: Settings) -> ReadSettings:
    """What the settings decide for reads."""
    told, live = settings.seamless.sla, settings.domains.live
    sla = SLAPolicy(**told.model_dump())
    return ReadSettings(
        strategy=settings.seamless.strategy,
        sla=sla,
        past_sla=sla if "sla" in settings.seamless.model_fields_set else UNBOUNDED,
        max_lag=live.max_lag_sec,
        min_coverage=_or(live.min_coverage, settings.seamless.observability.coverage_ratio_threshold),
        allow_partial=live.allow_partial,
        starts={str(item.node): item.start for item in settings.nodes},
    )


def _or(told: float | None, otherwise: float) -> float:
    return otherwise if told is None else told


def _client_settings(settings: Settings, exchange: str) -> ClientSettings:
    declared = settings.exchanges[exchange]
    # A local exchange or a proxy has limits of its own, so it has a budget of its own.
    place = f"@{declared.base_url}" if declared.base_url else ""
    return ClientSettings(
        budget_key=f"rl:{settings.budget_key(exchange)}{place}",
        budget=settings.budget(exchange),
        concurrency=settings.seamless.rate_limit.local_semaphore,
        base_url=str(declared.base_url) if declared.base_url else None,
        sandbox=declared.sandbox,
        options=declared.client_options,
        symbols=declared.symbols,
    )


async def _next(reports: AsyncIterator[T]) -> T | None:
    if isinstance(reports, AsyncGeneratorType) and reports.ag_frame is None:
        raise asyncio.CancelledError("the pipeline was closed before all partitions were reported")
    return await anext(reports, None)
