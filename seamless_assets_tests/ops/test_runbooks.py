"""The runbooks: each alert has its own, and every command in them is one that works."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli.conftest import NODE, Typed, exchange, project, typed  # noqa: F401
from conftest import ROOT

import seamless_assets as sa
from seamless_assets.cli.app import cli
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.catalogue import CATALOGUE
from seamless_assets.metrics.runbooks import page

PAGE = (ROOT / "docs" / "runbooks.md").read_text()
PARTS = ("**Means.**", "**See.**", "**Do.**", "**Over.**")
ALERTS = sorted(metric.alert.name for metric in CATALOGUE if metric.alert)
SECTIONS = {
    head: body for head, body in re.findall(r"^#+ (.+)\n((?:(?!^#).*\n)*)", PAGE, re.MULTILINE) if body
}
OTHERS = {"export", "curl", "timedatectl"}
"""Programs that are none of ours."""


def commands(text: str) -> Iterator[list[str]]:
    """What is typed in a part of the page: blocks of code and, in tables, what is quoted of `seamless`."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (shlex.split(line) for line in block.splitlines())
    for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
        yield from (shlex.split(quoted) for quoted in re.findall(r"`(seamless [^`]+)`", row) if " " in quoted)


def filled(words: list[str], as_of: str = "2025-02-01T00:00:00Z") -> list[str]:
    """A command with the node and window of the test's project."""
    values = {"$NODE": NODE, "$START": "2025-01-01", "$END": "2025-01-02", "$AS_OF": as_of}
    values["$WORLD"] = "default"
    return [values.get(word, word) for word in words]


def test_every_alert_has_a_runbook_and_links_to_it() -> None:
    anchors = {head.lower().replace(" ", "-") for head in SECTIONS}
    assert {name.lower() for name in ALERTS} <= anchors
    for rule in alert_rules()["groups"][0]["rules"]:
        command = f"`seamless metrics --runbook {rule['alert']}`"
        assert rule["annotations"]["action"].endswith(f"; runbook: {command}")
    assert {head for head in SECTIONS if head.startswith("Seamless")} == set(ALERTS)


def test_the_package_has_the_page_that_the_documentation_shows() -> None:
    assert page() == PAGE


@pytest.mark.parametrize("name", [*ALERTS, "Rollback"])
def test_a_runbook_is_printed_where_no_page_lies(name: str, typed: Typed) -> None:  # noqa: F811
    told = typed("metrics", "--runbook", name)
    assert told.status == 0 and told.out.startswith(f"{name}\n") and "](" not in told.out
    lines = [line for line in SECTIONS[name].splitlines() if line.strip() and "](" not in line]
    assert lines and set(lines) <= set(told.out.splitlines())
    others = {head for head in SECTIONS if head != name}
    assert not others & {line.strip("# ") for line in told.out.splitlines()}


@pytest.mark.parametrize("more", [("--port", "9"), ("--rules",), ("--dashboard", "fleet")])
def test_a_runbook_beside_what_else_is_printed_is_refused(more: tuple[str, ...], typed: Typed) -> None:  # noqa: F811
    told = typed("metrics", "--runbook", "all", *more)
    assert told.status == 2 and f"{more[0]} " in told.err and "give one of them" in told.err


def test_a_runbook_that_is_not_there_is_refused_with_the_nearest(typed: Typed) -> None:  # noqa: F811
    told = typed("metrics", "--runbook", "SeamlesLiveStale")
    assert told.status == 1 and "did you mean SeamlessLiveStale?" in told.err
    assert typed("metrics", "--runbook", "all").out.rstrip() == PAGE.rstrip()


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_it_means_how_to_see_it_what_to_do_and_when_it_is_over(name: str) -> None:
    places = [SECTIONS[name].find(part) for part in PARTS]
    assert -1 not in places and places == sorted(places)
    for part in PARTS:
        said = SECTIONS[name].partition(part)[2].split("\n")[0].strip()
        assert len(said) > 10 and said.endswith("."), (name, part)


def test_every_command_is_one_that_can_be_typed() -> None:
    known = 0
    for words in commands(PAGE):
        program, *rest = filled(words)
        assert program == "seamless" or (program in OTHERS and rest), words
        if program == "seamless":
            name, *arguments = rest
            command = cli.commands[name]
            assert isinstance(command, click.Command)
            command.make_context(name, arguments).close()
            known += 1
    assert known > 40


def test_what_is_done_by_hand_works_as_it_is_written(project: Path, typed: Typed) -> None:  # noqa: F811
    with sa.connect(project / "seamless.yaml") as pipeline:
        assert pipeline.materialize(NODE, "2025-01-01", "2025-01-02").released
    asked: set[str] = set()
    for section in ("Backfill by hand", "Stuck lease", "Wrong clock", "A full disk", "Rollback"):
        type_all(section, typed, asked)
    # After all of that the hot store is lost, with what was known of the exchange.
    for file in (project / "data").glob("hot.sqlite*"):
        file.unlink()
    shutil.rmtree(project / "data" / "state")
    type_all("Lost hot store", typed, {"doctor", "verify"} & asked)
    with sa.connect(project / "seamless.yaml") as pipeline:
        assert pipeline.coverage(NODE, "2025-01-01", "2025-01-02").missing == 0


def type_all(section: str, typed: Typed, asked: set[str]) -> None:  # noqa: F811
    """Type the commands of a section; the two slow looks only once."""
    for words in commands(SECTIONS[section]):
        program, *rest = filled(words)
        if program == "seamless" and rest[0] not in {"doctor", "verify"} & asked:
            asked.add(rest[0])
            told = typed(*rest)
            assert told.status == 0, (words, told)


def test_a_migration_has_its_seven_phases(project: Path, typed: Typed) -> None:  # noqa: F811
    phases = re.findall(r"^\| (\d)\. ", SECTIONS["Migration"], re.MULTILINE)
    assert phases == [str(number) for number in range(1, 8)]
    with sa.connect(project / "seamless.yaml") as pipeline:
        pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
        as_of = pipeline.releases(NODE)[-1].as_of
    for words in commands(SECTIONS["Migration"]):
        told = typed(*filled(words, as_of)[1:])
        assert told.status == 0, (words, told)
