"""What the doctor looks at beside stores and exchanges: every server over TLS, the machine, its files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.pipeline.wiring.machine import machine_findings, tls_servers


def test_every_server_that_is_verified_is_looked_at(tmp_path: Path) -> None:
    for name in ("ca.pem", "redis.pem"):
        (tmp_path / name).write_text("")
    settings = settings_from_mapping(
        {
            "seamless": {
                "artifact": {
                    "object_store_uri": "s3://bucket/a",
                    "s3": {"endpoint_url": "https://s3.example", "region": "x"},
                },
                "hot_store": {"dsn": "questdb://quest.example:9443", "tls": True, "tls_ca": "ca.pem"},
                "rate_limit": {"redis_dsn": f"rediss://redis.example?ssl_ca_certs={tmp_path}/redis.pem"},
            },
            "environment": {"coordinator_url": "http://leases.example"},
            "exchanges": {"binance": {"symbols": ["BTC/USDT"], "base_url": "https://proxy.example:8443"}},
        },
        base=tmp_path,
        environ={},
    )
    assert [(one.part, one.host, one.port, one.ca and one.ca.name) for one in tls_servers(settings)] == [
        ("the hot store", "quest.example", 9443, "ca.pem"),
        ("the artifact store", "s3.example", 443, None),
        ("the rate budget", "redis.example", 6379, "redis.pem"),
        ("binance", "proxy.example", 8443, None),
    ]


def test_a_machine_without_anything_is_well_and_stays_as_it_is(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_for({"binance": {"symbols": ["BTC/USDT"]}})
    found = asyncio.run(machine_findings(settings))
    assert [one.part for one in found] == ["disk", "open files", "versions", "sessions"]
    assert all(one.is_well for one in found) and list(tmp_path.iterdir()) == []
    settings.seamless.state_dir.mkdir()
    (settings.seamless.state_dir / "sessions.sqlite").write_bytes(b"no database" * 1_000)
    *_, sessions = asyncio.run(machine_findings(settings))
    assert not sessions.is_well and "sessions.sqlite" in sessions.advice
