"""Release by hand, rollback and withdrawal: jobs and commands that leave Dagster's status true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dagster import AssetCheckKey, AssetKey, DagsterInstance

import seamless_assets as sa
from seamless_assets.cli.app import cli
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, make_bars

NODE = "ohlcv:binance:BTC/USDT:1h"
KEY = AssetKey(["ohlcv", "binance", "BTC_USDT_1h"])


@pytest.fixture(scope="module")
def venue() -> Iterator[Sandbox]:
    with Sandbox(now=START + 10 * DAY).running() as running:
        yield running


@pytest.fixture(scope="module")
def kept(venue: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of an hourly node; the second waits for a release by hand, for a candle in it is none."""
    folder = tmp_path_factory.mktemp("kept")
    exchange = {"base_url": venue.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": "2025-01-01"}
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
            "partitions": {"1h": "day"},
        },
        "exchanges": {"binance": exchange},
    }
    (folder / "seamless.yaml").write_text(yaml.safe_dump(declared))
    with sa.connect(folder / "seamless.yaml") as s:
        for day in range(3):
            if day == 1:
                venue.faults.add(Fault("inverted", path="klines", times=None))
            s.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)
            venue.faults.clear()
        assert [entry.added[0].partition for entry in s.releases(NODE)] == ["2025-01-01", "2025-01-03"]
    return folder


@pytest.fixture
def path(kept: Path, venue: Sandbox, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    venue.faults.clear()
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy" / "seamless.yaml"


def execute(path: Path, instance: DagsterInstance, job: str, **config: Any) -> Any:
    definitions = build_definitions(load_settings(path))
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={"ops": {f"{job}_op": {"config": {"node": NODE, **config}}}},
    )


def pages(instance: DagsterInstance) -> dict[str, dict[str, Any]]:
    """What each partition shows last."""
    found: dict[str, dict[str, Any]] = {}
    for record in instance.fetch_materializations(KEY, limit=50).records:
        assert record.asset_materialization is not None
        shown = record.asset_materialization.metadata
        found.setdefault(str(record.partition_key), {name: entry.value for name, entry in shown.items()})
        tags = record.asset_materialization.tags or {}
        assert tags["dagster/data_version"] == shown["dataset_fingerprint"].value
    return found


def check(instance: DagsterInstance) -> Any:
    check_key = AssetCheckKey(KEY, "publishable")
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([check_key])[check_key]
    assert found.event is not None and found.event.dagster_event is not None
    evaluation = found.event.dagster_event.asset_check_evaluation_data
    # A result that is of no materialization, or of an older one, shows as not evaluated.
    (newest,) = instance.fetch_materializations(KEY, limit=1).records
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.storage_id == newest.storage_id
    return evaluation


def log(path: Path) -> list[Any]:
    with sa.connect(path) as s:
        return s.releases(NODE)


def test_a_release_by_hand_turns_green_and_names_what_it_overrides(
    path: Path, instance: DagsterInstance
) -> None:
    done = execute(path, instance, "release_by_hand", reason="the night is gone", partition="2025-01-02")
    assert done.success
    last = log(path)[-1]
    assert last.checks == {"conformance": False, "coverage": False} and last.reason == "the night is gone"
    page = pages(instance)["2025-01-02"]
    assert page["overridden_checks"] == "conformance, coverage" and page["kind"] == "released by hand"
    assert page["reason"] == "the night is gone" and page["missing_bars"] == 1
    assert (page["as_of"], page["dataset_fingerprint"]) == (last.as_of, last.dataset_fingerprint)
    assert page["manifest"]["artifact_fingerprint"] == page["artifact_fingerprint"]
    for name in page.keys() & page["manifest"].keys():
        assert page[name] == page["manifest"][name], f"{name} has two values on one page"
    found = check(instance)
    assert found.passed and "overrides conformance, coverage" in found.description


def test_a_rollback_and_a_withdrawal_change_every_page_that_they_touch(
    path: Path, instance: DagsterInstance
) -> None:
    assert execute(path, instance, "rollback", reason="wrong", to=1).success
    page = pages(instance)["2025-01-03"]
    assert page["released"] is False and page["kind"] == "rolled back" and "manifest" not in page
    assert not check(instance).passed and "2025-01-03 rolled back: wrong" in check(instance).description
    assert execute(path, instance, "withdraw", reason="bad", partition="2025-01-01").success
    assert pages(instance)["2025-01-01"]["kind"] == "withdrawn"
    with sa.connect(path) as s, pytest.raises(sa.SeamlessError):
        s.read(NODE)
    assert execute(path, instance, "release_by_hand", reason="good", partition="2025-01-01").success
    assert pages(instance)["2025-01-01"]["released"] is True and check(instance).passed
    assert execute(path, instance, "unpin", reason="enough").success
    assert [entry.kind for entry in log(path)][-4:] == ["rollback", "withdrawal", "by_hand", "by_hand"]


@pytest.mark.parametrize(
    ("job", "config", "why"),
    [
        ("release_by_hand", {"reason": " "}, "needs a reason"),
        ("release_by_hand", {"reason": "x", "node": "ohlcv:binance:NO/PE:1h"}, "is no node of the settings"),
        ("release_by_hand", {"reason": "x", "node": "ohlcv/binance/NOPE"}, "is no node of the settings"),
        ("rollback", {"reason": "x"}, "say where to roll back to"),
        ("rollback", {"reason": "x", "to": 9}, "has no release 9"),
        ("withdraw", {"reason": "x", "partition": "W1"}, "2025-01-31"),
        ("withdraw", {"reason": "x", "partition": "2024-01-01"}, "nothing in force"),
    ],
)
def test_what_is_asked_for_wrongly_fails_with_the_reason(
    job: str, config: dict[str, Any], why: str, path: Path, instance: DagsterInstance
) -> None:
    before = log(path)
    result = execute(path, instance, job, **config)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert why in str(failure.step_failure_data.user_failure_data.description)
    assert log(path) == before and pages(instance) == {}


def test_each_job_asks_for_a_reason(path: Path) -> None:
    definitions = build_definitions(load_settings(path))
    for job in ("release_by_hand", "rollback", "withdraw", "unpin"):
        ops = definitions.resolve_job_def(job).run_config_schema.config_type.fields["ops"]
        asked = ops.config_type.fields[f"{job}_op"].config_type.fields["config"].config_type.fields
        assert {"node", "reason"} <= {name for name, field in asked.items() if field.is_required}
        assert all(field.description for field in asked.values())


def test_what_holds_no_bar_is_released_by_force_alone(path: Path, venue: Sandbox) -> None:
    for asked in ("klines", "aggTrades", "trades"):
        venue.faults.add(Fault("empty", path=asked, times=None))
    with sa.connect(path) as s:
        s.materialize(NODE, START + 4 * DAY, START + 5 * DAY)
        with pytest.raises(sa.SeamlessError, match="2025-01-05 holds no bar; force it"):
            s.release(NODE, reason="nothing", partition="2025-01-05")
        entry = s.release(NODE, reason="nothing", partition="2025-01-05", force=True)
    assert entry.checks["coverage"] is False


def test_several_partitions_say_which_checks_of_which_were_overridden(path: Path) -> None:
    with sa.connect(path) as s:
        s.publish(NODE, START + 3 * DAY, START + 4 * DAY)
        s.backfill(NODE, START + 3 * DAY, START + 4 * DAY)
        s.publish(NODE, START + 3 * DAY, START + 4 * DAY)
        entry = s.release(NODE, reason="all of it", partition="2025-01")
        states = {part.partition: part.state for part in s.condition(NODE, START, START + 4 * DAY)}
    failed = {name for name, passed in entry.checks.items() if not passed}
    assert failed == {"conformance of 2025-01-02", "coverage of 2025-01-02"}
    assert states["2025-01-02"] == "degraded" and states["2025-01-04"] != "degraded"


def test_commands_tell_dagster_where_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = path.parent / "data" / "dagster"

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, [*words, "--config", str(path), "--reason", "as agreed"])

    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert run("rollback", NODE, "--to", "1").exit_code == 0 and not home.exists()
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    result = run("release", NODE, "--partition", "2025-01-02")
    assert result.exit_code == 0, result.output
    with DagsterInstance.from_config(str(home)) as kept:
        assert (
            pages(kept)["2025-01-02"]["overridden_checks"] == "conformance, coverage" and check(kept).passed
        )
    (home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: /dev/null/nowhere}}\n")
    result = run("withdraw", NODE, "2025-01-01")
    assert result.exit_code == 0 and log(path)[-1].kind == "withdrawal"
    assert "is made and readers find it, but the Dagster instance" in result.output
    (path.parent / "dagster.yaml").write_text("storage: {sqlite: {base_dir: data/dagster}}\n")
    monkeypatch.chdir(home)
    result = run("release", NODE, "--partition", "2025-01-01")
    assert result.exit_code == 0 and f"start in {path.parent}; start there" in result.output
    assert not (home / "data").exists()


def test_an_import_by_command_is_told_to_dagster(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = path.parent / "data" / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    bars = path.parent / "bars.csv"
    make_bars(START - 2 * DAY, START - DAY, "1h").to_pandas().to_csv(bars, index=False)
    result = CliRunner().invoke(cli, ["import", "--config", str(path), NODE, str(bars), "--by", "ann"])
    assert result.exit_code == 0, result.output
    with DagsterInstance.from_config(str(home)) as kept:
        (page,) = pages(kept).values()
        assert page["kind"] == "imported" and "bars.csv by ann" in page["reason"] and check(kept).passed


def test_of_a_compacted_artifact_each_page_shows_its_own_part(
    path: Path, venue: Sandbox, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue.clock, "now", lambda: START + 40 * DAY)
    with sa.connect(path) as s:
        s.materialize(NODE, START, START + 31 * DAY)
        merged = s.compact(NODE, "month")
    assert (merged.before, merged.after) == (31, 1) and merged.release is not None
    assert execute(path, instance, "withdraw", reason="x", partition="2025-01").success
    assert execute(path, instance, "rollback", reason="back", to=merged.release.seq).success
    rows = {day: page["dagster/partition_row_count"] for day, page in pages(instance).items()}
    assert len(rows) == 31 and max(rows.values()) <= 24 and sum(rows.values()) == merged.release.added[0].rows


def test_what_is_asked_for_twice_or_is_so_already_ends_well_and_tells_nothing(path: Path) -> None:
    with sa.connect(path) as s:
        newest = s.releases(NODE)[-1]
    with DagsterInstance.ephemeral() as instance:
        again = execute(path, instance, "rollback", as_of=newest.as_of, reason="it is in force already")
        assert again.success and pages(instance) == {}
    with sa.connect(path) as s:
        assert s.releases(NODE)[-1] == newest
