"""A real HTTP receiver of webhooks, which checks what it gets as our page tells receivers to."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes or so.").decode()


@dataclass
class Receiver:
    """Answers `statuses` one after the other, then 204; `messages` are those it took, `seen` all it got."""

    statuses: list[int] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    took_one: threading.Event = field(default_factory=threading.Event)

    async def take(self, request: web.Request) -> web.Response:
        """Check one message and keep it."""
        body = await request.read()
        if not is_genuine(request.headers, body, SECRET):
            self.forged += 1
            return web.Response(status=401)
        message = json.loads(body)
        self.seen.append(message)
        status = self.statuses.pop(0) if self.statuses else 204
        if 200 <= status < 300:
            self.messages.append(message)
            self.took_one.set()
        return web.Response(status=status, headers=self.headers)


def _check_of_the_page() -> Callable[[Any, bytes, str], bool]:
    page = (Path(__file__).resolve().parents[2] / "docs" / "worlds.md").read_text()
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "is_genuine" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    check: Callable[[Any, bytes, str], bool] = names["is_genuine"]
    return check


is_genuine = _check_of_the_page()


@contextmanager
def serving(receiver: Receiver) -> Iterator[Receiver]:
    """Serve it on a free port of this machine, in a thread of its own."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/hooks/secret-path", receiver.take)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/secret-path"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
