"""Receivers that answer oddly: a message is taken or not, and no secret of its address is told."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.adapters.http.webhook import HttpWebhook
from seamless_assets.core.worlds.webhook import WebhookMessage
from seamless_assets.errors import WebhookUndelivered

MESSAGE = WebhookMessage("w1", 1, "msg_a_1", '{"x":1}')
ANSWERS = {
    b"hello\r\n\r\n": None,
    b"": None,
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n": None,
    b"HTTP/1.1 503 x\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n": None,
    b"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n": None,
    b"HTTP/1.1 429 x\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n": 7.0,
    b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n": None,
}
TAKEN = [b"HTTP/1.1 204 x\r\n\r\n", b"HTTP/1.1 200 x\r\nContent-Length: 99999999\r\n\r\naaaa"]


async def sent(answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        webhook = HttpWebhook(f"http://me:hunter2@127.0.0.1:{port}/hooks/secret-path", b"k" * 32)
        try:
            await webhook.send(MESSAGE, 1)
        finally:
            await webhook.close()


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_no_2xx_is_not_taken_and_tells_no_secret(answer: bytes) -> None:
    with pytest.raises(WebhookUndelivered) as refused:
        await sent(answer)
    assert refused.value.retry_after == ANSWERS[answer]
    shown = f"{refused.value} {refused.value.__cause__}"
    assert "hunter2" not in shown and "secret-path" not in shown and "127.0.0.1" in shown


@pytest.mark.parametrize("answer", TAKEN)
async def test_a_2xx_is_enough_whatever_follows(answer: bytes) -> None:
    await sent(answer)
