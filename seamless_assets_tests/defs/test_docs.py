"""The pages on Dagster are run: their code is a project each, and what is said of names is so."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from dagster import AssetKey, DagsterInstance, Definitions, FilesystemIOManager, mem_io_manager

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.config.automation import AutomationSettings
from seamless_assets.defs.inputs.instructions import _READERS, PREFIX
from seamless_assets.defs.names import FRESH, HELD, NODE_ID_METADATA, PUBLISHABLE, SETTLED, STABLE

START, DAY = 1_735_689_600, 86_400
PAGE = (ROOT / "docs" / "dagster.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorials" / "dagster.md").read_text()
AUTOMATION = (ROOT / "docs" / "automation.md").read_text()
UPKEEP = ("housekeeping", "verification", "fills", "inspection")
GOVERNING = ("release_by_hand", "rollback", "withdraw", "unpin")
HOURS = AssetKey(["ohlcv", "binance", "BTC_USDT_1h"])


@pytest.fixture
def project(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's first block as a module beside a seamless.yaml, in January 2025."""
    monkeypatch.setattr(SystemClock, "now", lambda _: START + 10 * DAY)
    folder = written("BTC/USDT", timeframes=("1h",)).parent
    code, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (folder / "project.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    import project

    yield project
    del sys.modules["project"]


def test_the_project_of_the_page_runs(
    project: Any, instance: DagsterInstance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Definitions(resources={"io_manager": FilesystemIOManager(base_dir=str(tmp_path / "kept"))})
    definitions = Definitions.merge(project.defs, kept)
    Definitions.validate_loadable(definitions)
    job = definitions.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance, partition_key="2025-01", asset_selection=[HOURS])
    passed = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    assert passed == {
        "publishable": True,
        "held": True,
        "settled": False,
        "fresh": True,
        "stable": True,
        "has_volume": True,
    }
    mean = job.execute_in_process(
        instance=instance, partition_key="2025-01-08", asset_selection=[project.weekly_mean.key]
    )
    assert mean.success
    event = instance.get_latest_materialization_event(project.weekly_mean.key)
    assert event is not None and event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert shown["bars/window"].value == "2025-01-02T00:00:00Z to 2025-01-09T00:00:00Z"
    assert {"bars/as_of", "bars/dataset_fingerprint", "bars/coverage"} <= set(shown)
    for derived in (project.four_hours, project.trend):
        made = job.execute_in_process(
            instance=instance, partition_key="2025-01-01", asset_selection=[derived.key]
        )
        assert made.success
    with sa.connect(project.nodes) as s:
        read = s.read("ohlcv:research:BTC_TREND/USDT:4h")
        (of,) = s.manifest(read.metadata.node_id, s.snapshot(read.metadata.node_id).artifacts[0]).inputs
    assert (read.metadata.rows, of.node_id) == (6, "ohlcv:research:BTC/USDT:4h")
    _, notebook, resource = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    capsys.readouterr()
    exec(compile(notebook, "docs/dagster.md", "exec"), {})
    assert "mean" in capsys.readouterr().out
    names: dict[str, Any] = {}
    exec(compile(resource, "docs/dagster.md", "exec", dont_inherit=True), names)
    with_levels = Definitions.merge(definitions, Definitions(assets=[names["levels"]]))
    job = with_levels.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[names["levels"].key]).success
    assert "Condition(partition='2025-01'" in capsys.readouterr().out


def test_the_tutorial_runs_to_its_end_and_pins_what_was_read(
    written: Callable[..., Path],
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda _: START + 10 * DAY)
    monkeypatch.chdir(written("BTC/USDT", timeframes=("1h",)).parent)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL):
        exec(compile(block, "docs/tutorials/dagster.md", "exec", dont_inherit=True), names)
    kept = Definitions(assets=[names["pinned_range"]], resources={"io_manager": mem_io_manager})
    job = Definitions.merge(names["defs"], kept).resolve_implicit_global_asset_job_def()
    made = job.execute_in_process(
        instance=instance, partition_key="2025-01-03", asset_selection=[names["pinned_range"].key]
    )
    assert made.success and made.output_for_node("pinned_range") > 0
    assert names["known"] in capsys.readouterr().out


def test_the_page_names_all_there_is(project: Any) -> None:
    named = set(re.findall(rf"`({PREFIX}\w+)`", PAGE))
    assert named == {f"{PREFIX}{name}" for name in _READERS} | {NODE_ID_METADATA}
    repository = project.defs.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    automation = {one.name for one in (*repository.schedule_defs, *repository.sensor_defs)}
    made = {"materialize_ohlcv_binance_1h", "derive_ohlcv_research_BTC_USDT_4h", "derive_trend"}
    assert jobs - made == {*GOVERNING, *UPKEEP}
    resources = {name for name in project.defs.resources if name.startswith("seamless")}
    others = {
        *GOVERNING,
        PUBLISHABLE,
        HELD,
        SETTLED,
        FRESH,
        STABLE,
        *UPKEEP,
        "materialize_ohlcv_<exchange>_<timeframe>",
        "derive_<asset>",
    }
    assert all(f"`{name}`" in PAGE for name in resources | others)
    general = {name.replace("binance", "<exchange>").replace("1h", "<timeframe>") for name in automation}
    assert set(re.findall(r"^\| `(\S+)` \|", AUTOMATION, re.MULTILINE)) == general


def test_the_settings_of_the_page_are_the_usual_ones() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", AUTOMATION, re.DOTALL)
    written = yaml.safe_load(block)["automation"]
    usual = AutomationSettings().model_dump(exclude_none=True)
    assert AutomationSettings.model_validate(written) == AutomationSettings()
    assert written == usual
