"""The whole pipeline on either hot store: the same artifacts, an outage in the middle, eviction, doctor."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.services import Coordinator, QuestDbServer, RedisServer, free_port

import seamless_assets as sa
from seamless_assets.cli.app import cli
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:ADA/BTC:1m"
OUTAGE_S = float(os.environ.get("OUTAGE_S", "0"))
"""How long the server stays away at least; an outage of two minutes is tried by hand."""
SettingsFor = Callable[..., Settings]
WEEK = (START, START + 3 * DAY)


def venue(exchange: Sandbox) -> dict[str, Any]:
    return {"binance": {"base_url": exchange.url, "symbols": ["ADA/BTC"], "start": "2025-01-01"}}


def at(server: QuestDbServer, **more: Any) -> dict[str, Any]:
    return {"dsn": f"questdb://127.0.0.1:{server.http_port}", "pg_port": server.pg_port, **more}


def test_either_store_ends_in_the_same_bytes(
    exchange: Sandbox, settings_for: SettingsFor, tmp_path: Path, own_questdb: QuestDbServer
) -> None:
    kept: dict[str, dict[str, bytes]] = {}
    roots: dict[str, str | None] = {}
    for name, hot_store in (("sqlite", {"dsn": "sqlite:///./hot.sqlite"}), ("questdb", at(own_questdb))):
        folder = tmp_path / f"{name} artifacts"
        settings = settings_for(
            venue(exchange), artifact={"object_store_uri": str(folder)}, hot_store=hot_store
        )
        with sa.connect(settings) as s:
            s.backfill(NODE, *WEEK)
            report = s.materialize(NODE, *WEEK)
        assert report.released and report.coverage.absent > 0
        roots[name] = report.dataset_fingerprint
        kept[name] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}
    assert len(kept["sqlite"]) == 3 and kept["sqlite"] == kept["questdb"]
    assert roots["sqlite"] == roots["questdb"]


def test_a_run_goes_on_through_kills_and_an_outage_and_ends_as_if_there_had_been_none(
    exchange: Sandbox, settings_for: SettingsFor, tmp_path: Path, own_questdb: QuestDbServer
) -> None:
    days, reports = (START, START + 6 * DAY), dict[str, Any]()
    with sa.connect(settings_for(venue(exchange), state_dir="./calm")) as calm:
        reports["expected"] = calm.materialize(NODE, *days)
    shaken = settings_for(
        venue(exchange), artifact={"object_store_uri": "./shaken"}, hot_store=at(own_questdb)
    )
    exchange.faults.add(Fault("delay", path="klines", times=None, seconds=0.1))
    with sa.connect(shaken) as s, sa.connect(shaken) as watcher:
        working = threading.Thread(target=lambda: reports.update(report=s.materialize(NODE, *days)))
        working.start()
        for released in (1, 2, 3):
            while len(watcher.releases(NODE)) < released:
                time.sleep(0.01)
            own_questdb.kill()
            assert working.is_alive()
            if released == 3:
                turn_away(own_questdb, calls=8, seconds=OUTAGE_S)
            own_questdb.start()
        working.join()
        assert s.coverage(NODE, *days) == reports["expected"].coverage
    report, expected = reports["report"], reports["expected"]
    assert report.problems == () and report.dataset_fingerprint == expected.dataset_fingerprint
    assert report.coverage == expected.coverage and len(report.partitions) == 6


def turn_away(server: QuestDbServer, calls: int, seconds: float) -> None:
    """Stand where a killed server was until so many calls were cut off and so much time has passed."""
    until = time.monotonic() + seconds
    with (
        socket.create_server(("127.0.0.1", server.http_port)) as http,
        socket.create_server(("127.0.0.1", server.pg_port)) as wire,
    ):
        while calls > 0 or time.monotonic() < until:
            for door in select.select([http, wire], [], [], 1.0)[0]:
                door.accept()[0].close()
                calls -= 1


@pytest.mark.parametrize("name", ["sqlite", "questdb"])
def test_what_is_released_is_evicted_and_still_known(
    request: pytest.FixtureRequest, exchange: Sandbox, settings_for: SettingsFor, name: str
) -> None:
    keep = {"keep_days": {"day": 1}}
    hot_store = (
        {"dsn": "sqlite:///./hot.sqlite", **keep}
        if name == "sqlite"
        else at(request.getfixturevalue("own_questdb"), **keep)
    )
    exchange.clock.set(START + 30 * DAY)
    window = (START, START + 14 * DAY)
    with sa.connect(settings_for(venue(exchange), hot_store=hot_store)) as s:
        s.backfill(NODE, *window)
        assert s.evict() == 0
        released = s.materialize(NODE, *window)
        before = s.coverage(NODE, *window)
        dropped = s.evict()
        assert dropped >= 5_000
        assert s.coverage(NODE, *window) == before == released.coverage
        exchange.requests.clear()
        assert s.backfill(NODE, *window).fetched == ()
        sealed = s.publish(NODE, *window)
        assert [item.ref for item in sealed] == [
            part.sealed.ref for part in released.partitions if part.sealed
        ]
        again = s.materialize(NODE, *window)
        assert again.dataset_fingerprint == released.dataset_fingerprint and len(s.releases(NODE)) == 14


YAML = """\
seamless:
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{{hot_store}}}
  state_dir: ./state
  rate_limit: {{redis_dsn: {redis}}}
environment: {{coordinator_url: {leases}}}
exchanges:
  binance: {{base_url: "{exchange}", symbols: [BTC/USDT], start: 2025-01-01}}
"""


def doctor(
    folder: Path, exchange: str, hot_store: str, redis: str = "null", leases: str = "null"
) -> tuple[int, str]:
    file = folder / "seamless.yaml"
    file.write_text(YAML.format(hot_store=hot_store, exchange=exchange, redis=redis, leases=leases))
    result = CliRunner().invoke(cli, ["doctor", "--config", str(file)])
    return result.exit_code, result.output


def rows(output: str) -> dict[str, dict[str, str]]:
    """The first table that the doctor prints: by part, what stands under each name of its columns."""
    head, *lines = output.split("\n\n")[0].splitlines()
    names = ("part", "state", "answers in", "version", "lag", "address")
    starts = [head.index(name) for name in names]
    bounds = list(zip(names, starts, [*starts[1:], None], strict=True))
    cells = [{name: line[start:end].strip() for name, start, end in bounds} for line in lines]
    return {row["part"]: row for row in cells}


def test_the_doctor_knows_what_is_well(
    exchange: Sandbox,
    tmp_path: Path,
    questdb_server: QuestDbServer,
    redis_server: RedisServer,
) -> None:
    code, output = doctor(tmp_path, exchange.url, "dsn: 'sqlite:///./hot.sqlite'")
    found = rows(output)
    assert code == 0 and {row["state"] for row in found.values()} == {"well"}
    assert found["hot store"]["version"].startswith("SQLite (embedded: one machine, many processes)")
    assert found["hot store"]["version"].endswith("schema 2") and found["hot store"]["lag"].endswith("ed")
    assert found["hot store"]["address"] == str(tmp_path / "hot.sqlite")
    assert "its clock is" in found["binance"]["lag"] and "set this machine's clock by NTP" in output
    server = f"dsn: 'questdb://127.0.0.1:{questdb_server.http_port}', pg_port: {questdb_server.pg_port}"
    coordinator = Coordinator(tmp_path / "coordinator")
    coordinator.start()
    code, output = doctor(tmp_path, exchange.url, server, redis_server.url, coordinator.url)
    found = rows(output)
    assert code == 0 and found["hot store"]["version"].startswith("QuestDB 9.3.4, schema")
    assert (
        found["hot store"]["lag"] == "0 writes not applied" and found["hot store"]["answers in"][-2:] == "ms"
    )
    assert found["rate budget"]["version"].startswith("Redis")
    assert found["rate budget"]["address"].endswith(f"127.0.0.1:{redis_server.port}/0")
    assert found["leases"]["version"].startswith("lease coordinator")
    assert found["leases"]["address"] == coordinator.url
    coordinator.kill()
    code, output = doctor(tmp_path, exchange.url, server, redis_server.url, redis_server.url)
    assert code == 0 and rows(output)["leases"]["version"].startswith("Redis")


def test_the_doctor_names_what_is_not_and_what_to_do(tmp_path: Path) -> None:
    # Settings refuse a place that is a file; in this folder nobody can write.
    (tmp_path / "artifacts").symlink_to("/proc/self")
    nobody = f"127.0.0.1:{free_port()}"
    server = f"dsn: 'questdb://user:secret@{nobody}'"
    code, output = doctor(
        tmp_path, f"http://{nobody}", server, f"redis://:secret@{nobody}", f"http://{nobody}"
    )
    found = rows(output)
    assert code == 1 and "secret" not in output and len(found) == 5
    assert all(row["state"] == "not reachable" and not row["version"] for row in found.values())
    head, *advice = output.split("\n\n")[1].splitlines()
    assert head.split(maxsplit=1) == ["part", "what to do"]
    for part, words in (
        ("hot store", "does not answer"),
        ("hot store", "start it"),
        ("artifact store", "artifact store cannot reach"),
        ("rate budget", "check that the server runs"),
        ("leases", "check that `seamless coordinator` runs there"),
        ("binance", "base_url"),
    ):
        assert any(line.startswith(part) and words in line for line in advice), (part, words, advice)
