"""The built site: links, anchors, pictures, and references that leave nothing out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
import yaml
from conftest import ROOT
from pydantic import BaseModel

import seamless_assets as sa
from seamless_assets import defs, testing
from seamless_assets.cli.app import cli
from seamless_assets.config.settings import Settings
from seamless_assets.metrics.catalogue import CATALOGUE


@dataclass
class Page(HTMLParser):
    """What a page names, and what can be named of it."""

    html: str
    ids: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    pictures: dict[str, str] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._is_cell = False
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loaded.add(given["src"])
        elif tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            self.loaded.add(given["href"])
        if tag == "img":
            self.pictures[given["src"]] = given.get("alt", "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_links_anchors_and_pictures_are_there_and_nothing_comes_from_elsewhere(
    site: Path, pages: dict[Path, Page]
) -> None:
    assert len(pages) > 45
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for target in page.links | page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loaded or parts.scheme not in ("https", "http", "mailto"):
                    broken.append((path.name, target, "is loaded from elsewhere"))
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_relative_to(site.resolve()) or not file.is_file():
                broken.append((path.name, target, "is not there"))
            elif parts.fragment and file.suffix == ".html":
                named = pages[site / file.relative_to(site.resolve())].ids if file != path else page.ids
                if unquote(parts.fragment) not in named:
                    broken.append((path.name, target, "has no such anchor"))
        broken += [
            (path.name, src, "has no words in its place")
            for src, alt in page.pictures.items()
            if not alt and "logo" not in src
        ]
    assert not broken


def test_every_page_can_be_found(site: Path, pages: dict[Path, Page]) -> None:
    """Each page of docs/ is built, and named in the navigation of the first page."""
    written = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in pages} - {Path("404.html")}
    assert written <= built
    found = {Path(unquote(urlsplit(link).path)) for link in pages[site / "index.html"].links}
    assert built - found == {Path("index.html")} - found


def test_code_and_lists_are_laid_out_as_such(pages: dict[Path, Page]) -> None:
    """What Markdown of other makers takes for a list or a fence is one here too."""
    torn = [
        path.name
        for path, page in pages.items()
        if "\n- " in text_of(page.html) or "```" in text_of(page.html)
    ]
    assert not torn


def text_of(html: str) -> str:
    """The paragraphs of a page."""
    return "\n\n".join(part.partition("</p>")[0] for part in html.split("<p>")[1:])


def test_the_settings_are_all_there_with_a_meaning(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "settings.html"]
    rows = [row for row in page.rows if len(row) == 4 and row[0] != "key"]
    wanted = sorted(keys_of(Settings))
    assert sorted(row[0] for row in rows) == wanted and len(wanted) > 150
    assert not [row[0] for row in rows if not row[1] or not row[3]]


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """The keys that hold values, of a model and all below it."""
    for key, one in model.model_fields.items():
        below = model_below(one.annotation)
        yield from keys_of(below) if below else [key]


def model_below(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for part in getattr(kind, "__args__", ()) if (found := model_below(part))), None)


def test_the_commands_and_their_options_are_all_there(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "commands.html"]
    assert set(cli.commands) <= page.ids
    told = "\n".join(cell for row in page.rows for cell in row)
    for command in cli.commands.values():
        for option in command.params:
            assert isinstance(option, click.Argument) or option.opts[0] in told, (command.name, option.name)


def test_the_page_of_commands_names_each_of_them() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    named = {word for code in re.findall(r"`([^`]+)`", page) for word in code.split()}
    assert not set(cli.commands) - named


WITH_DERIVED_NODES = "derivation"
"""The sensor of projects that have some, as that of the snapshot has not."""


def test_jobs_schedules_and_sensors_that_pages_name_are_those_of_the_definitions() -> None:
    shown = yaml.safe_load((ROOT / "seamless_assets_tests" / "defs" / "definitions.yaml").read_text())
    wrong = [
        (page.name, kind, name)
        for page in (ROOT / "docs").rglob("*.md")
        for kind, name in re.findall(
            r"\b(job|schedule|sensor)s? \[?`([a-z_]+)`", page.read_text(encoding="utf-8")
        )
        if name not in {*shown[f"{kind}s"], WITH_DERIVED_NODES}
    ]
    assert not wrong


def test_the_metrics_and_alerts_are_all_there(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "metrics.html"]
    assert {metric.name for metric in CATALOGUE} <= page.ids
    runbooks = {f"../runbooks.html#{m.alert.name.lower()}" for m in CATALOGUE if m.alert}
    assert runbooks <= page.links


def test_what_is_exported_is_all_there(pages: dict[Path, Page]) -> None:
    shown = {name for page in pages.values() for name in page.ids}
    ends = {name.rpartition(".")[2] for name in shown if name.startswith("seamless_assets.")}
    classes_and_functions = {name for name in testing.__all__ if name not in ("DAY", "START")}
    assert {*sa.__all__} - {"SeamlessError"} | classes_and_functions | {*defs.__all__} <= ends
    methods = {name for name in vars(sa.Seamless) if not name.startswith("_")} - {"settings"}
    assert methods <= ends
