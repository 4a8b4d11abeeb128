"""Runs work with the settings that their definitions were built of, wherever they happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, Definitions, serialize_value
from dagster._core.remote_representation.external_data import RepositorySnap

import seamless_assets as sa
from seamless_assets.config.load import load_settings, settings_from_mapping
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import ConfigError, InvalidInput
from seamless_assets.sandbox.server import Sandbox

BTC, ETH = "ohlcv:binance:BTC/USDT:1h", "ohlcv:binance:ETH/USDT:1h"
JOB = "materialize_ohlcv_binance_1h"
SECRET = "not-for-run-config"


@pytest.fixture
def project(tmp_path: Path, exchange: Sandbox) -> Callable[..., Path]:
    """A folder with the seamless.yaml of one hourly node."""

    def make(name: str, symbol: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        file = folder / "seamless.yaml"
        file.write_text(yaml.safe_dump(declared(exchange, symbol)))
        return file

    return make


def declared(exchange: Sandbox, symbol: str) -> dict[str, Any]:
    return {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
        },
        "exchanges": {
            "binance": {
                "base_url": exchange.url,
                "symbols": [symbol],
                "timeframes": ["1h"],
                "start": "2025-01-01",
                "options": {"note": SECRET},
            }
        },
    }


def materialize(definitions: Definitions, instance: DagsterInstance, job: str = JOB, **arguments: Any) -> Any:
    resolved = definitions.resolve_job_def(job)
    return resolved.execute_in_process(instance=instance, partition_key="2025-01", **arguments)


def released(settings: Any, node: str) -> int:
    with sa.connect(settings) as s:
        return len(s.releases(node))


@pytest.mark.parametrize("path", ["absolute", "relative", "variable"])
def test_a_run_reads_the_file_it_was_built_of(
    path: str, project: Callable[..., Path], instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = project("mine", "BTC/USDT"), project("other", "ETH/USDT")
    monkeypatch.chdir(mine.parent)
    monkeypatch.setenv("SEAMLESS_CONFIG", str(mine))
    given = {"absolute": str(mine), "relative": "seamless.yaml", "variable": None}[path]
    definitions = build_definitions(load_settings(given))
    monkeypatch.setenv("SEAMLESS_CONFIG", str(other))
    monkeypatch.chdir(other.parent)
    assert materialize(definitions, instance).success
    assert released(str(mine), BTC) == 1
    assert not (other.parent / "artifacts").exists()


def test_settings_of_a_mapping_are_handed_over_and_stay_out_of_what_dagster_keeps(
    tmp_path: Path, exchange: Sandbox, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from_mapping(declared(exchange, "BTC/USDT"), base=tmp_path, environ={})
    definitions = build_definitions(settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = materialize(definitions, instance)
    assert result.success and released(settings, BTC) == 1
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    kept = json.dumps(dict(run.run_config)) + serialize_value(
        RepositorySnap.from_def(definitions.get_repository_def())
    )
    assert SECRET not in kept and SECRET not in repr(definitions.resources)


def test_run_config_that_names_another_file_is_followed(
    project: Callable[..., Path], instance: DagsterInstance
) -> None:
    mine, moved = project("mine", "BTC/USDT"), project("moved", "BTC/USDT")
    definitions = build_definitions(load_settings(mine))
    config = {"resources": {"seamless": {"config": {"config": str(moved)}}}}
    assert materialize(definitions, instance, run_config=config).success
    assert released(str(moved), BTC) == 1 and not (mine.parent / "artifacts").exists()


def test_a_config_that_contradicts_the_settings_is_refused(project: Callable[..., Path]) -> None:
    mine, other = project("mine", "BTC/USDT"), project("other", "ETH/USDT")
    with pytest.raises(InvalidInput, match=f"config is {other}, but the settings are those of {mine}"):
        build_definitions(load_settings(mine), config=str(other))


def test_settings_of_a_mapping_may_name_the_file_that_runs_read(
    project: Callable[..., Path], exchange: Sandbox, tmp_path: Path, instance: DagsterInstance
) -> None:
    mine = project("mine", "BTC/USDT")
    settings = settings_from_mapping(declared(exchange, "BTC/USDT"), base=tmp_path, environ={})
    assert materialize(build_definitions(settings, config=str(mine)), instance).success
    assert released(str(mine), BTC) == 1


def test_a_resource_made_by_hand_keeps_to_the_folder_it_was_made_in(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = project("mine", "BTC/USDT"), project("other", "ETH/USDT")
    monkeypatch.chdir(mine.parent)
    resource = SeamlessResource(config="seamless.yaml")
    monkeypatch.chdir(other.parent)
    assert resource.settings.file == mine
    with pytest.raises(InvalidInput, match="open only while a run lasts"):
        _ = resource.pipeline
    (mine.parent / "seamless.yaml").unlink()
    with pytest.raises(ConfigError, match=str(mine)):
        _ = resource.settings


def test_two_projects_in_one_process_keep_apart(
    project: Callable[..., Path], instance: DagsterInstance
) -> None:
    one, two = project("one", "BTC/USDT"), project("two", "BTC/USDT")
    both = Definitions.merge(
        build_definitions(load_settings(one)),
        build_definitions(load_settings(two), name="second", key_prefix="second"),
    )
    Definitions.validate_loadable(both)
    first, second = (
        ProjectNames().asset_key(sa.NodeId.parse(BTC)),
        ProjectNames("second", ("second",)).asset_key(sa.NodeId.parse(BTC)),
    )
    assert materialize(both, instance, "materialize_second_ohlcv_binance_1h").success
    assert (released(str(one), BTC), released(str(two), BTC)) == (0, 1)
    assert instance.get_materialized_partitions(second) == {"2025-01"}
    assert instance.get_materialized_partitions(first) == set()
    assert materialize(both, instance).success
    assert (released(str(one), BTC), released(str(two), BTC)) == (1, 1)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é"])
def test_names_that_dagster_does_not_take_are_refused(name: str, project: Callable[..., Path]) -> None:
    settings = load_settings(project("mine", "BTC/USDT"))
    with pytest.raises(InvalidInput, match="letters, digits and underscores"):
        build_definitions(settings, name=name)
    with pytest.raises(InvalidInput, match="letters, digits and underscores"):
        build_definitions(settings, key_prefix=[name])


def test_worker_processes_started_elsewhere_keep_to_their_projects(
    project: Callable[..., Path], exchange: Sandbox, tmp_path: Path
) -> None:
    mine, other = project("mine", "BTC/USDT"), project("other", "SOL/USDT")
    mapped, home = tmp_path / "mapped", tmp_path / "home"
    for folder in (mapped, home):
        folder.mkdir()
    (tmp_path / "project.py").write_text(
        "from dagster import Definitions, multiprocess_executor\n"
        "from seamless_assets.config.load import load_settings, settings_from_mapping\n"
        "from seamless_assets.defs.build import build_definitions\n"
        f"mapping = {declared(exchange, 'ETH/USDT')!r}\n"
        f"mapped = settings_from_mapping(mapping, base={str(mapped)!r})\n"
        "defs = Definitions.merge(\n"
        f"    build_definitions(load_settings({str(mine)!r})),\n"
        "    build_definitions(mapped, name='mapped'),\n"
        "    Definitions(executor=multiprocess_executor),\n"
        ")\n"
    )
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "dagster", "asset", "materialize", "-f", tmp_path / "project.py",
         "--select", "*", "--partition", "2025-01"],
        cwd=other.parent,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    settings = settings_from_mapping(declared(exchange, "ETH/USDT"), base=mapped, environ={})
    assert (released(str(mine), BTC), released(settings, ETH)) == (1, 1)
    assert not (other.parent / "artifacts").exists() and not (tmp_path / "artifacts").exists()


def test_definitions_load_without_what_only_runs_need(project: Callable[..., Path]) -> None:
    code = (
        "import sys\n"
        "from seamless_assets.config.load import load_settings\n"
        "from seamless_assets.defs.build import build_definitions\n"
        f"build_definitions(load_settings({str(project('mine', 'BTC/USDT'))!r})).get_repository_def()\n"
        "late = 'matplotlib', 'dagster_aws', 'ccxt', 'boto3', 'polars', 'questdb', 'redis'\n"
        "assert not [name for name in late if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_s3_resource_is_nothing_else(project: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInput, match="give dagster-aws's S3Resource"):
        build_definitions(load_settings(project("mine", "BTC/USDT")), s3="bucket")  # type: ignore[arg-type]
