"""Delivering what a world service is to be told: in order for each world, again until it is taken.

Any process of the machine may send what any other left behind. A sender that dies or hangs in the middle
loses its claim after a while, and the next one sends the same message again under the same id.
"""

from __future__ import annotations

import asyncio
from random import Random

from seamless_assets.aio.gather import gather
from seamless_assets.core.sharing.events import WebhookEvent
from seamless_assets.core.worlds.webhook import WebhookMessage, pause_s
from seamless_assets.errors import SessionStoreError, WebhookUndelivered
from seamless_assets.flows.ports import Clock, Observer, Outbox, WebhookSender

POLL_S = 5.0
"""How often a process looks for what others left behind."""
SENDERS = 4
"""Worlds that one process serves at once."""


class WebhookDispatcher:
    """Sends the messages of an outbox as `holder`, which names this process."""

    def __init__(
        self,
        outbox: Outbox,
        sender: WebhookSender,
        clock: Clock,
        rng: Random,
        observer: Observer,
        holder: str,
    ) -> None:
        self._outbox, self._sender = outbox, sender
        self._clock, self._rng, self._observer = clock, rng, observer
        self._holder = holder
        self._woken = asyncio.Event()
        self._delivering = asyncio.Lock()
        self._is_ending = False

    def wake(self) -> None:
        """There is something new to send."""
        self._woken.set()

    def stop(self) -> None:
        """Let `run` end once it has sent what is under way and what is due."""
        self._is_ending = True
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, now and whenever something comes or its time does, until `stop`."""
        is_last = False
        while not is_last:
            is_last = self._is_ending
            self._woken.clear()
            try:
                await self.deliver_due()
            except SessionStoreError as error:
                self._observer.notify(WebhookEvent(False, "", "", 0, str(error)))
            if not is_last:
                await self._pause()

    async def deliver_due(self) -> int:
        """Send what is due, each world's messages in order; how many were taken. Raises `SessionStoreError`.

        May be called by many processes, and beside `run`.
        """
        lanes = [f"{self._holder}/{lane}" for lane in range(SENDERS)]
        # A lane goes on with what it holds already, so no two may use it at once.
        async with self._delivering:
            return sum(await gather(self._deliver(lane) for lane in lanes))

    async def count_pending(self) -> int:
        """How many messages wait. Raises `SessionStoreError`."""
        return await self._outbox.count_pending()

    async def _deliver(self, holder: str) -> int:
        taken = 0
        while message := await self._outbox.claim(holder, self._clock.now()):
            taken += await self._send(message, holder)
        return taken

    async def _send(self, message: WebhookMessage, holder: str) -> bool:
        try:
            await self._sender.send(message, int(self._clock.now()))
        except WebhookUndelivered as error:
            attempts = message.attempts + 1
            pause = pause_s(attempts, error.retry_after, self._rng.random())
            waiting = await self._outbox.failed(message, holder, self._clock.now() + pause)
            self._report(message, attempts, str(error), waiting)
            return False
        waiting = await self._outbox.delivered(message, holder)
        self._report(message, message.attempts, "", waiting)
        return True

    def _report(self, message: WebhookMessage, attempts: int, reason: str, waiting: int) -> None:
        self._observer.notify(
            WebhookEvent(not reason, message.world_id, message.message_id, attempts, reason, waiting)
        )

    async def _pause(self) -> None:
        waits = [asyncio.ensure_future(self._clock.sleep(POLL_S)), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
