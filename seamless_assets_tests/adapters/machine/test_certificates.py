"""Certificates of servers: which end soon, which nobody vouches for, and what cannot be looked at."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from conftest import require_program
from support.services import free_port
from support.tls import Authority, make_authority, tls_proxy

from seamless_assets.adapters.machine.certificates import TlsServer, certificate_finding
from seamless_assets.core.sharing.health import Finding


async def look(authority: Authority, ca: Path | None) -> Finding:
    """What is found of a server of an authority, verified by `ca`."""
    async with tls_proxy(authority, free_port(), postgres=False) as port:
        return await certificate_finding(TlsServer("leases", "127.0.0.1", port, ca))


def with_days(authority: Authority, days: int) -> Authority:
    """Another certificate of the same authority, good for so many days."""
    words = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", str(days))
    openssl = require_program("openssl", "it makes certificates")
    made = (openssl, "x509", "-req", "-in", "server.csr", "-out", f"{days}.pem", *words)
    subprocess.run(made, cwd=authority.ca.parent, check=True, capture_output=True)
    return replace(authority, certificate=authority.ca.parent / f"{days}.pem")


async def test_a_certificate_is_judged_by_its_end_and_by_who_vouches_for_it(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    for days, advice in ((400, ""), (20, ""), (13, "renew it before it ends")):
        found = await look(with_days(authority, days), authority.ca)
        assert found.is_well and found.advice == advice and found.part == "certificate of leases"
        assert found.status is not None and f"good for {days} days, until " in found.status.lag
    unknown = await look(authority, None)
    assert not unknown.is_well and "unable to get local issuer" in unknown.advice
    assert "name its authority" in unknown.advice


async def test_a_server_that_cannot_be_reached_is_told_of_by_who_needs_it() -> None:
    found = await certificate_finding(TlsServer("leases", "127.0.0.1", free_port()))
    assert found.is_well and not found.advice
    assert found.status is not None and "not looked at" in found.status.lag
