"""The files of a deployment: compose, systemd, Kubernetes. What they name is there and is taken."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import psycopg
import pytest
import yaml
from conftest import ROOT, require_postgres, require_program
from dagster._cli import create_dagster_cli
from dagster._core.instance.config import dagster_instance_config
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import dagster_webserver
from ops.test_dagster_home import variables
from support.services import PostgresServer

from seamless_assets.cli.app import cli
from seamless_assets.config.load import load_settings

CLUSTER, SYSTEMD = ROOT / "ops" / "cluster", ROOT / "ops" / "systemd"
STORES = yaml.safe_load((ROOT / "ops" / "compose.yaml").read_text())["services"]
COMPOSE = yaml.safe_load((CLUSTER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("seamless-assets:")]
ASKED_FOR = set(variables(yaml.safe_load((CLUSTER / "dagster.yaml").read_text())))
UNITS = sorted(SYSTEMD.glob("*.service"))


PROGRAMS: dict[str, click.Command] = {
    "seamless": cli,
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": dagster_webserver,
}
"""What can be asked whether it takes its words; the workers' are typed by the test of a cluster."""


def check_command(words: list[str]) -> None:
    """Fail unless a command is one that this environment has, with options that it takes."""
    program, *rest = words
    assert Path(sys.executable).with_name(program).exists(), program
    command = PROGRAMS.get(program)
    assert command is not None or program == "celery"
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    if command is not None:
        command.make_context(program, rest).close()


def test_everything_that_a_cluster_is_made_of_is_in_the_compose_file() -> None:
    wanted = {"postgres", "prometheus", "grafana", "webserver", "daemon", "definitions", "service", "metrics"}
    assert wanted <= set(SERVICES) and {"worker", "worker-binance", "worker-kraken"} <= set(SERVICES)
    assert COMPOSE["include"] == ["../compose.yaml"] and not set(SERVICES) & set(STORES)
    for name, service in SERVICES.items():
        image, _, version = service["image"].partition(":")
        assert image and version not in ("", "latest") and service["restart"] == "unless-stopped", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for source, _, target in (volume.partition(":") for volume in service.get("volumes", ())):
            is_known = (CLUSTER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert is_known and target, (name, source)


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_services_starts_as_this_package_can_and_finds_what_it_asks_for(name: str) -> None:
    service = SERVICES[name]
    # Here the file lies where the volume has it from.
    here = {"/srv/workspace.yaml": str(CLUSTER / "workspace.yaml")}
    check_command([here.get(word, word) for word in service["command"]])
    # Who cannot build the image itself asks a registry for it.
    assert (CLUSTER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert set(service["environment"]) >= ASKED_FOR | {"DAGSTER_HOME", "SEAMLESS_CONFIG"}
    assert set(service["depends_on"]) <= set(SERVICES) | set(STORES)
    inside = {volume.split(":")[1] for volume in service["volumes"]}
    assert {service["environment"]["SEAMLESS_CONFIG"], "/srv/dagster/dagster.yaml"} <= inside


def test_the_settings_of_the_cluster_name_its_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAMLESS_TOKEN_SHA256", "0" * 64)
    settings = load_settings(CLUSTER / "seamless.yaml")
    addresses = (
        settings.seamless.hot_store.dsn,
        settings.redis_dsn,
        settings.coordinator_url,
        settings.seamless.artifact.s3.endpoint_url,
    )
    for place in (urlsplit(str(address)) for address in addresses):
        assert any(port.endswith(f":{place.port}") for port in STORES[place.hostname]["ports"]), place
    workers = {queue for name in OURS if name.startswith("worker") for queue in queues(name)}
    assert workers == {*settings.exchanges, "dagster"}
    assert "bot" in settings.service.tokens
    environment = SERVICES["service"]["environment"]
    assert urlsplit(environment["DAGSTER_CELERY_URL"]).path == "/1" and settings.redis_dsn.endswith("/0")


def queues(name: str) -> list[str]:
    """The queues that a worker serves."""
    words = SERVICES[name]["command"]
    return str(words[words.index("-Q") + 1]).split(",")


def test_postgres_starts_as_it_should() -> None:
    service = SERVICES["postgres"]
    program, *words = service["command"]
    assert program == "postgres" and words[::2] == ["-c"] * (len(words) // 2)
    server = PostgresServer(require_postgres())
    try:
        server.start(words[1::2])
        with psycopg.connect(server.url) as db:
            for setting in words[1::2]:
                name, _, value = setting.partition("=")
                assert db.execute(f"SHOW {name}").fetchone() == (value,)
            version = db.execute("SHOW server_version").fetchone()
        assert version is not None
        assert int(version[0].split(".")[0]) >= int(service["image"].partition(":")[2])
    finally:
        server.kill()
    assert {"POSTGRES_USER": "dagster", "POSTGRES_DB": "dagster"}.items() <= service["environment"].items()


def test_prometheus_takes_its_file_with_the_rules_and_scrapes_who_serves(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it reads Prometheus's own file as Prometheus does")
    for volume in SERVICES["prometheus"]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            shutil.copy(CLUSTER / source, tmp_path / Path(target).name)
    checked = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0 and "rules found" in checked.stdout, checked.stdout + checked.stderr
    (job,) = yaml.safe_load((CLUSTER / "prometheus.yaml").read_text())["scrape_configs"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert SERVICES[host]["command"][-1] == port
    source = yaml.safe_load((CLUSTER / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert urlsplit(source["url"]).hostname == "prometheus"


def unit_lines(unit: Path) -> Iterator[tuple[str, str]]:
    """The settings of a unit."""
    yield from re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_a_unit_is_sound_and_starts_what_this_package_has(unit: Path, tmp_path: Path) -> None:
    settings = dict(unit_lines(unit))
    words = shlex.split(settings["ExecStart"].replace("%%", "%").replace("%i", "binance"))
    words[0] = Path(words[0]).name
    check_command(words)
    assert (settings["Restart"], settings["KillSignal"], settings["User"]) == (
        "always",
        "SIGTERM",
        "seamless",
    )
    assert int(settings["LimitNOFILE"]) >= 1_024 and (ROOT / "docs" / "operations.md").exists()
    analyze = require_program("systemd-analyze", "nothing else reads units as systemd does")
    # Whoever verifies has neither the folder of production nor its user.
    there = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copied = tmp_path / unit.name.replace("@", "@binance")
    copied.write_text(there.replace("User=seamless\n", ""))
    verified = subprocess.run([analyze, "verify", copied], capture_output=True, text=True, check=False)
    assert verified.returncode == 0 and unit.stem not in verified.stderr, verified.stderr


def test_a_worker_that_is_stopped_lets_the_run_under_way_end() -> None:
    worker = dict(unit_lines(SYSTEMD / "seamless-worker@.service"))
    assert (worker["KillMode"], worker["KillSignal"]) == ("mixed", "SIGTERM")
    # As long as compose gives it.
    assert int(worker["TimeoutStopSec"]) == 600 and SERVICES["worker"]["stop_grace_period"] == "10m"


def test_units_find_what_dagster_asks_for() -> None:
    lines = (SYSTEMD / "seamless-assets.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert names >= ASKED_FOR | {"DAGSTER_HOME", "SEAMLESS_CONFIG"}
    assert {unit.stem for unit in UNITS} == {
        f"seamless-{name}" for name in ("webserver", "daemon", "service", "metrics", "worker@")
    }


def test_the_values_of_the_chart_make_an_instance_like_the_clusters(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "ops" / "kubernetes" / "values.yaml").read_text())
    daemon = values["dagsterDaemon"]
    made = {
        **values["additionalInstanceConfig"],
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "retention": snake({kind: values["retention"][kind] for kind in ("schedule", "sensor")}),
        "python_logs": snake(values["pythonLogs"]),
        "telemetry": values["telemetry"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(made))
    # Unknown keys and values of a wrong kind are refused.
    taken, _ = dagster_instance_config(str(tmp_path))
    assert taken["run_retries"] == made["run_retries"]
    cluster = yaml.safe_load((CLUSTER / "dagster.yaml").read_text())
    assert made["retention"] == cluster["retention"] and made["run_retries"] == cluster["run_retries"]
    assert made["concurrency"] == cluster["concurrency"]
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "seamless_assets.definitions"]
    mounted = {mount["name"] for mount in deployment["volumeMounts"]}
    assert mounted == {volume["name"] for volume in deployment["volumes"]}
    scheme = cluster["storage"]["postgres"]["postgres_db"]["scheme"]
    assert values["postgresql"]["postgresqlScheme"] == scheme


def snake(value: Any) -> Any:
    """Keys as Dagster spells them, of those that the chart spells otherwise."""
    if not isinstance(value, dict):
        return value
    return {re.sub("([A-Z])", r"_\1", key).lower(): snake(item) for key, item in value.items()}
