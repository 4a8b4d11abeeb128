"""Headless Chromium; without it tests skip, on CI they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import require_program
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_WHY = "pages are looked at in headless Chromium"


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser that keeps what it keeps in `folder`."""
    driver = require_program("chromedriver", _WHY)
    options = Options()
    options.binary_location = require_program("chromium", _WHY)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=1600,1200", f"--user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()
