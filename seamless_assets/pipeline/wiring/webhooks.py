"""Sessions, and the webhook that tells an outside service of them where the settings name one."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings
from seamless_assets.core.worlds.webhook import signing_key
from seamless_assets.flows.ports import Clock
from seamless_assets.flows.worlds.webhooks import WebhookDispatcher
from seamless_assets.pipeline.wiring.coordination import Coordination
from seamless_assets.pipeline.wiring.log import log_failure

if TYPE_CHECKING:
    from seamless_assets.adapters.http.webhook import HttpWebhook

LAST_ATTEMPT_S = 2.0
"""How long a pipeline that is closed may still send."""


class Webhooks:
    """The sessions of this machine, and the `dispatcher` of their messages; None without an address."""

    def __init__(self, settings: Settings, clock: Clock, coordination: Coordination) -> None:
        file = settings.seamless.state_dir / "sessions.sqlite"
        self._dispatching: asyncio.Task[None] | None = None
        self.dispatcher: WebhookDispatcher | None = None
        self._sender: HttpWebhook | None = None
        url, secret = settings.environment.world_webhook_url, settings.environment.world_webhook_secret
        if url is None or secret is None:
            self.sessions = MachineSessions(file, notify=coordination.observer.notify)
            return
        with late_imports("aiohttp"):
            from seamless_assets.adapters.http.webhook import HttpWebhook

        self.sessions = MachineSessions(file, self._wake, coordination.observer.notify)
        self._sender = HttpWebhook(str(url), signing_key(secret.get_secret_value()))
        self.dispatcher = WebhookDispatcher(
            self.sessions.outbox, self._sender, clock, Random(), coordination.observer, coordination.worker
        )

    def start(self) -> None:
        """Send, on the running loop, what waits and what comes."""
        if self.dispatcher is not None:
            self._dispatching = asyncio.create_task(self.dispatcher.run())
            self._dispatching.add_done_callback(log_failure("the delivery of webhooks"))

    async def close(self) -> None:
        """Send what is due, for a moment; what is left, others send. Then close file and connections."""
        if self._dispatching is not None and self.dispatcher is not None:
            self.dispatcher.stop()
            await asyncio.wait({self._dispatching}, timeout=LAST_ATTEMPT_S)
            self._dispatching.cancel()
            await asyncio.wait({self._dispatching})
        if self._sender is not None:
            await self._sender.close()
        await self.sessions.close()

    def _wake(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.wake()
