"""A coordinator that is sent too much, too slowly, or what was never meant for it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from support.served import served as served_in_thread
from support.services import Coordinator, free_port

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.service import serving
from seamless_assets.service.coordinator import coordinator_app
from seamless_assets.service.limits import BODY_BYTES, BodyLimits
from seamless_assets.service.serving import ImpatientProtocol
from seamless_assets.testing import RecordingObserver

CLAIM = b'{"key": "k", "lease_ms": 1000}'
HEAD = b"POST /v1/leases/claim HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def ask(port: int, *parts: bytes) -> bytes:
    """Everything that comes back for what is sent part by part, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_no_lease_needs_is_not_taken_in(
    lease_coordinator: Coordinator, is_chunked: bool
) -> None:
    much = b"z" * (BODY_BYTES + 1)
    if is_chunked:
        sent = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(much), much)
    else:
        sent = HEAD + b"Content-Length: 200000000\r\n\r\n"
    answer = await ask(lease_coordinator.port, sent)
    assert status_of(answer) == 413 and b"connection: close" in answer.lower()
    assert "more than" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("length", [b"-5", b"five", b"1" * 5_000])
async def test_a_length_that_is_none_is_refused(lease_coordinator: Coordinator, length: bytes) -> None:
    answer = await ask(lease_coordinator.port, HEAD + b"Content-Length: " + length + b"\r\n\r\n")
    assert status_of(answer) in (400, 413)


async def test_a_long_reason_is_cut_and_gives_the_lease_back(lease_coordinator: Coordinator) -> None:
    key = "a long reason"
    answer = json.loads((await claim(lease_coordinator.port, key)).partition(b"\r\n\r\n")[2])
    body = json.dumps({"key": key, "token": answer["lease"]["token"], "reason": "why " * 12_000}).encode()
    assert status_of(await post(lease_coordinator.port, "fail", body)) == 200
    assert status_of(await claim(lease_coordinator.port, key)) == 200
    (line,) = [line for line in lease_coordinator.log.splitlines() if "lease_fail" in line and key in line]
    assert json.loads(line)["reason"].endswith("(cut from 48,000 characters)")


async def claim(port: int, key: str) -> bytes:
    return await post(port, "claim", json.dumps({"key": key, "lease_ms": 60_000}).encode())


async def post(port: int, action: str, body: bytes) -> bytes:
    head = HEAD.replace(b"claim", action.encode())
    return await ask(port, head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class AnnouncedServer(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[int]:
    """A coordinator in this process, so that its limits can be set; its port."""
    app = coordinator_app(MachineLeases(folder / "leases.sqlite"), RecordingObserver())
    port = free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="critical", http=ImpatientProtocol, timeout_keep_alive=1
    )
    server = AnnouncedServer(config)
    running = asyncio.create_task(server.serve())
    await server.listens.wait()
    try:
        yield port
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize("begun", [b"", b"POST /v1/leases/cl", HEAD])
async def test_a_request_that_is_begun_and_not_ended_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(serving, "HEAD_S", 0.2)
    async with served(tmp_path) as port, asyncio.timeout(20):
        assert await ask(port, begun) == b""
        whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(CLAIM) + CLAIM
        # Neither a byte now and then nor a request before keeps it open.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole)
        assert status_of(await reader.readuntil(b"}")) == 200
        with pytest.raises(ConnectionError):
            await trickle(writer)
        writer.close()
        assert status_of(await ask(port, whole.replace(b"Host", b"Connection: close\r\nHost"))) == 409


async def test_a_head_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async with served(tmp_path) as port, asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(ConnectionError):
            await pour(writer)
        writer.close()


@pytest.mark.parametrize("part", ["target", "name", "value", "many"])
async def test_a_head_that_is_too_long_is_refused_when_it_comes_at_once(tmp_path: Path, part: str) -> None:
    async def answered(size: int) -> int:
        long = b"m" * size
        target = b"/healthz?" + (long if part == "target" else b"")
        header = {"name": b"n" + long + b": 1\r\n", "value": b"X: " + long + b"\r\n"}.get(part, b"")
        if part == "many":
            header = b"X-M: 12345678901\r\n" * (size // 14)
        head = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n"
        return status_of(await ask(port, head))

    async with served(tmp_path) as port, asyncio.timeout(20):
        assert await answered(serving.HEAD_BYTES - 1_000) == 200
        assert await answered(serving.HEAD_BYTES + 1) == 400
        assert await answered(0) == 200


async def pour(writer: asyncio.StreamWriter) -> None:
    """Send headers, for ever."""
    while True:
        writer.write(b"X-More: " + b"m" * 8_000 + b"\r\n")
        await writer.drain()


async def test_an_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STALL_S", 0.2)
    has_ended = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(left(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
            await asyncio.sleep(0)
        has_ended.set()

    with served_in_thread(endless) as url, socket.socket() as idle:
        idle.connect(("127.0.0.1", urlsplit(url).port))
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.to_thread(has_ended.wait, 20)


async def left(receive: Any) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def trickle(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, for ever."""
    while True:
        writer.write(b"G")
        await writer.drain()
        await asyncio.sleep(0.02)


def request(*messages: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], Awaitable[dict[str, Any]]]]:
    queue = list(messages)

    async def receive() -> dict[str, Any]:
        if queue:
            return queue.pop(0)
        return await asyncio.Event().wait() or {}

    return {"type": "http", "method": "POST", "path": "/", "headers": []}, receive


async def answered(limits: BodyLimits, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope, receive = request(*messages)
    await limits(scope, receive, send)  # type: ignore[arg-type]
    return sent


async def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    async def never(*_: Any) -> None:
        raise AssertionError("a request without its body was handed on")

    part = {"type": "http.request", "body": b"{", "more_body": True}
    sent = await answered(BodyLimits(never, seconds=0.05), part)
    assert sent[0]["status"] == 408
    assert await answered(BodyLimits(never), part, {"type": "http.disconnect"}) == []


async def test_a_body_in_pieces_is_handed_on_whole() -> None:
    heard: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["body"])

    pieces = [{"type": "http.request", "body": bytes([n]), "more_body": n < 4} for n in range(5)]
    await answered(BodyLimits(app), *pieces)
    assert heard == [bytes(range(5))]
