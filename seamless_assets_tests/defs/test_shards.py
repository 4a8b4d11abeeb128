"""Thousands of nodes: shards that share a step keep apart, and a command builds what it asks for."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from queue import Queue
from typing import Any

import click
import pytest
from click.testing import CliRunner
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DagsterRun,
    Definitions,
    asset_check,
)
from dagster._cli.asset import asset_cli
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.utils import make_new_run_id
from dagster._grpc.impl import core_execute_run, start_run_in_subprocess
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import serialize_value

import seamless_assets as sa
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.defs import shards
from seamless_assets.defs.build import build_definitions, build_selected
from seamless_assets.defs.jobs import AssetsAndChecks
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.selection import selected_keys
from seamless_assets.defs.shards import MAX_STEPS, SHARD_SIZE, shards_of

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
PROBE = """
from dagster import Definitions, asset, asset_check, in_process_executor
from seamless_assets.defs.selection import selected_keys
asked = selected_keys(__name__)

@asset
def a(): ...

@asset_check(asset="a")
def sound(): ...

defs = Definitions([a], asset_checks=[sound], executor=in_process_executor)
"""
A, SOUND = AssetKey("a"), AssetCheckKey(AssetKey("a"), "sound")


def test_a_job_has_the_checks_of_its_assets_and_looks_at_no_others(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for({"binance": {"symbols": SYMBOLS, "timeframes": ["1h", "1d"]}})
    key = ProjectNames().asset_key(next(iter(settings.starts)))

    @asset_check(asset=key)
    def of_somebody_else() -> AssetCheckResult:
        return AssetCheckResult(passed=True)

    built = Definitions.merge(build_definitions(settings), Definitions(asset_checks=[of_somebody_else]))
    graph = AssetGraph.from_assets(built.get_repository_def().asset_graph.assets_defs)
    vars(graph).pop("asset_check_keys", None)
    chosen = [job.selection for job in built.jobs or () if isinstance(job, UnresolvedAssetJobDefinition)]
    ours = [one for one in chosen if isinstance(one, AssetsAndChecks)]
    found = [one.resolve_checks(graph) for one in ours]
    assert "asset_check_keys" not in vars(graph)
    assert len(found) == 2
    assert found == [AssetSelection.assets(*one.selected_keys).resolve_checks(graph) for one in ours]
    assert AssetCheckKey(key, "of_somebody_else") in found[0] | found[1]


@pytest.mark.parametrize("nodes", [1, 100, 101, 799, 800, 801, 850, 1_650, 5_000])
def test_a_few_steps_serve_any_number_of_nodes(nodes: int, settings_for: Callable[..., Settings]) -> None:
    settings = settings_for({"binance": {"symbols": [f"COIN{n}/USDT" for n in range(nodes)]}})
    made = list(shards_of(settings, ProjectNames()))
    assert [node for shard in made for node in shard.nodes] == sorted(settings.starts, key=_number)
    assert len({shard.job_name for shard in made}) == len(made) == -(-nodes // SHARD_SIZE)
    # The last one may be of another width.
    assert len({shard.step for shard in made}) <= MAX_STEPS + 1
    assert len({(shard.step, len(shard.members)) for shard in made}) == len({shard.step for shard in made})


def _number(node: sa.NodeId) -> int:
    return int(node.symbol.removeprefix("COIN").removesuffix("/USDT"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one node, of which two share a step."""
    monkeypatch.setattr(shards, "SHARD_SIZE", 1)
    monkeypatch.setattr(shards, "MAX_STEPS", 2)


@pytest.mark.usefixtures("small")
def test_nodes_of_shards_that_share_a_step_get_their_own_bars(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    settings = load_settings(written(*SYMBOLS, timeframes=("1d",)))
    definitions = build_definitions(settings)
    keys = {node: ProjectNames().asset_key(node) for node in settings.starts}
    job = definitions.resolve_implicit_global_asset_job_def()
    assert {node.name for node in job.graph.nodes} == {
        "ohlcv_binance_1d",
        "ohlcv_binance_1d_2",
        "ohlcv_binance_1d_from_2",
    }
    done = job.execute_in_process(
        instance=instance, partition_key="2025", asset_selection=list(keys.values())
    )
    assert done.success
    with sa.connect(settings) as s:
        for node, key in keys.items():
            event = instance.get_latest_materialization_event(key)
            assert event is not None and event.asset_materialization is not None
            shown = event.asset_materialization.metadata
            assert shown["node_id"].value == str(node)
            assert shown["dataset_fingerprint"].value == s.releases(str(node))[-1].dataset_fingerprint
    checks = {(check.asset_key, check.check_name) for check in done.get_asset_check_evaluations()}
    assert len(checks) == 5 * len(keys)


@pytest.mark.usefixtures("small")
def test_a_process_of_some_nodes_builds_their_shards(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    settings = load_settings(written(*SYMBOLS, timeframes=("1d",)))
    second = AssetKey(["ohlcv", "binance", "ETH_USDT_1d"])
    built = build_selected(settings, {second})
    assert built.resolve_all_asset_keys() == [second]
    job = built.resolve_job_def("materialize_ohlcv_binance_1d_1")
    assert job.execute_in_process(instance=instance, partition_key="2025", asset_selection=[second]).success
    everything = build_definitions(settings).resolve_all_asset_keys()
    for keys in (None, set(), {second, AssetKey("none_of_ours")}):
        assert set(build_selected(settings, keys).resolve_all_asset_keys()) == set(everything)


@pytest.mark.usefixtures("small")
def test_a_run_has_the_same_steps_whether_all_is_built_or_what_it_selects(
    settings_for: Callable[..., Settings],
) -> None:
    """A run that is tried again from its failure names them."""
    settings = settings_for({"binance": {"symbols": [*SYMBOLS, "XRP/USDT"]}})
    everything = build_definitions(settings)
    keys = sorted(everything.resolve_all_asset_keys())
    for selected in (set(some) for size in (1, 2, 3) for some in combinations(keys, size)):
        assert steps(build_selected(settings, selected), selected) == steps(everything, selected)


def steps(definitions: Definitions, selected: set[AssetKey]) -> dict[str, set[AssetKey]]:
    """The assets of each step of a run over what is selected."""
    job = definitions.get_repository_def().get_maybe_subset_job_def("__ASSET_JOB", asset_selection=selected)
    layer = job.asset_layer
    return {
        node.name: selected & layer.get_assets_def_for_node(NodeHandle(node.name, None)).keys  # type: ignore[union-attr]
        for node in job.nodes
    }


@pytest.mark.parametrize(
    ("select", "keys"),
    [
        ("key:ohlcv/binance/BTC_USDT_1m", ["ohlcv/binance/BTC_USDT_1m"]),
        ("ohlcv/binance/BTC_USDT_1m", ["ohlcv/binance/BTC_USDT_1m"]),
        ('key:"a/b", c', ["a/b", "c"]),
        ("*", None),
        ("key:ohlcv/binance/*", None),
        ("+key:a/b", None),
        ("key:a/b+", None),
        ("key:a or key:b", None),
        ("a,group:binance", None),
        ('key:"a', None),
        ("", None),
    ],
)
def test_a_command_names_the_keys_it_materializes(select: str, keys: list[str] | None) -> None:
    wanted = None if keys is None else frozenset(AssetKey(key.split("/")) for key in keys)
    with command("asset", "materialize", module_name="ours", select=select):
        assert selected_keys("ours") == wanted
    with command("dg", "launch", module_name="ours", assets=select):
        assert selected_keys("ours") == wanted


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("asset", "list"), {"module_name": "ours", "select": "a"}),
        (("job", "materialize"), {"module_name": "ours", "select": "a"}),
        (("asset", "materialize"), {"module_name": "theirs", "select": "a"}),
        (("asset", "materialize"), {"python_file": "ours.py", "select": "a"}),
        (("asset", "materialize"), {"module_name": "ours"}),
        (("asset", "materialize"), {"module_name": "ours", "assets": "a"}),
        (("dg", "launch"), {"module_name": "ours", "job": "a"}),
        (("dg", "launch"), {"target_path": ".", "assets": "a"}),
    ],
)
def test_other_commands_name_none(words: tuple[str, str], options: dict[str, str]) -> None:
    with command(*words, **options):
        assert selected_keys("ours") is None
    assert selected_keys("ours") is None


@contextmanager
def command(group: str, name: str, **options: str) -> Iterator[None]:
    """Be in a command of Dagster's, whose options are these."""
    parent = click.Context(click.Group(group), info_name=group)
    with click.Context(click.Command(name), parent=parent, info_name=name) as context:
        context.params.update(options)
        yield


@pytest.mark.filterwarnings("ignore:Function `asset_materialize_command` is superseded")
def test_the_command_of_dagster_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.chdir(tmp_path)
    # That the module declares no such asset ends the command.
    CliRunner().invoke(asset_cli, ["materialize", "-m", "probe", "--select", "key:a/b"], prog_name="asset")
    assert sys.modules.pop("probe").asked == frozenset({AssetKey(["a", "b"])})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("home"))) as made:
        yield made


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[ReconstructableRepository]:
    """The repository of a module that keeps what it was asked for as it was loaded."""
    (tmp_path / "probe.py").write_text(PROBE)
    yield ReconstructableRepository.for_module("probe", "defs", str(tmp_path))
    sys.modules.pop("probe", None)


def added_run(home: DagsterInstance, **selected: Any) -> DagsterRun:
    """A run that is to be begun."""
    return home.add_run(DagsterRun(job_name="__ASSET_JOB", run_id=make_new_run_id(), **selected))


def begin_as_code_server(home: DagsterInstance, probe: ReconstructableRepository, run: DagsterRun) -> None:
    """Run it as the process does that a code server starts for it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("probe"), "__repository__")
    asked = ExecuteExternalJobArgs(
        job_origin=RemoteJobOrigin(repository, run.job_name), run_id=run.run_id, instance_ref=home.get_ref()
    )
    job = probe.get_reconstructable_job(run.job_name)
    start_run_in_subprocess(serialize_value(asked), job, Queue(), multiprocessing.Event())


@pytest.mark.parametrize(
    ("selected", "keys"),
    [
        ({"asset_selection": {A}}, {A}),
        ({"asset_selection": {A}, "asset_check_selection": {SOUND}}, {A}),
        ({"asset_check_selection": {SOUND}}, None),
        ({}, None),
    ],
    ids=["asset", "asset and check", "check alone", "whole job"],
)
def test_a_process_of_one_run_knows_what_it_materializes(
    home: DagsterInstance,
    probe: ReconstructableRepository,
    selected: dict[str, set[Any]],
    keys: set[AssetKey] | None,
) -> None:
    run = added_run(home, **{name: frozenset(chosen) for name, chosen in selected.items()})
    begin_as_code_server(home, probe, run)
    assert sys.modules["probe"].asked == keys
    done = home.get_run_by_id(run.run_id)
    assert done is not None and done.is_success


@pytest.mark.parametrize(
    ("words", "module", "keys"),
    [
        (("api", "execute_run"), "probe", {A}),
        (("api", "resume_run"), "probe", {A}),
        (("api", "grpc"), "probe", None),
        (("api", "execute_run"), "theirs", None),
    ],
)
def test_a_command_that_begins_one_run_knows_its_own_module(
    home: DagsterInstance,
    tmp_path: Path,
    probe: ReconstructableRepository,
    words: tuple[str, str],
    module: str,
    keys: set[AssetKey] | None,
) -> None:
    """A module that loads ours among its own needs more than the run selects; a warm worker runs others."""
    (tmp_path / "theirs.py").write_text("from probe import defs")
    run = added_run(home, asset_selection=frozenset({A}))
    begun = ReconstructableRepository.for_module(module, "defs", str(tmp_path))
    with command(*words):
        list(core_execute_run(begun.get_reconstructable_job(run.job_name), run, home, inject_env_vars=False))
    sys.modules.pop("theirs", None)
    assert sys.modules["probe"].asked == keys
