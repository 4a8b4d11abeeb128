"""The real UI in a real browser: nodes are found, materialized, released by hand and rolled back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import yaml
from conftest import ROOT
from dagster import AssetKey, DagsterInstance
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support.browser import chromium
from support.dagster_project import QUIET
from support.services import await_answer, free_port

import seamless_assets as sa
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

WAIT_S = 60
PRESS_S = 10
"""A press that brought no run by then was lost."""
TOOLS = Path(sys.executable).parent
KEY, HELD_BACK = "ohlcv/binance/BTC_USDT_1m", "ohlcv/binance/ETH_USDT_1m"
GROWING, MADE = "ohlcv/coinbase/BTC_USD_1m", "ohlcv/binance/ETH_USDT_1h"
RUNNING = "2025-01-04"
AT_ONCE = """
# What is launched begins at once: no daemon takes it from a queue.
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
JOBS = "locations/__repository__@seamless_assets/jobs"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's folder: the project's own files, its exchange the local one, and some runs.

    One node has a range of partitions, of another a partition was held back by its check, and a third has the
    day that is not over by the exchange's clock, which stands at noon.
    """
    folder = tmp_path_factory.mktemp("project")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    with Sandbox().running() as exchange:
        exchange.clock.set(START + 3 * DAY + DAY // 2)
        text = (ROOT / "seamless.yaml").read_text()
        (folder / "seamless.yaml").write_text(
            text.replace("${SEAMLESS_EXCHANGE:-http://127.0.0.1:8080}", exchange.url)
        )
        (folder / "data" / "dagster").mkdir(parents=True)
        with (folder / "dagster.yaml").open("a") as file:
            file.write(AT_ONCE)
        with contextlib.chdir(folder), DagsterInstance.from_config(str(folder)) as instance:
            materialize(folder, instance, KEY, "2025-01-02", "2025-01-03")
            materialize(folder, instance, GROWING, RUNNING, RUNNING)
            exchange.faults.add(Fault("inverted", path="klines", symbol="ETHUSDT", times=None))
            materialize(folder, instance, HELD_BACK, "2025-01-02", "2025-01-02")
            exchange.faults.clear()
        yield folder


def materialize(folder: Path, instance: DagsterInstance, key: str, first: str, last: str) -> None:
    """Materialize a node over a range of partitions."""
    definitions = build_definitions(load_settings(folder / "seamless.yaml"))
    job = definitions.resolve_job_def(f"materialize_ohlcv_{key.split('/')[1]}_1m")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    selected = [AssetKey(key.split("/"))]
    job.execute_in_process(
        instance=instance, tags=tags, asset_selection=selected, raise_on_error=False, run_config=QUIET
    )


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    """The address of `dagster-webserver`, once it answers."""
    port, log = free_port(), project / "webserver.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [TOOLS / "dagster-webserver", "-w", "workspace.yaml", "-p", str(port)],
            cwd=project,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": str(TOOLS), "DAGSTER_HOME": str(project), "HOME": str(project)},
        )
    try:
        await_answer(server, f"http://127.0.0.1:{port}/server_info", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def shows(browser: Any, *words: str) -> None:
    """Wait until the page shows all `words`."""

    def found(_: Any) -> bool:
        text = browser.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    WebDriverWait(browser, WAIT_S).until(found, f"{browser.current_url} never showed {words}")


def launch(browser: Any, url: str, job: str) -> None:
    """Press the button of the launchpad until there is a run: a page that is being drawn loses presses."""

    pressed = 0.0

    def launched(_: Any) -> bool:
        nonlocal pressed
        buttons = browser.find_elements(By.XPATH, "//button[contains(., 'Launch Run')][not(@disabled)]")
        if buttons and time.monotonic() - pressed > PRESS_S and not runs_of(url, job):
            browser.execute_script("arguments[0].click()", buttons[0])
            pressed = time.monotonic()
        return "/runs/" in browser.current_url

    WebDriverWait(browser, WAIT_S).until(launched, "nothing was launched")
    assert len(runs_of(url, job)) == 1


def runs_of(url: str, job: str) -> list[str]:
    """The runs of a job, as the webserver knows them."""
    query = f'{{runsOrError(filter: {{pipelineName: "{job}"}}) {{... on Runs {{results {{runId}}}}}}}}'
    asked = Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(asked, timeout=WAIT_S) as answer:
        return [run["runId"] for run in json.load(answer)["data"]["runsOrError"]["results"]]


def press(browser: Any, words: str) -> None:
    """Press the button of these words, once it can be."""
    path = f"//button[contains(., '{words}')][not(@disabled)]"
    found = WebDriverWait(browser, WAIT_S).until(lambda b: b.find_elements(By.XPATH, path), f"no {words}")
    browser.execute_script("arguments[0].click()", found[0])


def keep_picture(browser: Any, name: str) -> None:
    """Write the page as a picture of the docs, where the environment asks for new ones."""
    if os.environ.get("SEAMLESS_DOCS_PICTURES"):
        browser.save_screenshot(str(ROOT / "docs" / "images" / f"{name}.png"))


def test_the_graph_shows_every_node(browser: Any, url: str) -> None:
    browser.get(f"{url}/asset-groups")
    shows(browser, "binance", "coinbase")
    browser.get(f"{url}/locations/__repository__@seamless_assets/asset-groups/binance/lineage")
    shows(browser, "BTC_USDT_1m", "ETH_USDT_1m", "BTC_USDT_1h", "ETH_USDT_1h", "4 / 5 Passed")


def test_a_partition_shows_its_manifest_and_its_candles(browser: Any, url: str) -> None:
    browser.get(f"{url}/assets/{KEY}?view=partitions&partition=2025-01-02")
    shows(browser, "2025-01-02", "manifest", "dataset_fingerprint", "sha256:", "coverage")
    (button, *_) = browser.find_elements(By.XPATH, "//*[text()='[Show Markdown]']")
    browser.execute_script("arguments[0].click()", button)
    picture = WebDriverWait(browser, WAIT_S).until(
        lambda b: b.find_element(By.CSS_SELECTOR, "img[alt=candles]"), "no candle chart"
    )
    WebDriverWait(browser, WAIT_S).until(
        lambda b: b.execute_script("return arguments[0].naturalWidth", picture) > 300, "an empty chart"
    )
    keep_picture(browser, "partition")


def test_the_blocking_check_shows_its_verdict(browser: Any, url: str) -> None:
    browser.get(f"{url}/assets/{KEY}?view=checks&checkDetail=publishable")
    shows(browser, "publishable", "Passed", "blocking", "missing_bars")


def test_each_partition_of_a_range_shows_its_own_manifest(browser: Any, url: str, project: Path) -> None:
    with sa.connect(project / "seamless.yaml") as s:
        refs = s.snapshot("ohlcv:binance:BTC/USDT:1m").artifacts
    assert [ref.partition for ref in refs] == ["2025-01-02", "2025-01-03"]
    for ref in refs:
        browser.get(f"{url}/assets/{KEY}?view=partitions&partition={ref.partition}")
        shows(browser, "artifact_fingerprint", ref.fingerprint)


def test_a_partition_that_was_held_back_is_released_by_hand_and_turns_green(
    browser: Any, url: str, project: Path
) -> None:
    checks = f"{url}/assets/{HELD_BACK}?view=checks&checkDetail=publishable"
    browser.get(checks)
    shows(browser, "publishable", "Failed", "conformance found ohlc_inconsistent")
    asked = {"node": HELD_BACK, "partition": "2025-01-02", "reason": "the row was looked at"}
    config = yaml.safe_dump({"ops": {"release_by_hand_op": {"config": asked}}})
    browser.get(f"{url}/{JOBS}/release_by_hand/playground/setup?config={quote(config)}")
    shows(browser, "release_by_hand_op", "the row was looked at")
    launch(browser, url, "release_by_hand")
    shows(browser, "RUN_SUCCESS")
    browser.get(checks)
    shows(browser, "publishable", "Passed", "2025-01-02 released by hand: the row was looked at")
    keep_picture(browser, "released_by_hand")


def test_a_node_is_found_by_its_id(browser: Any, url: str) -> None:
    browser.get(f"{url}/asset-groups")
    shows(browser, "binance", "coinbase")
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    box = WebDriverWait(browser, WAIT_S).until(
        lambda b: b.find_element(By.CSS_SELECTOR, "input[placeholder*='earch']"), "no search"
    )
    # Dagster searches keys, word by word: parts of an id that spaces keep apart are found however short.
    for words, found in {
        "ohlcv coinbase BTC/USD 1m": "ohlcv / coinbase / BTC_USD_1m",
        "binance ETH/USDT 1h": "ohlcv / binance / ETH_USDT_1h",
        "binance:ETH/USDT:1m": "ohlcv / binance / ETH_USDT_1m",
    }.items():
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(words)
        shows(browser, found)
    keep_picture(browser, "found_by_id")
    box.send_keys(Keys.ENTER)
    WebDriverWait(browser, WAIT_S).until(lambda b: "/ETH_USDT_1m" in b.current_url, "it was not opened")
    shows(browser, "ohlcv:binance:ETH/USDT:1m")


def test_a_day_that_is_not_over_is_told_as_such(browser: Any, url: str) -> None:
    browser.get(f"{url}/assets/{GROWING}?view=partitions&partition={RUNNING}")
    shows(browser, "is_over", "false", "settled_until", "lag_seconds")
    browser.get(f"{url}/assets/{GROWING}?view=checks&checkDetail=settled")
    shows(browser, f"{RUNNING} is settled until", "materialize it again after that")
    keep_picture(browser, "running_day")


def test_a_partition_is_materialized_by_hand(browser: Any, url: str) -> None:
    browser.get(f"{url}/assets/{MADE}?view=partitions")
    shows(browser, "2025-01", "Missing")
    press(browser, "Materialize")
    boxes = WebDriverWait(browser, WAIT_S).until(
        lambda b: b.find_elements(By.CSS_SELECTOR, "[role=dialog] input[placeholder^='ex:']"), "no choice"
    )
    boxes[-1].send_keys(Keys.CONTROL, "a")
    boxes[-1].send_keys("2025-01", Keys.TAB)
    press(browser, "Launch 1 run")
    WebDriverWait(browser, WAIT_S).until(lambda _: runs_of(url, "__ASSET_JOB"), "nothing was launched")
    browser.get(f"{url}/runs/{runs_of(url, '__ASSET_JOB')[0]}")
    shows(browser, "RUN_SUCCESS")
    browser.get(f"{url}/assets/{MADE}?view=partitions&partition=2025-01")
    shows(browser, "Materialized", "dataset_fingerprint", "sha256:")


def test_a_rollback_is_told_on_the_pages_it_changed(browser: Any, url: str) -> None:
    asked = {"node": KEY, "to": 1, "reason": "the last day is doubtful"}
    config = yaml.safe_dump({"ops": {"rollback_op": {"config": asked}}})
    browser.get(f"{url}/{JOBS}/rollback/playground/setup?config={quote(config)}")
    shows(browser, "rollback_op", "the last day is doubtful")
    launch(browser, url, "rollback")
    shows(browser, "RUN_SUCCESS")
    browser.get(f"{url}/assets/{KEY}?view=checks&checkDetail=publishable")
    shows(browser, "2025-01-03 rolled back: the last day is doubtful")
    browser.get(f"{url}/assets/{KEY}?view=partitions&partition=2025-01-03")
    shows(browser, "released", "false", "rolled back", "the last day is doubtful")
    keep_picture(browser, "rolled_back")


def test_a_tick_of_a_sensor_says_what_it_asks_for(browser: Any, url: str) -> None:
    browser.get(f"{url}/locations/__repository__@seamless_assets/sensors/freshness_coinbase")
    press(browser, "Preview tick result")
    press(browser, "Continue")
    shows(browser, "1 run request")
    keep_picture(browser, "sensor_tick")


def test_schedules_and_sensors_are_there_and_off(browser: Any, url: str) -> None:
    browser.get(f"{url}/automation")
    shows(browser, "freshness_binance", "freshness_coinbase", "recovery", "verification_schedule")
