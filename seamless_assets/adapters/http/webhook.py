"""Webhooks over HTTP: signed messages to one address, in the form of Standard Webhooks."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp

from seamless_assets.core.worlds.webhook import WebhookMessage, signed_headers
from seamless_assets.errors import WebhookUndelivered, masked

TIMEOUT_S = 10.0
LONGEST_RETRY_AFTER_DIGITS = 9


class HttpWebhook:
    """A `WebhookSender` to a URL. A message is taken where the answer is 2xx; redirects are not followed."""

    def __init__(self, url: str, key: bytes) -> None:
        self._url, self._key = url, key
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: WebhookMessage, sent_at: int) -> None:
        """Return once the receiver has taken it. Raises `WebhookUndelivered`."""
        body = message.body.encode()
        headers = {
            "Content-Type": "application/json",
            **signed_headers(message.message_id, sent_at, body, self._key),
        }
        try:
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    asked = _seconds(answer.headers.get("Retry-After", ""))
                    raise self._undelivered(f"it answers {answer.status}", asked)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The path of such an address is often a secret by itself, and aiohttp's errors tell it.
            why = masked(str(error) or type(error).__name__, (urlsplit(self._url).path,))
            raise self._undelivered(why) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _undelivered(self, why: str, retry_after: float | None = None) -> WebhookUndelivered:
        host = urlsplit(self._url).netloc.rpartition("@")[2]
        return WebhookUndelivered(
            f"the webhook at {host} did not take a message: {why}; it is sent again",
            retry_after=retry_after,
        )


def _seconds(text: str) -> float | None:
    """Seconds of a `Retry-After`; a date, which few send, is passed over."""
    is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_RETRY_AFTER_DIGITS
    return float(text) if is_number else None
