"""The page: what it is made of, and what a real browser shows of a fleet and of one node."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from service.conftest import NODE, THIN, Client
from support.browser import chromium
from support.served import served

import seamless_assets.service
from seamless_assets.testing import START

PAGE = Path(seamless_assets.service.__file__).parent / "page"
WAIT_S = 60


async def test_every_part_of_the_page_is_served_and_none_comes_from_elsewhere(client: Client) -> None:
    async with client() as ask:
        assert (await ask.get("/")).headers["Location"].endswith("page/")
        parts = ["", *(path.name for path in PAGE.iterdir())]
        for name in parts:
            answer = await ask.get(f"/page/{name}")
            assert (
                answer.status_code == 200
                and "default-src 'none'" in answer.headers["Content-Security-Policy"]
            )
            assert not re.search(r"(https?:)?//[a-z]", answer.text), name
            for named in re.findall(r"""(?:src|href|from) ?=? ?"(?:\./)?([a-z]+\.(?:js|css))""", answer.text):
                assert named in parts
        for name in ("nope.js", "..%2Fapp.py", "app.py", "__init__.py"):
            assert (await ask.get(f"/page/{name}")).status_code == 404


async def test_the_page_is_open_to_all_and_what_it_shows_is_not(client: Client) -> None:
    async with client(tokens=True) as ask:
        assert (await ask.get("/page/")).status_code == 200
        assert "Basic" in (await ask.get("/v1/nodes")).headers["WWW-Authenticate"]


COLOURS = """
const canvas = arguments[0], pen = canvas.getContext("2d");
const data = pen.getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
for (let at = 0; at < data.length; at += 4) seen.add(data.slice(at, at + 3).join());
return seen.size;
"""


def test_a_browser_shows_the_fleet_and_a_corrected_bar(
    make_app: Callable[..., FastAPI], tmp_path: Path
) -> None:
    with served(make_app(dialects=True)) as url, chromium(tmp_path) as browser:
        asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": START * 1_000}
        assert httpx.get(f"{url}/binance/api/v3/klines", params=asked).status_code == 200

        def wait(found: Callable[[Any], Any]) -> Any:
            return WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(found)

        def shows(*words: str) -> None:
            wait(lambda _: all(word in browser.find_element(By.TAG_NAME, "body").text for word in words))

        browser.get(f"{url}/")
        shows("BTC/USDT", "BTC/USDT:USDT", "2 nodes", "100.00 %", "Nothing is being filled.")
        shows("Bots", "/api/v3/klines BTCUSDT 1m", "Asked of the exchange")
        strips = browser.find_elements(By.CSS_SELECTOR, ".node canvas")
        assert len(strips) == len([NODE, THIN])
        # The hole of the first is seen in its strip.
        holed, whole = (browser.execute_script(COLOURS, strip) for strip in strips)
        assert holed > whole == 1
        browser.get(f"{url}/page/#{quote(NODE, safe='')}")
        shows("Release log", "materialized", "#2")
        wait(lambda _: "2025-01-02 00:00" in browser.find_element(By.ID, "window").text)
        for _ in range(8):
            browser.find_element(By.ID, "earlier").click()
        wait(lambda _: "2025-01-01 00:00" in browser.find_element(By.ID, "window").text)
        shows("1 revised")
        assert browser.execute_script(COLOURS, browser.find_element(By.ID, "chart")) > 4
        shows("volume")
        # On a phone nothing but tables that move by themselves is wider than the screen.
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        for page in ("", f"#{quote(NODE, safe='')}"):
            browser.get(f"{url}/page/{page}")
            shows("BTC/USDT")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= phone["width"]
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
