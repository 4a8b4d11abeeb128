"""What the doctor looks at beside stores and exchanges: this machine, its files, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from seamless_assets.adapters.machine.certificates import TlsServer, certificate_finding
from seamless_assets.adapters.machine.resources import disk_findings, open_files_finding, versions_finding
from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.aio.gather import gather
from seamless_assets.config.load import Settings
from seamless_assets.core.sharing.health import Finding
from seamless_assets.errors import SessionStoreError

_HTTPS = 443
_REDIS = 6379


async def machine_findings(settings: Settings) -> list[Finding]:
    """Disks, limits, versions, sessions with their outbox, and certificates. Raises nothing."""
    disks = await asyncio.to_thread(disk_findings, list(_folders(settings)))
    certificates = await gather(certificate_finding(server) for server in tls_servers(settings))
    return [*disks, open_files_finding(), versions_finding(), await _sessions(settings), *certificates]


def tls_servers(settings: Settings) -> list[TlsServer]:
    """Every server that the settings name and whose certificate is verified."""
    hot, environment = settings.seamless.hot_store, settings.environment
    servers = []
    if hot.tls and hot.tls_verify:
        place = urlsplit(hot.dsn)
        servers.append(TlsServer("the hot store", place.hostname or "", place.port or 9000, hot.tls_ca))
    addresses = {
        "the artifact store": settings.seamless.artifact.s3.endpoint_url,
        "the rate budget": settings.redis_dsn,
        "leases": settings.coordinator_url,
        "the world service": environment.world_service_url,
        "the webhook": environment.world_webhook_url,
        **{name: exchange.base_url for name, exchange in settings.exchanges.items()},
    }
    servers += [server for part, url in addresses.items() if url and (server := _tls_server(part, str(url)))]
    return servers


def _tls_server(part: str, url: str) -> TlsServer | None:
    place = urlsplit(url)
    options = parse_qs(place.query)
    if place.scheme == "https":
        return TlsServer(part, place.hostname or "", place.port or _HTTPS)
    if place.scheme != "rediss" or options.get("ssl_cert_reqs", ["required"])[-1] == "none":
        return None
    ca = options.get("ssl_ca_certs")
    return TlsServer(part, place.hostname or "", place.port or _REDIS, Path(unquote(ca[-1])) if ca else None)


def _folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "state", settings.seamless.state_dir
    if settings.seamless.hot_store.path is not None:
        yield "the hot store", settings.seamless.hot_store.path.parent
    uri = settings.seamless.artifact.object_store_uri or ""
    if uri and not uri.startswith("s3://"):
        yield "artifacts", Path(uri)


async def _sessions(settings: Settings) -> Finding:
    file = settings.seamless.state_dir / "sessions.sqlite"
    if not file.exists():
        return Finding("sessions", True, None, "")
    sessions = MachineSessions(file)
    try:
        status = await sessions.status()
    except SessionStoreError as error:
        return Finding("sessions", False, None, str(error))
    finally:
        await sessions.close()
    return Finding("sessions", True, status, status.warning)
