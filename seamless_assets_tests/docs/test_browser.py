"""The site in a real browser: it fits desk and phone, can be read, says no errors, and asks nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.browser import chromium

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
PAGES = (
    *("index", "start", "thinking", "comparisons", "results", "errors", "live", "runbooks", "examples"),
    *("reference/settings", "reference/commands", "reference/connect", "reference/metrics"),
)
"""One page of each form."""
LOADED = "return performance.getEntriesByType('resource').map(one => one.name)"
BEYOND = """
const width = document.documentElement.clientWidth;
const scrolls = element => { for (let at = element; at !== document.body; at = at.parentElement) {
  if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return true; } return false; };
return [document.documentElement.scrollWidth - width,
  [...document.querySelectorAll('.md-content *, .hero *')].filter(
    one => one.getBoundingClientRect().right > width + 1 && !scrolls(one.parentElement)
  ).map(one => one.outerHTML.slice(0, 120)).slice(0, 3),
  [...document.querySelectorAll('.md-typeset__scrollwrap')].filter(
    one => one.scrollWidth > one.clientWidth
  ).map(one => one.innerText.slice(0, 120)),
  [...document.images].filter(one => one.complete && !one.naturalWidth).map(one => one.src)];
"""
"""How far the page is wider than its window, what hangs over its edge where nobody can scroll to it, which
tables have to be scrolled, which pictures are not there."""
SCHEMES = ("default", "slate")
"""Light and dark, which every page can be switched to."""
FAINT = """
document.body.setAttribute('data-md-color-scheme', arguments[0]);
const parts = colour => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
const over = (upper, lower) => lower.map((part, at) => part * (1 - upper[3]) + upper[at] * upper[3]);
const behind = element => element ? over(parts(getComputedStyle(element).backgroundColor),
  behind(element.parentElement)) : [255, 255, 255];
const light = colour => colour.map(part => part / 255).map(
  part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
).reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0.05);
const faint = element => {
  const ground = behind(element), ink = over(parts(getComputedStyle(element).color), ground);
  const [less, more] = [light(ground), light(ink)].sort((one, other) => one - other);
  return more / less < 4.5; };
return [...document.querySelectorAll('.md-content *')].filter(
  one => !one.matches('.headerlink') && one.getClientRects().length
    && [...one.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()) && faint(one)
).map(one => one.outerHTML.slice(0, 120)).slice(0, 3);
"""
"""Words in a scheme that are too like what is behind them to be read (WCAG AA: 4.5)."""
AT_ONCE = "document.head.insertAdjacentHTML('beforeend', '<style>* {transition: none !important}</style>')"
PLANTED = """
const [box, held] = ['div', 'div'].map(name => document.createElement(name));
box.append(held); held.id = 'planted'; held.style.width = '3000px'; held.textContent = 'wide';
box.style.overflowX = arguments[0]; document.querySelector('.md-content__inner').append(box);
"""
"""Something wide in a box that lets it hang out, cuts it, or scrolls."""


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_site_fits_and_keeps_to_itself(address: str, tmp_path: Path) -> None:
    looked_at(address, PAGES, tmp_path)


@pytest.mark.deep
def test_every_page_fits_and_keeps_to_itself(address: str, site: Path, tmp_path: Path) -> None:
    every = sorted(str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html"))
    assert set(PAGES) <= set(every)
    looked_at(address, [page for page in every if page != "404"], tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_out_of_reach_or_too_faint_is_found(address: str, tmp_path: Path, size: str) -> None:
    with chromium(tmp_path / "browser") as browser:
        for overflow, is_lost in (("visible", True), ("hidden", True), ("auto", False)):
            browser.get(f"{address}/start.html")
            sized(browser, size)
            assert browser.execute_script(BEYOND)[1] == []
            browser.execute_script(AT_ONCE)
            browser.execute_script(PLANTED, overflow)
            over = browser.execute_script(BEYOND)[1]
            assert ['id="planted"' in one for one in over] == [True] * is_lost, overflow
            browser.execute_script("document.getElementById('planted').style.color = '#777777'")
            assert [len(browser.execute_script(FAINT, scheme)) for scheme in SCHEMES] == [1, 1]


def sized(browser: Any, name: str) -> None:
    """Let a page have the window of a desk or of a phone."""
    width, height = SIZES[name]
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def looked_at(address: str, pages: Sequence[str], tmp_path: Path) -> None:
    """Look at pages in both sizes, and at what the browser says of them."""
    with chromium(tmp_path / "browser") as browser:
        for page in pages:
            browser.get(f"{address}/{page}.html")
            for name in SIZES:
                sized(browser, name)
                wider, over, scrolled, torn = browser.execute_script(BEYOND)
                assert (wider, over, torn) == (0, [], []), (page, name)
                assert name == "phone" or not scrolled, (page, scrolled)
            browser.execute_script(AT_ONCE)
            for scheme in SCHEMES:
                assert browser.execute_script(FAINT, scheme) == [], (page, scheme)
            loaded = browser.execute_script(LOADED)
            assert loaded and all(url.startswith(address) for url in loaded), (page, loaded)
        said = [entry for entry in browser.get_log("browser") if "favicon.ico" not in entry["message"]]
        assert not said
