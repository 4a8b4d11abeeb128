"""An application served over a real socket, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from support.services import free_port

from seamless_assets.service.serving import IDLE_S, MESSAGE_BYTES, WEBSOCKETS, ImpatientProtocol


class _Announced(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The URL of an application that answers."""
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="critical",
        http=ImpatientProtocol,
        ws=WEBSOCKETS,
        ws_max_size=MESSAGE_BYTES,
        # As where it is served: clients that are kept from asking find their connections.
        timeout_keep_alive=IDLE_S,
        lifespan="off",
    )
    server = _Announced(config)
    running = threading.Thread(target=server.run)
    running.start()
    assert server.listens.wait(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        running.join()
