"""`ops/compose.yaml`: what can be seen of it without a Docker engine, and the settings in its head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from seamless_assets.config import settings_from_mapping

FILE = ROOT / "ops" / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> Any:
    """The file, read."""
    return yaml.safe_load(FILE.read_text())


def test_every_service_is_pinned_kept_and_seen_from_this_machine_only(compose: Any) -> None:
    assert set(compose["services"]) == {"questdb", "redis", "s3"}
    for service in compose["services"].values():
        name, _, version = service["image"].partition(":")
        assert name and version not in ("", "latest")
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        volumes = {volume.partition(":")[0] for volume in service["volumes"]}
        assert volumes <= set(compose["volumes"]) and service["restart"] == "unless-stopped"


def test_the_settings_that_its_head_tells_are_valid_and_name_its_ports(compose: Any, tmp_path: Path) -> None:
    lines = [line.removeprefix("#   ").rstrip() for line in FILE.read_text().splitlines() if line[:1] == "#"]
    starts = ("seamless.", "environment.", "  secret")
    told = yaml.safe_load("\n".join(line for line in lines if line.startswith(starts)))
    nested: dict[str, Any] = {"exchanges": {"binance": {"symbols": ["BTC/USDT"]}}}
    for path, value in told.items():
        *folders, name = path.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = {**place.get(name, {}), **value} if isinstance(value, dict) else value
    settings = settings_from_mapping(nested, base=tmp_path, environ={})
    ports = {port.rpartition(":")[0] for service in compose["services"].values() for port in service["ports"]}
    for address in (
        settings.seamless.hot_store.dsn,
        settings.redis_dsn,
        settings.coordinator_url,
        settings.seamless.artifact.s3.endpoint_url,
    ):
        assert any(f"//{port}" in str(address) for port in ports), address
    environment = compose["services"]["s3"]["environment"]
    secret = settings.seamless.artifact.s3.secret_access_key
    assert secret is not None
    assert f":-{secret.get_secret_value()}}}" in environment["ROOT_SECRET_KEY"]
    assert f":-{settings.seamless.artifact.s3.access_key_id}}}" in environment["ROOT_ACCESS_KEY"]
