"""Rows with what they were measured on, kept as JSON, so that a page can be made of several runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import MsgspecError
from msgspec.json import Decoder

from bench.ending import ENDING
from bench.goals import LINES
from bench.line import OR, Row
from bench.report.agreement import contradiction
from bench.report.machine import is_in_history, machine_facts, versions

AND = " and "
"""Between the versions of a package that rows of several runs name."""


class UnfitRows(Exception):
    """Rows of earlier runs that cannot be shown together, or as what is measured; the text says why."""


@dataclass(frozen=True)
class Results:
    """Rows in the order of the lines, and what they were measured on; `is_quick` where they judge nothing."""

    rows: Sequence[Row]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    is_quick: bool = False

    @classmethod
    def of(cls, rows: Sequence[Row], *, is_quick: bool) -> Results:
        """Rows that were just measured here."""
        return cls(rows, machine_facts(), versions(), is_quick)

    @property
    def lost_commits(self) -> list[str]:
        """Commits of the rows that the history of this checkout has not: nobody can measure them again."""
        named = dict.fromkeys(commit.removesuffix("+") for row in self.rows for commit in row.commits)
        return [commit for commit in named if not is_in_history(commit)]

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        told = {
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "quick": self.is_quick,
            "rows": [row.to_json() for row in self.rows],
        }
        with ENDING.put_off():
            path.write_text(json.dumps(told, indent=1) + "\n")


def joined_results(paths: Sequence[Path]) -> Results:
    """The rows of several files; the later of two rows of a line counts.

    Those of no line, and of one that was held against something else then, are left out.

    Raises `UnfitRows` where a file holds no rows, those of a quick run, or of another machine than the first,
    where a row contradicts itself, and where no row is left.
    """
    told = [_told(path) for path in paths]
    for path, other in zip(paths, told, strict=True):
        if other.machine != told[0].machine:
            raise UnfitRows(f"{paths[0]} and {path} were written on different machines; make a page of each")
    latest = {row["name"]: row for one in told for row in one.rows}
    try:
        rows = [
            _sound(Row.from_json(line, row), row)
            for line in LINES
            if (row := latest.get(line.name)) and (row["peer_name"], row["unit"]) == (line.peer, line.unit)
        ]
    except KeyError as lacking:
        raise UnfitRows(f"rows lack {lacking}, as another version wrote them; measure them again") from None
    except MsgspecError as error:
        raise UnfitRows(f"rows say what no bench wrote ({error}); measure them again") from error
    if not rows:
        raise UnfitRows(
            f"{', '.join(map(str, paths))}: no row is of a line that is measured now; "
            "`python -m bench --list` names the lines"
        )
    names = dict.fromkeys(name for one in told for name in one.versions)
    return Results(rows, told[-1].machine, {name: _every_version(name, told) for name in names})


def _sound(row: Row, told: Mapping[str, Any]) -> Row:
    if said := contradiction(row, told):
        raise UnfitRows(f"the row {row.line.name} contradicts itself: {said}; measure it again")
    return row


@dataclass(frozen=True)
class _Told:
    """What a file tells."""

    machine: dict[str, str]
    versions: dict[str, str]
    rows: list[dict[str, Any]]
    quick: bool = False


_TOLD = Decoder(_Told)


def _told(path: Path) -> _Told:
    """What a file tells, looked through."""
    try:
        told = _TOLD.decode(path.read_bytes())
        _ = told.versions["seamless-assets"], [row["name"] for row in told.rows]
    except (OSError, ValueError, KeyError, MsgspecError) as error:
        raise UnfitRows(f"{path} holds no rows of a bench ({error!r}); name what --json wrote") from error
    if told.quick:
        raise UnfitRows(f"{path} is of a quick run, which judges nothing; leave it out")
    return _with_commits(told)


def _with_commits(told: _Told) -> _Told:
    """Rows that name no commit are of one of those that stand behind the version of the project."""
    own = told.versions["seamless-assets"]
    commits = {"commit": OR.join(re.findall(r"\(([^)]*)\)", own)) or None}
    versions = told.versions | {"seamless-assets": re.sub(r" \([^)]*\)", "", own)}
    return replace(told, versions=versions, rows=[commits | row for row in told.rows])


def _every_version(name: str, told: Sequence[_Told]) -> str:
    """The versions of one package in all files, each once; a file that was joined before names several."""
    named = (one.versions[name] for one in told if name in one.versions)
    return AND.join(dict.fromkeys(version for versions in named for version in versions.split(AND)))
