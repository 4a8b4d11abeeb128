"""Certificates of the servers that are spoken to over TLS, and for how long they are good."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from seamless_assets.core.sharing.health import Finding, StoreStatus

SOON_S = 14 * 86_400
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A server and how it is verified: by an authority's file, or those of the system where `ca` is None."""

    part: str
    host: str
    port: int
    ca: Path | None = None


async def certificate_finding(server: TlsServer) -> Finding:
    """When the certificate of a server ends. One that cannot be reached is told of elsewhere."""
    try:
        ends = await _end_of(server)
    except ssl.SSLCertVerificationError as error:
        advice = f"it is refused: {error.verify_message}; renew it, or name its authority"
        return _finding(server, False, "not valid", advice)
    except (OSError, TimeoutError) as error:
        return _finding(server, True, f"not looked at: {error or 'no answer'}", "")
    left_s = ends - time.time()
    told = f"good for {left_s / 86_400:.0f} days, until {time.strftime('%Y-%m-%d', time.gmtime(ends))}"
    return _finding(server, True, told, "renew it before it ends" if left_s < SOON_S else "")


async def _end_of(server: TlsServer) -> float:
    context = ssl.create_default_context(cafile=server.ca)
    async with asyncio.timeout(PATIENCE_S):
        _, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
    try:
        return float(ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"]))
    finally:
        writer.close()


def _finding(server: TlsServer, is_well: bool, found: str, advice: str) -> Finding:
    status = StoreStatus("TLS", f"{server.host}:{server.port}", "", found, 0.0)
    return Finding(f"certificate of {server.part}", is_well, status, advice)
