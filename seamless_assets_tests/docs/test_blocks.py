"""Every block of code in the pages is run, or is of a kind of which is said here why it is not."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pytest
import yaml
from cli.conftest import Typed, typed  # noqa: F401
from conftest import ROOT
from support.docs_world import ENVIRONMENT, World
from support.served import served

import bench.__main__ as bench
import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.cli.app import cli
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.config.settings import Settings
from seamless_assets.defs.component import SeamlessMarketsComponent
from seamless_assets.service.app import service_app

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
COMMAND, BENCH = re.compile(r"`seamless ([a-z][^`]*)`"), re.compile(r"`python -m bench([^`]*)`")
"""Commands of ours within a sentence or a table."""
RUN_ELSEWHERE = {
    "docs/dagster.md": "defs/test_docs.py",
    "docs/tutorials/dagster.md": "defs/test_docs.py",
    "docs/testing.md": "testing/test_page.py",
    "docs/runbooks.md": "ops/test_runbooks.py",
}
"""Pages whose programs, or blocks of no language, have a stage of their own."""
NOT_RUN = {
    "text": "drawings, what is printed, and commands that bring in what tests do not (containers, packages)",
    "console": "commands: ours are parsed, and run where they end by themselves and hang on nothing else",
}
RUNS_ON = {
    "accept": "half a minute; cli/test_accept.py",
    "coordinator": "a server; service/",
    "demo": "cli/test_demo.py",
    "doctor": "tells of this machine and its clock; cli/",
    "sandbox": "a server; sandbox/",
    "serve": "a server; cli/test_serve_command.py",
    "ui": "a server; cli/test_ui_command.py",
    "up": "a server; cli/test_ui_command.py",
}
"""Commands that are only parsed, and where they are run."""
SERVICE = re.compile(r"http://(data\.example|10\.0\.0\.5|127\.0\.0\.1):8765")
"""Where pages have a service."""
TABLES = "iceberg.md"
"""The page whose blocks want a mirror."""
OTHERS = {
    *("(umask", "cd", "celery", "dagster-daemon", "dagster-webserver", "docker", "export", "pip"),
    *("curl", "python", "python3", "systemctl", "uv"),
}
"""Programs that are none of ours."""
NOT_SETTINGS = {"scrape_configs": "Prometheus", "python_logs": "Dagster", "type": "Dagster's components"}


class Enough(Exception):
    """A loop that never ends has told what it had to."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    """The blocks of all pages in these languages, of each page in their order."""
    for page in PAGES:
        is_elsewhere = str(page.relative_to(ROOT)) in RUN_ELSEWHERE
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            if found["language"] in languages and not (is_elsewhere and found["language"] in ("", "python")):
                yield Block(page, line, found["language"], found["code"])


def test_every_block_is_of_a_known_kind() -> None:
    known = {"python", "yaml", "json", "sql", *NOT_RUN}
    every = [
        found["language"] for page in PAGES for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]
    fences = [
        line
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("```")
    ]
    assert len(every) * 2 == len(fences) and len(every) > 100
    unnamed = [b.name for b in blocks("")]
    assert not unnamed and set(every) - {""} <= known
    for page, test in RUN_ELSEWHERE.items():
        told = (ROOT / "seamless_assets_tests" / test).read_text(encoding="utf-8")
        assert (ROOT / page) in PAGES and page.replace("/", '" / "') in told


def test_the_python_of_the_pages_runs(
    in_folder: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[Path, dict[str, Any]] = {}
    leases = MachineLeases(tmp_path / "leases.sqlite")
    with sa.connect("seamless.yaml") as s, served(service_app(s, leases, scrape)) as url:
        for block in blocks("python"):
            if block.page.name != TABLES:
                run(block, names.setdefault(block.page, names_of_the_reader(s)), url)
    asyncio.run(leases.close())
    assert "orders" in capsys.readouterr().out


async def scrape() -> str:
    return ""


def names_of_the_reader(s: sa.Seamless) -> dict[str, Any]:
    """What pages take from the program around them."""

    def remember(cursor: str) -> None:
        raise Enough

    def act(event: sa.Bar, closes: dict[Any, float]) -> None:
        if len(closes) > 100:
            raise Enough

    node = "ohlcv:binance:BTC/USDT:1m"
    return {
        "__name__": "page",
        "sa": sa,
        "s": s,
        "node": node,
        "remember": remember,
        "paper": lambda event, closes: None,
        "real": act,
    }


def run(block: Block, names: dict[str, Any], url: str) -> None:
    """Execute a block with the lines of its page."""
    code = SERVICE.sub(url, block.code)
    tree = ast.increment_lineno(ast.parse(code, block.name), block.line - 1)
    try:
        exec(compile(tree, str(block.page), "exec"), names)
    except Enough:
        return


def test_the_settings_of_the_pages_are_settings(in_folder: World) -> None:
    base = yaml.safe_load(in_folder.text())
    seen = 0
    for block in blocks("yaml"):
        written = yaml.safe_load(block.code)
        if set(written) & set(NOT_SETTINGS):
            continue
        assert set(written) <= set(Settings.model_fields), block.name
        whole = {**base, **written, "seamless": {**base["seamless"], **written.get("seamless", {})}}
        if "derived" in written and "exchanges" not in written:
            whole["exchanges"] = exchanges_of(written["derived"])
        assert settings_from_mapping(whole, base=in_folder.folder, environ=ENVIRONMENT).nodes, block.name
        seen += 1
    assert seen > 15


def exchanges_of(derived: list[dict[str, Any]]) -> dict[str, Any]:
    """Exchanges that have the sources of derived nodes."""
    made = {one["node"] for one in derived}
    sources = {
        node
        for one in derived
        for node in (one.get("resample"), *one.get("synthetic", {}).get("legs", {}))
        if node
    }
    found: dict[str, Any] = {}
    for source in map(sa.NodeId.parse, sources - made):
        section = found.setdefault(source.exchange, {"symbols": [], "timeframes": []})
        section["symbols"] = sorted({*section["symbols"], source.symbol})
        section["timeframes"] = sorted({*section["timeframes"], str(source.timeframe)})
    return found


def test_the_component_of_the_page_has_such_attributes() -> None:
    page = (ROOT / "docs" / "dagster.md").read_text(encoding="utf-8")
    (written,) = (
        made
        for block in BLOCK.finditer(page)
        if block["language"] == "yaml" and (made := yaml.safe_load(block["code"])).get("type")
    )
    assert set(written["attributes"]) <= set(SeamlessMarketsComponent.model_fields)


def test_the_commands_of_the_pages_can_be_typed(in_folder: World, typed: Typed) -> None:  # noqa: F811
    ran: set[str] = set()
    for block in blocks("console"):
        lines = block.code.splitlines()
        assert all(line.startswith("$ ") for line in lines), block.name
        for line in lines:
            program, *words = shlex.split(line.removeprefix("$ "), comments=True)
            if Path(program).name == "seamless":
                ran |= typing(block, words, typed, ran)
            else:
                assert Path(program).name in OTHERS, (block.name, line)
    assert {"check", "coverage", "materialize", "read", "status", "token", "new"} <= ran


def test_commands_within_sentences_have_such_names_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    commands, benches = COMMAND.findall(text), BENCH.findall(text)
    assert len(commands) > 100 and benches
    assert not [command for command in commands if not is_known(*command.split())]
    for words in benches:
        bench.parse(shlex.split(words))


def is_known(name: str, *words: str) -> bool:
    """Whether there is such a command, with the options that are named beside it."""
    if name not in cli.commands:
        return False
    options = {option for one in cli.commands[name].params for option in one.opts}
    return {word for word in words if word.startswith("--")} <= options


def typing(block: Block, words: list[str], typed: Typed, ran: set[str]) -> set[str]:  # noqa: F811
    """Parse a command, and run it unless that was done or it is of those that run on."""
    name, *arguments = words
    command = cli.commands[name]
    assert isinstance(command, click.Command)
    command.make_context(name, list(arguments)).close()
    if name in RUNS_ON or "--port" in arguments or name == "mirror":
        return set()
    if name == "new":
        arguments = [f"new-{block.line}"]
    told = typed(name, *arguments)
    assert told.status == 0, (block.name, words, told)
    return {name}


def test_the_tables_of_the_page_are_read_by_other_engines(in_folder: World, typed: Typed) -> None:  # noqa: F811
    in_folder.mirrored()
    assert typed("mirror").status == 0
    (code,) = (block for block in blocks("python") if block.page.name == TABLES)
    names: dict[str, Any] = {}
    exec(compile(code.code, code.name, "exec"), names)
    assert 0 < names["release_2"].num_rows < names["newest"].num_rows == names["then"].num_rows
    (query,) = blocks("sql")
    with duckdb.connect() as database:
        for package in (duckdb_extension_avro, duckdb_extension_iceberg):
            (extension,) = Path(package.__path__[0]).rglob("*.duckdb_extension")
            database.load_extension(str(extension))
        assert len(database.sql(query.code).fetchall()) == names["newest"].num_rows


def test_the_messages_of_the_pages_are_json() -> None:
    assert [sorted(json.loads(block.code)) for block in blocks("json")]


def test_no_hash_of_the_pages_is_that_of_a_word() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r'sha256: "([0-9a-f]{64})"', text))
    words = {"", "test", "password", "changeme", "admin", *re.findall(r"[\w.-]+", text)}
    assert shown and not shown & {hashlib.sha256(word.encode()).hexdigest() for word in words}
