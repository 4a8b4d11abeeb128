"""Where a QuestDB server listens, who asks, and whose certificates are believed."""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from seamless_assets.errors import HotStoreError


@dataclass(frozen=True, slots=True)
class QuestDbAddress:
    """Where a server listens and who asks. `timeout_s` bounds one request, `retry_s` an outage.

    With `tls`, certificates are verified against `tls_ca` (a PEM file) or the system's authorities, unless
    `tls_verify` is false.
    """

    host: str
    http_port: int = 9000
    pg_port: int = 8812
    tls: bool = False
    tls_ca: Path | None = None
    tls_verify: bool = True
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    pg_user: str = "admin"
    pg_password: str = field(default="quest", repr=False)
    timeout_s: float = 30.0
    retry_s: float = 180.0

    def __str__(self) -> str:
        return f"questdb://{self.host}:{self.http_port}"

    def http_headers(self) -> dict[str, str]:
        """Who asks, as HTTP says it."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if not self.user:
            return {}
        words = b64encode(f"{self.user}:{self.password or ''}".encode()).decode()
        return {"Authorization": f"Basic {words}"}

    def tls_context(self) -> ssl.SSLContext | None:
        """How to verify the server over HTTP; None without TLS. Raises `HotStoreError`."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise HotStoreError(
                f"{self.tls_ca} holds no certificates ({error}); name a PEM file in "
                "seamless.hot_store.tls_ca",
                path=self.tls_ca,
            ) from error
        if not self.tls_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def pg_tls(self) -> dict[str, str]:
        """How to verify the server, as libpq takes it."""
        if not self.tls:
            return {"sslmode": "disable"}
        if not self.tls_verify:
            return {"sslmode": "require"}
        # libpq of a wheel knows no folder of the system's certificates; Python does.
        known = self.tls_ca or ssl.get_default_verify_paths().cafile or "system"
        return {"sslmode": "verify-full", "sslrootcert": str(known)}

    def sender_tls(self) -> dict[str, str | bool]:
        """How to verify the server, as `questdb.Sender` takes it."""
        if not self.tls:
            return {}
        if not self.tls_verify:
            return {"tls_verify": False}
        return {"tls_roots": str(self.tls_ca)} if self.tls_ca else {}
