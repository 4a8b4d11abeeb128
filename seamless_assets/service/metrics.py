"""`GET /metrics`: what the processes of this machine have counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from seamless_assets.errors import MetricsUnavailable
from seamless_assets.metrics.exposition import CONTENT_TYPE

UNAVAILABLE = 503


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
