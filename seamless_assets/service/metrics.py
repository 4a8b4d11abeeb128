"""`GET /metrics`: what the processes of this machine have counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from seamless_assets.errors import MetricsUnavailable
from seamless_assets.flows.ports import LeaseRegister, Ports
from seamless_assets.metrics.exposition import CONTENT_TYPE
from seamless_assets.metrics.levels import Levels
from seamless_assets.metrics.recording import Sample
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.access import Occupancy

UNAVAILABLE = 503


def add_levels(held: Levels, pipeline: Seamless, leases: LeaseRegister, occupancy: Occupancy) -> None:
    """Let a scrape hear what a service and its pipeline hold at that moment."""

    async def open_now() -> list[Sample]:
        return list(_open(occupancy))

    async def granted() -> list[Sample]:
        return [Sample("seamless_leases_held", (), len(await leases.held()))]

    for source in (open_now, granted):
        held.add(source)
    for ask in (_sessions, _fills, _webhooks, _cached):
        held.add(partial(pipeline.aio.portal.do, ask))


def _open(occupancy: Occupancy) -> Iterator[Sample]:
    """Of everybody who asked since the start, so that nobody's last number stands for ever."""
    for client in sorted({*occupancy.requests, *occupancy.streams}):
        yield Sample("seamless_requests_open", (client,), occupancy.requests[client])
        yield Sample("seamless_streams_open", (client,), occupancy.streams[client])


async def _sessions(ports: Ports) -> list[Sample]:
    return [Sample("seamless_sessions_remembered", (), await ports.sessions.count())]


async def _fills(ports: Ports) -> list[Sample]:
    return [Sample("seamless_fills_wanted", (), await ports.fill_queue.count())]


async def _webhooks(ports: Ports) -> list[Sample]:
    count = 0 if ports.webhooks is None else await ports.webhooks.count_pending()
    return [Sample("seamless_webhook_messages_waiting", (), count)]


async def _cached(ports: Ports) -> list[Sample]:
    return [
        Sample("seamless_cache_frames", (), len(ports.frames)),
        Sample("seamless_cache_bytes", (), ports.frames.held_bytes),
    ]


def metrics_app(scrape: Callable[[], Awaitable[str]]) -> FastAPI:
    """The application; `scrape` gives the text anew at each request."""
    app = FastAPI(title="seamless-assets metrics", docs_url=None, redoc_url=None)

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        try:
            return PlainTextResponse(await scrape(), media_type=CONTENT_TYPE)
        except MetricsUnavailable as error:
            return JSONResponse({"error": str(error)}, UNAVAILABLE)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
