"""All adapters that the settings name, opened together and closed together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from random import Random

from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings
from seamless_assets.flows.ports import Clock, Ports, Tracer
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.flows.worlds.decisions import Decisions
from seamless_assets.pipeline.wiring.coordination import Coordination
from seamless_assets.pipeline.wiring.exchanges import Exchanges, archives
from seamless_assets.pipeline.wiring.policy import frames_of, policy_of, read_settings
from seamless_assets.pipeline.wiring.stores import S3Access, artifact_store, hot_store, mirror_of
from seamless_assets.pipeline.wiring.webhooks import Webhooks


class Adapters:
    """What the flows touch, as `ports`. Nothing is asked of an exchange, store or server yet."""

    def __init__(self, settings: Settings, s3: S3Access | None) -> None:
        self._closing = AsyncExitStack()
        # What may be refused comes before what has to be closed.
        self._artifacts = artifact_store(settings, s3)
        self._mirror = mirror_of(settings, self._artifacts)
        clock = SystemClock()
        self._coordination = coordination = Coordination(settings, clock)
        self._hot = hot_store(settings, coordination.observer)
        self._exchanges = Exchanges(settings, coordination.gate)
        self._archives = archives(settings, clock.now, coordination.observer.notify)
        self._fills = BackgroundFills()
        self._webhooks = Webhooks(settings, clock, coordination)
        self.shared = coordination.shared
        self.ports = Ports(
            clock=clock,
            source=self._exchanges.source,
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
            fill_queue=coordination.fill_queue,
            sessions=self._webhooks.sessions,
            frames=frames_of(settings),
            decisions=self._decisions(settings, clock),
            webhooks=self._webhooks.dispatcher,
            tracer=_tracer(settings),
            archive=self._archives,
            mirror=self._mirror,
            feeds=self._exchanges.feeds,
        )

    def start(self) -> None:
        """Begin, on the running loop, what goes on beside the calls."""
        self._coordination.start()
        self._webhooks.start()

    def _decisions(self, settings: Settings, clock: Clock) -> Decisions | None:
        url = settings.environment.world_service_url
        if url is None:
            return None
        with late_imports("aiohttp"):
            from seamless_assets.adapters.http.worlds import HttpWorldService

        service = HttpWorldService(str(url))
        self._closing.push_async_callback(service.close)
        return Decisions(service, clock)

    async def close(self) -> None:
        """End what goes on in the background, then close files and connections."""
        await self._fills.close()
        await self._webhooks.close()
        await self._closing.aclose()
        await self._exchanges.close()
        if self._archives is not None:
            await self._archives.close()
        await self._coordination.close()
        await self._hot.close()
        if self._mirror is not None:
            await self._mirror.close()
        await self._artifacts.close()


def _tracer(settings: Settings) -> Tracer | None:
    """Who makes spans, where the settings want them. Raises `MissingPackage`."""
    if not settings.seamless.observability.tracing:
        return None
    with late_imports("opentelemetry"):
        from seamless_assets.adapters.otel.tracer import OtelTracer

    return OtelTracer()
