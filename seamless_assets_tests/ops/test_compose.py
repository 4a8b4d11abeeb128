"""`ops/compose.yaml` without a Docker engine: the settings in its head, its servers started as it says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import QUESTDB_JAR, ROOT, require_questdb, require_redis
from redis import Redis
from support.object_stores import VERSITYGW, require_s3_server
from support.services import QuestDbServer, RedisServer, await_answer, free_port

from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.core.sharing.health import StoreStatus

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
        inside = {port.rpartition(":")[2] for port in service["ports"]}
        check = " ".join(service["healthcheck"]["test"])
        assert "redis-cli ping" in check or any(
            re.search(rf"127\.0\.0\.1[:/]{port}\b", check) for port in inside
        )


def test_the_servers_are_those_that_the_tests_run(compose: Any) -> None:
    tags = {name: service["image"].partition(":")[2] for name, service in compose["services"].items()}
    assert QUESTDB_JAR.name == f"questdb-{tags['questdb']}.jar"
    assert VERSITYGW.name == f"versitygw-{tags['s3'].removeprefix('v')}"


def test_questdb_is_where_a_dsn_without_more_settings_looks_for_it(compose: Any) -> None:
    expected, service = QuestDbAddress("127.0.0.1"), compose["services"]["questdb"]
    assert set(service["ports"]) == {
        f"127.0.0.1:{port}:{port}" for port in (expected.http_port, expected.pg_port)
    }
    assert environment(service)["QDB_PG_PASSWORD"] == expected.pg_password


def test_questdb_takes_every_setting_that_it_is_given(compose: Any, tmp_path: Path) -> None:
    service = compose["services"]["questdb"]
    given = environment(service)
    server = QuestDbServer(require_questdb(), tmp_path / "questdb", given, quick=False)
    check = service["healthcheck"]["test"][1].replace("/9000", f"/{server.http_port}")

    async def ask() -> tuple[list[list[Any]], StoreStatus]:
        store = QuestDbHotStore(QuestDbAddress("127.0.0.1", server.http_port, server.pg_port))
        status = await store.status()
        rows = await store._client.execute(
            "SELECT env_var_name, value, sensitive FROM (SHOW PARAMETERS) WHERE value_source = 'env'"
        )
        await store.close()
        return rows, status

    assert subprocess.run(check, shell=True, check=False, stderr=subprocess.DEVNULL).returncode != 0
    server.start()
    try:
        assert subprocess.run(check, shell=True, check=False).returncode == 0
        rows, status = asyncio.run(ask())
    finally:
        server.kill()
    assert {
        name: given[name] if is_secret else value for name, value, is_secret in rows if name in given
    } == given
    assert status.version.startswith(service["image"].partition(":")[2])


def test_the_s3_server_starts_as_it_should_with_the_bucket_in_place(compose: Any, tmp_path: Path) -> None:
    service, port = compose["services"]["s3"], free_port()
    program, data, (*shell, line) = require_s3_server("versitygw"), tmp_path / "data", service["entrypoint"]
    here = {"/usr/local/bin/versitygw": str(program), ":7070": f"127.0.0.1:{port}", "/data": str(data)}
    line = re.sub("|".join(here), lambda found: here[found.group()], line)
    log, keys = tmp_path / "server.log", environment(service)
    access = S3Access(
        "us-east-1", f"http://127.0.0.1:{port}", keys["ROOT_ACCESS_KEY"], keys["ROOT_SECRET_KEY"]
    )
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*shell, line], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **keys}
        )
    try:
        await_answer(server, service["healthcheck"]["test"][-1].replace(":7070", f":{port}"), log)
        asyncio.run(ArtifactStore("s3://artifacts/seamless", **client_options(access)).status())
    finally:
        server.kill()
        server.wait()


def test_redis_starts_as_it_should_and_throws_no_key_away(compose: Any, tmp_path: Path) -> None:
    server = RedisServer(require_redis(), tmp_path)
    server._settings = compose["services"]["redis"]["command"][1:]
    server.start()
    try:
        with Redis.from_url(server.url) as client:
            kept = client.config_get("appendonly", "maxmemory-policy")
        assert kept == {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    finally:
        server.kill()


def environment(service: Any) -> dict[str, str]:
    """A service's environment on a machine that sets nothing."""
    variables: dict[str, str] = service["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in variables.items()}


def test_the_settings_that_its_head_tells_are_valid_and_name_its_ports(compose: Any, tmp_path: Path) -> None:
    lines = [line.removeprefix("#   ").rstrip() for line in FILE.read_text().splitlines() if line[:1] == "#"]
    starts = ("seamless.", "environment.", "  secret")
    written = yaml.safe_load("\n".join(line for line in lines if line.startswith(starts)))
    nested: dict[str, Any] = {"exchanges": {"binance": {"symbols": ["BTC/USDT"]}}}
    for path, value in written.items():
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
