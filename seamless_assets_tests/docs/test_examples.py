"""The examples run as they stand, in short form; an error has its line on the page of errors."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from dagster import AssetKey, DagsterInstance
from support.docs_world import World

import seamless_assets as sa
from seamless_assets import errors
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

EXAMPLES = ROOT / "docs" / "examples"


def loaded(path: Path) -> ModuleType:
    """A file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"of_docs_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_of_research_runs_cell_by_cell(
    in_folder: World, capsys: pytest.CaptureFixture[str]
) -> None:
    made = loaded(ROOT / "ops" / "site" / "notebooks.py").notebook((EXAMPLES / "research.py").read_text())
    cells = json.loads(made)["cells"]
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds.count("code") >= 6 and kinds.count("markdown") >= 6
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            exec(compile(text, "research.ipynb", "exec"), names)
        else:
            assert not text.startswith("#!") and "# %%" not in text
    told = capsys.readouterr().out
    assert "4320 minutes of BTC/USDT, ETH/USDT" in told and "hours" in told and told.count("sha256:") == 2


NOW = START + 9 * DAY + 2 * 3_600
"""2025-01-10T02:00:00Z, when the last bar of the window closes."""


def test_the_live_loop_does_the_same_over_both_feeds_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = loaded(EXAMPLES / "live_loop.py")

    def release(until: int) -> None:
        with sa.connect(EXAMPLES / "live_loop.yaml") as s:
            for coin in ("BTC", "ETH"):
                assert s.materialize(f"ohlcv:binance:{coin}/USDT:1m", NOW - 2 * 3_600, until).released

    orders: dict[str, list[str]] = {}
    with Sandbox(now=NOW - 3_600).running() as exchange:
        monkeypatch.setenv("SEAMLESS_EXCHANGE", exchange.url)
        monkeypatch.setenv("DATA", str(tmp_path / "data"))
        for feed in ("polling", "websocket"):
            monkeypatch.setenv("FEED", feed)
            folder = tmp_path / feed
            folder.mkdir()
            monkeypatch.chdir(folder)
            exchange.clock.set(NOW - 3_600)
            release(NOW - 3_600)
            # Everything but the last bar of each node has closed when the loop begins.
            exchange.clock.run(NOW - 1, 1)
            if feed == "polling":
                # Left, and gone on with when more is released than it has heard of.
                loop.main("2025-01-10T00:00:00Z", "2025-01-10T01:20:00Z")
                release(NOW - 900)
            loop.main("2025-01-10T00:00:00Z", "2025-01-10T02:00:00Z")
            told = capsys.readouterr().out.splitlines()
            assert told[0].startswith("learned from ")
            orders[feed] = [line for line in told if line.startswith("ohlcv:")]
            loop.main("2025-01-10T00:00:00Z", "2025-01-10T02:00:00Z")
            assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("ohlcv:")]
    assert sorted(orders["polling"]) == sorted(orders["websocket"]) and len(orders["polling"]) > 3


def test_the_commands_at_the_head_of_the_live_loop_leave_it_bars_to_follow() -> None:
    head = loaded(EXAMPLES / "live_loop.py").__doc__ or ""
    released = re.findall(r"seamless materialize .* (\S+) (\S+)$", head, re.MULTILINE)
    loops = re.findall(r"python live_loop\.py (\S+)(?: (2\S+))?", head)
    assert len(released) == 2 and len(loops) == 3 and any(until for _, until in loops)
    for window in released:
        start, end = map(instant, window)
        assert all(start < instant(since) < end for since, _ in loops)
        assert all(instant(until) > end for _, until in loops if until)


def instant(text: str) -> datetime:
    """A date, or a time in UTC."""
    return datetime.fromisoformat(text.removesuffix("Z"))


def test_the_dagster_project_stands_by_itself(
    in_folder: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAMLESS_EXCHANGE", in_folder.exchange.url)
    folder = shutil.copytree(EXAMPLES / "dagster_project", tmp_path / "desk")
    project = loaded(folder / "definitions.py")
    job = project.defs.resolve_implicit_global_asset_job_def()
    derived = project.defs.resolve_assets_def(project.FOUR_HOURS).partitions_def.get_first_partition_key()
    runs = (
        ("2025-01", [project.BTC, project.ETH]),
        (derived, [project.FOUR_HOURS]),
        ("2025-01-02", [AssetKey("spread"), AssetKey("trend")]),
    )
    with DagsterInstance.ephemeral() as instance:
        for partition, keys in runs:
            assert job.execute_in_process(
                instance=instance, partition_key=partition, asset_selection=keys
            ).success
        (check,) = instance.event_log_storage.get_asset_check_execution_history(
            next(iter(project.prices_move.check_keys)), limit=1
        )
        assert check.status.value == "SUCCEEDED"


def test_every_error_says_why_and_what_to_do() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| <span id="(\w+)"></span>`(\w+)` \| (.+?) \| (.+) \|$', page, re.MULTILINE)
    tree = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.SeamlessError)
    }
    assert sorted(name for _, name, *_ in rows) == sorted(tree)
    for anchor, name, why, way_out in rows:
        assert anchor == name.lower() and len(why) > 20 and len(way_out) > 20 and why != way_out
