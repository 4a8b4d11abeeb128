"""The real UI in a real browser: a partition materialized from the command line, looked at in Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from support.browser import chromium
from support.services import await_answer, free_port

from seamless_assets.sandbox.server import Sandbox

WAIT_S = 60
TOOLS = Path(sys.executable).parent
KEY = "ohlcv/binance/BTC_USDT_1m"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's folder: the project's own files, its exchange the local one, one partition materialized."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    with Sandbox().running() as exchange:
        text = (ROOT / "seamless.yaml").read_text()
        (folder / "seamless.yaml").write_text(
            text.replace("${SEAMLESS_EXCHANGE:-http://127.0.0.1:8080}", exchange.url)
        )
        (folder / "data" / "dagster").mkdir(parents=True)
        subprocess.run(
            [
                TOOLS / "dagster",
                "asset",
                "materialize",
                "-m",
                "seamless_assets.definitions",
                "--select",
                f"key:{KEY}",
                "--partition",
                "2025-01-02",
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            env={"PATH": str(TOOLS), "DAGSTER_HOME": str(folder), "HOME": str(folder)},
        )
        yield folder


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


def test_a_release_by_hand_asks_for_node_and_reason(browser: Any, url: str) -> None:
    browser.get(f"{url}/locations/__repository__@seamless_assets/jobs/release_by_hand/playground")
    shows(browser, "release_by_hand_op", "node", "reason")


def test_schedules_and_sensors_are_there_and_off(browser: Any, url: str) -> None:
    browser.get(f"{url}/automation")
    shows(browser, "freshness_binance", "freshness_coinbase", "recovery", "verification_schedule")
