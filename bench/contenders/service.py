"""A server in a process of its own: `python -m bench.contenders.service KIND PORT FOLDER DAYS`.

KIND is `ours`, `newest` for a live world over a local exchange, or `bare` for FastAPI and uvicorn alone,
which serve the bytes that lie in FOLDER.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

DAY = 86_400
NODE = "ohlcv:binance:BTC/USDT:1m"
FLEET = [f"ohlcv:binance:C{number}/USDT:5m" for number in range(50)]


def serve_ours(port: int, folder: Path, days: int) -> None:
    """Serve so many days of minutes, released month by month, and a day of a fleet of nodes."""
    from seamless_assets.adapters.machine.leases import MachineLeases
    from seamless_assets.config.sections import ServiceSettings
    from seamless_assets.service.app import service_app
    from seamless_assets.service.serving import serve
    from seamless_assets.testing import START, InMemoryExchange, connect_in_memory, random_walk

    fleet = {
        node: random_walk(START, START + 2 * DAY, step=300, seed=seed) for seed, node in enumerate(FLEET)
    }
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + days * DAY), **fleet})

    async def scrape() -> str:
        return ""

    with connect_in_memory(exchange, {"partitions": {"1m": "month"}}) as pipeline:
        pipeline.materialize(NODE, START, START + days * DAY)
        for node in FLEET if days > 1 else ():
            pipeline.materialize(node, START, START + DAY)
        settings = ServiceSettings(dialects=True)
        app = service_app(pipeline, MachineLeases(folder / "leases.sqlite"), scrape, settings)
        serve(app, "127.0.0.1", port)


def serve_newest(port: int, folder: Path, days: int) -> None:
    """Serve the newest minutes of so many days, as a local exchange closes them in real time."""
    import seamless_assets as sa
    from seamless_assets.adapters.machine.leases import MachineLeases
    from seamless_assets.config.load import settings_from_mapping
    from seamless_assets.sandbox.server import Sandbox
    from seamless_assets.service.app import service_app
    from seamless_assets.service.serving import serve

    async def scrape() -> str:
        return ""

    exchange = Sandbox()
    with exchange.running():
        stores = {
            "artifact": {"object_store_uri": str(folder / "artifacts")},
            "hot_store": {"dsn": f"sqlite:///{folder}/hot.sqlite"},
            "state_dir": str(folder / "state"),
        }
        start = time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * DAY))
        venue = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1m"], "start": start}
        declared = {"seamless": stores, "exchanges": {"binance": venue}, "service": {"dialects": True}}
        with sa.connect(settings_from_mapping(declared, environ={})) as pipeline:
            serve(service_app(pipeline, MachineLeases(folder / "leases.sqlite"), scrape), "127.0.0.1", port)


def serve_bare(port: int, folder: Path) -> None:
    """Serve bytes that are there already, as FastAPI and uvicorn do it by themselves."""
    import uvicorn
    from fastapi import FastAPI
    from starlette.responses import FileResponse, Response

    app, day = FastAPI(), (folder / "day").read_bytes()
    arrow = "application/vnd.apache.arrow.stream"

    @app.get("/day")
    async def one_day() -> Response:
        return Response(day, media_type=arrow)

    @app.get("/year")
    async def one_year() -> FileResponse:
        return FileResponse(folder / "year", media_type=arrow)

    @app.get("/candles")
    async def candles() -> FileResponse:
        return FileResponse(folder / "candles", media_type="application/json")

    @app.get("/newest")
    async def newest() -> FileResponse:
        return FileResponse(folder / "newest", media_type="application/json")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {}

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    kind, port, folder, days = sys.argv[1:]
    if kind == "ours":
        serve_ours(int(port), Path(folder), int(days))
    elif kind == "newest":
        serve_newest(int(port), Path(folder), int(days))
    else:
        serve_bare(int(port), Path(folder))
