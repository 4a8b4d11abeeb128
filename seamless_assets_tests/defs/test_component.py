"""`SeamlessComponent` in a project of Dagster's components, in this process and from a wheel elsewhere."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from dagster import AssetKey, DagsterInstance, Definitions
from dagster.components.core.component_tree import ComponentTree, ComponentTreeException
from dagster.components.core.package_entry import get_package_objects_in_module
from dagster.components.testing import create_defs_folder_sandbox

import seamless_assets
from seamless_assets.config.load import load_settings
from seamless_assets.defs.component import FILE, SeamlessComponent, SeamlessMarketsComponent
from seamless_assets.errors import ConfigError, InvalidChoice, InvalidInput
from seamless_assets.sandbox.server import Sandbox

# Dagster warns of its own part of it.
pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
BTC = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"])


def test_the_registry_of_components_finds_it() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared["dagster_dg_cli.registry_modules"] == {"seamless_assets": seamless_assets.__name__}
    assert dict(get_package_objects_in_module(seamless_assets)) == {
        "SeamlessComponent": SeamlessComponent,
        "SeamlessMarketsComponent": SeamlessMarketsComponent,
    }
    with pytest.raises(AttributeError, match="SeamlessComponents"):
        _ = seamless_assets.SeamlessComponents


def test_what_is_scaffolded_is_a_project_that_loads() -> None:
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(SeamlessComponent)
        with sandbox.load_component_and_build_defs(defs_path=folder) as (component, definitions):
            assert isinstance(component, SeamlessComponent)
            assert definitions.resolve_asset_graph().has(BTC)
            assert definitions.resources["seamless"].config == str(folder / FILE)  # type: ignore[index]
        with pytest.raises(InvalidInput, match="written as YAML"):
            sandbox.scaffold_component(SeamlessComponent, defs_path="other", scaffold_format="python")


def test_two_of_them_stand_side_by_side() -> None:
    with create_defs_folder_sandbox() as sandbox:
        sandbox.scaffold_component(SeamlessComponent, defs_path="one")
        folder = sandbox.scaffold_component(SeamlessComponent, defs_path="two")
        attributes = {"config": f"../one/{FILE}", "name": "research", "key_prefix": ["desk", "research"]}
        (folder / FILE).unlink()
        (folder / "defs.yaml").write_text(
            f"type: seamless_assets.SeamlessComponent\nattributes: {attributes}\n".replace("'", '"')
        )
        with sandbox.build_all_defs() as definitions:
            keys = definitions.resolve_asset_graph().get_all_asset_keys()
            assert keys == {BTC, BTC.with_prefix(["desk", "research"])}
            assert {"seamless", "research"} <= set(definitions.resources or {})


def test_problems_of_the_file_are_reported_with_their_lines() -> None:
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(SeamlessComponent)
        path = folder / FILE
        path.write_text(path.read_text().replace("1m", "1q"))
        line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "1q" in text)
        with (
            pytest.raises(ComponentTreeException) as failed,
            sandbox.load_component_and_build_defs(defs_path=folder),
        ):
            pass
    assert isinstance(failed.value.__cause__, ConfigError)
    assert f"{FILE}:{line}: " in str(failed.value.__cause__)


@pytest.fixture
def markets(written: Callable[..., Path], tmp_path: Path) -> Callable[..., Definitions]:
    """The definitions of all symbols that match, of the local exchange's list or the one it is given."""
    written("BTC/USDT")

    def build(state: Path | None, **attributes: Any) -> Definitions:
        component = SeamlessMarketsComponent(
            exchange="binance", config=str(tmp_path / FILE), **{"match": ["*/USDT"], **attributes}
        )
        return component.build_defs_from_state(ComponentTree.for_test().load_context, state)

    return build


def test_all_symbols_that_match_become_nodes_by_a_list_that_is_asked_for_once(
    markets: Callable[..., Definitions], tmp_path: Path, exchange: Sandbox
) -> None:
    def nodes(**attributes: Any) -> set[str]:
        keys = markets(state, **attributes).resolve_asset_graph().get_all_asset_keys()
        return {key.path[-1] for key in keys}

    component = SeamlessMarketsComponent(exchange="binance", match=["*"], config=str(tmp_path / FILE))
    state = tmp_path / "kept" / "state"
    component.write_state_to_path(state)
    asked = len(exchange.requests)
    assert {"BTC_USDT_1m", "ETH_USDT_1m"} <= nodes() and not any("__USDT" in name for name in nodes())
    assert "ETH_USDT_1m" not in nodes(exclude=["ETH*"])
    assert "BTC_USDT__USDT_1m" in nodes(match=["*/USDT:USDT"])
    assert len(exchange.requests) == asked
    made = markets(state, match=["ETH/USDT"])
    job = made.resolve_job_def("materialize_ohlcv_binance_1m")
    with DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key="2025-01-02")
    assert done.success and len(done.get_asset_materialization_events()) == 2


def test_before_its_first_list_there_are_the_nodes_of_the_file_and_what_is_no_list_is_refused(
    markets: Callable[..., Definitions], tmp_path: Path
) -> None:
    assert markets(None).resolve_asset_graph().get_all_asset_keys() == {BTC}
    state = tmp_path / "symbols"
    good = {"exchange": "binance", "symbols": ["BTC/USDT", "ETH/USDT"]}
    for held, more, said in [
        ("", {}, "holds no list of symbols"),
        ("[]", {}, "holds no list of symbols"),
        (json.dumps({**good, "symbols": [7]}), {}, "holds no list of symbols"),
        (json.dumps({**good, "exchange": "kraken"}), {}, "the symbols of kraken, not of binance"),
        (json.dumps(good), {"match": ["*/EUR"]}, "no symbol of binance matches \\*/EUR"),
        (json.dumps(good), {"max_symbols": 1}, "2 symbols of binance match"),
    ]:
        state.write_text(held)
        with pytest.raises(InvalidInput, match=said):
            markets(state, **more)
    with pytest.raises(InvalidChoice, match="kucoin is not in the settings"):
        load_settings(tmp_path / FILE).with_symbols("kucoin", ["BTC/USDT"])
