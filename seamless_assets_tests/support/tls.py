"""A certificate authority of a test's own, and a proxy that ends TLS before a server that speaks none."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from conftest import require_program

SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
"""What a Postgres client says before it starts TLS."""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Authority:
    """`ca` certifies 127.0.0.1 with `certificate` and `key`; all are PEM files."""

    ca: Path
    certificate: Path
    key: Path


def make_authority(folder: Path) -> Authority:
    """A new authority below `folder`."""
    openssl = require_program("openssl", "it makes certificates")
    folder.mkdir(parents=True)
    names = folder / "names"
    names.write_text("subjectAltName = IP:127.0.0.1\n")
    ca = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests", "-days", "2")
    leaf = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names.name)
    for words in (
        ("req", "-x509", *_KEY, *ca),
        ("req", *_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"),
        ("x509", "-req", "-in", "server.csr", "-out", "server.pem", *leaf),
    ):
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@asynccontextmanager
async def tls_proxy(authority: Authority, port: int, *, postgres: bool) -> AsyncIterator[int]:
    """A port that speaks TLS and passes everything on to `port`; `postgres` starts TLS the Postgres way."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    open_writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            if postgres:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(context)
            behind, to_server = await asyncio.open_connection("127.0.0.1", port)
            open_writers.append(to_server)
            await asyncio.gather(_pass_on(reader, to_server), _pass_on(behind, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgres else context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in open_writers:
            writer.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while chunk := await source.read(65_536):
            target.write(chunk)
            await target.drain()
    target.close()
