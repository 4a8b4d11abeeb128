"""The page of the bench: what it says of every line, of whose rows it is made, and what it refuses."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from bench.__main__ import chosen, main
from bench.goals import LINES
from bench.line import Line, Row
from bench.report import machine, results
from bench.report.page import page, write_page
from bench.report.pictures import GROWTH, RATIOS
from bench.report.results import Results, UnfitRows, joined_results
from bench.report.words import goal, number, ours, ratio


def test_a_page_names_what_it_lacks_and_brings_its_speeds_to_the_comparisons(tmp_path: Path) -> None:
    line = next(line for line in LINES if line.name == "reads.day-arrow")
    row = Row(line, ours=2.0, peer=8.0, ratio=0.25, spread=(0.2, 0.3), rounds=3, load=1.0, at=1.0)
    other = Row(next(line for line in LINES if line.name == "reads.held"), ours=1.0, peer=1.0, ratio=1.0)
    grown = Row(LINES[-1], ours=1.0, facts={"points": [[10, 0.5, 2.0], [100, 5.0, None]]})
    held = Row(LINES[-2], ours=1.0, facts={"points": [[10, 0.5, 2.0], [100, 5.0, 20.0]]})
    results = Results([row, other, held, grown], {"processor": "some"}, {"seamless-assets": "1"})
    beside = tmp_path / "comparisons.md"
    beside.write_text("before\n<!-- speeds -->\nold\n<!-- end of speeds -->\nafter\n")
    write_page(results, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert (
        "`python -m bench --only reads.day-arrow`" in page and "`hot.*`" in page and "`reads.crowd`" in page
    )
    measured = "2.00&nbsp;ms | 8.00&nbsp;ms"
    assert (
        f"| [`reads.day-arrow`](#reads) | 0.25 | 0.05 | a warm day, to Arrow | ArcticDB | {measured} |"
        in page
    )
    told = f"{measured} | 0.25 | 0.20&nbsp;to&nbsp;0.30 | 0.05 | **MISSED** | 1 |"
    assert f"| `reads.day-arrow` | a warm day, to Arrow | ArcticDB | {told}" in page
    assert "| line | what | exponent | goal | verdict | by size | exponent of MiB |\n" in page
    points = "10:&nbsp;500&nbsp;ms,&nbsp;2.00&nbsp;MiB<br>100:&nbsp;5.00&nbsp;s"
    assert f"| {points} |  |\n" in page and f"| {points},&nbsp;20.0&nbsp;MiB | 1.00 |\n" in page
    told = beside.read_text()
    assert "| a warm day, to Arrow | ArcticDB | 8.00&nbsp;ms | 2.00&nbsp;ms | 0.25 |\n" in told
    assert (
        "Not run for this page:" in told and "`reads.day-pandas`" in told and "`reads.day-arrow`" not in told
    )
    assert told.startswith("before\n") and told.endswith("after\n") and "old" not in told
    assert "held" not in told
    beside.write_text("a page without marks\n")
    with pytest.raises(ValueError, match="between which"):
        write_page(results, tmp_path / "results.md")


def test_rows_of_several_runs_name_every_version(tmp_path: Path) -> None:
    for name, took, version in (("one", 1.0, "1"), ("two", 2.0, "2"), ("three", 3.0, "1")):
        rows = [Row(LINES[0], ours=took, at=1.0)]
        Results(rows, {"processor": "some"}, {"seamless-assets": version}).write(tmp_path / name)
    joined = joined_results([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert joined.versions == {"seamless-assets": "1 and 2"} and joined.rows[0].ours == 3.0


def test_the_page_tells_of_which_commit_each_row_is() -> None:
    def told(*commits: str) -> str:
        rows = [
            Row(line, ours=1.0, at=60.0 * place, commit=commit)
            for place, (line, commit) in enumerate(zip(LINES, commits, strict=False), start=1)
        ]
        return page(Results(rows, {"processor": "some"}, {"seamless-assets": "1"}), [], "rows.json")

    one, bars = told("abc", "abc"), [line for line in LINES if line.subject == "bars"]
    assert "| commit | abc |" in one and "## Commits" not in one
    several = told(*["def"] * len(bars), "abc or def")
    assert "| [each row's](#commits-of-the-rows) is named" in several
    assert "| def | 1970-01-01 00:01 UTC to 1970-01-01 00:06 UTC | `bars.*` |\n" in several
    assert "| commit | not known |" in page(
        Results([Row(LINES[0], ours=1.0)], {"processor": "some"}, {"seamless-assets": "1"}), [], "rows.json"
    )
    assert f"| one of abc, def | 1970-01-01 00:07 UTC | `{LINES[len(bars)].name}` |\n" in several


def test_rows_that_name_no_commit_are_of_those_that_their_file_names(tmp_path: Path) -> None:
    for name, line, commit in (("one", LINES[0], "abc+"), ("two", LINES[1], None)):
        versions = {"seamless-assets": "1 (def) and 1 (123)" if name == "two" else "1"}
        rows = [Row(line, ours=1.0, at=1.0, commit=commit)]
        Results(rows, {"processor": "some"}, versions).write(tmp_path / name)
        told = json.loads((tmp_path / name).read_text())
        if commit is None:
            del told["rows"][0]["commit"]
            (tmp_path / name).write_text(json.dumps(told))
    joined = joined_results([tmp_path / "one", tmp_path / "two"])
    assert [row.commits for row in joined.rows] == [("abc+",), ("def", "123")]
    assert joined.versions == {"seamless-assets": "1"}


@pytest.mark.parametrize(
    ("goal_of_it", "value", "told", "asked"),
    [
        (1.05, 1.0503, "1.0503", "1.05"),
        (1.05, 1.0486, "1.049", "1.05"),
        (1.05, 1.05, "1.05", "1.05"),
        (1.05, 1.0, "1.00", "1.05"),
        (0.05, 0.0504, "0.0504", "0.05"),
        (1 / 3, 0.3336, "0.334", "1/3"),
        (1 / 0.67, 1.06, "1.06", "1/0.67"),
        (10.0, 10.04, "10.04", "10"),
        (None, 1.0503, "1.05", None),
    ],
)
def test_a_number_shows_on_which_side_of_its_goal_it_lies_and_a_goal_is_told_as_it_is_written(
    goal_of_it: float | None, value: float, told: str, asked: str | None
) -> None:
    beside, alone = Line("x.y", "", "a peer", goal_of_it), Line("x.y", "", None, goal_of_it, "s")
    assert ratio(Row(beside, ours=2.0, ratio=value)) == told
    assert ours(Row(alone, ours=value)) == f"{told} s"
    assert goal(beside) == (f"at most {asked} x" if asked else "")
    assert goal(alone) == (f"at most {asked} s" if asked else "")


def test_a_line_without_a_goal_has_nothing_in_the_column_of_goals() -> None:
    told_only = Row(Line("reads.told", "told", None), ours=2.0)
    judged = Row(Line("reads.judged", "judged", None, 5), ours=2.0)
    told = page(
        Results([told_only, judged], {"processor": "some"}, {"seamless-assets": "1"}), [], "rows.json"
    )
    assert "| `reads.told` | told | 2.00&nbsp;ms |  |  |\n" in told
    assert "| `reads.judged` | judged | 2.00&nbsp;ms | 5&nbsp;ms | met |\n" in told


def test_whole_requests_have_no_decimals() -> None:
    told = [number(40.0, "requests"), number(40.5, "requests"), number(40.0, "ms")]
    assert told == ["40 requests", "40.5 requests", "40.0 ms"]


def test_the_page_is_made_of_its_rows_and_accounts_for_every_line() -> None:
    docs = ROOT / "docs"
    shown, results = (docs / "results.md").read_text(), joined_results([docs / "results.json"])
    assert shown == page(results, [RATIOS, GROWTH], "results.json")
    said = re.search(r"^Lines that were not run for this page: (.*)\.$", shown, re.MULTILINE)
    lacking = chosen(re.findall(r"`([^`]+)`", said[1])) if said else []
    measured = [row["name"] for row in json.loads((docs / "results.json").read_text())["rows"]]
    assert sorted([*measured, *lacking]) == sorted(line.name for line in LINES)


def test_the_rows_of_a_page_lie_beside_it_and_take_rows_of_later_runs(tmp_path: Path) -> None:
    def told(name: str, line: Line, commit: str) -> Path:
        rows = [Row(line, ours=1.0, peer=1.0, ratio=1.0, at=1.0, commit=commit)]
        Results(rows, {"processor": "some"}, {"seamless-assets": "1"}).write(tmp_path / name)
        return tmp_path / name

    one, two = told("one", LINES[0], "abc"), told("two", LINES[1], "def")
    write_page(joined_results([one, two]), tmp_path / "results.md")
    assert "[The rows as JSON](results.json)" in (tmp_path / "results.md").read_text()
    later = told("later", LINES[2], "abc")
    joined = joined_results([tmp_path / "results.json", later])
    assert [row.line for row in joined.rows] == list(LINES[:3])
    assert [row.commit for row in joined.rows] == ["abc", "def", "abc"]


def test_rows_of_a_line_that_had_another_peer_then_are_left_out(tmp_path: Path) -> None:
    rows = [Row(line, ours=1.0, peer=1.0, ratio=1.0, at=1.0) for line in LINES[:3]]
    Results(rows, {"processor": "some"}, {"seamless-assets": "1"}).write(tmp_path / "rows")
    told = json.loads((tmp_path / "rows").read_text())
    told["rows"][0]["peer_name"], told["rows"][1]["unit"] = "somebody else", "s"
    (tmp_path / "rows").write_text(json.dumps(told))
    assert [row.line.name for row in joined_results([tmp_path / "rows"]).rows] == [LINES[2].name]


def test_no_page_is_made_of_rows_of_a_commit_that_is_not_in_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def committed(*words: str) -> str:
        who = ("-c", "user.name=one", "-c", "user.email=one@example.com")
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", *words], cwd=tmp_path, check=True)
        return machine.commit()

    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    first, given_up = committed("-m", "first"), committed("-m", "second")
    last = committed("--amend", "-m", "other words")
    for name, ended in (
        (first, 0),
        (f"{first}+", 0),
        (last, 0),
        (given_up, 2),
        ("no checkout", 2),
        ("HEAD", 2),
    ):
        told, page = tmp_path / "rows.json", tmp_path / f"{name}.md"
        rows = [Row(LINES[0], ours=1.0, peer=1.0, ratio=1.0, at=1.0, commit=name)]
        Results(rows, {"processor": "some"}, {"seamless-assets": "1"}).write(told)
        assert main(["--from", str(told), "--page", str(page)]) == ended
        assert page.exists() == (ended == 0)
        assert (name in capsys.readouterr().err) == (ended == 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"ratio": 0.5}, "a ratio of 0.5 in one round of 3.0 and 2.0"),
        ({"ratio": None}, "a ratio of None beside 3.0 and 2.0"),
        ({"peer": None}, "a ratio of 1.5 beside 3.0 and None"),
        ({"rounds": 9, "ratio": 1.25}, "a median of 1.25 outside of its quartiles 1.5 and 1.5"),
        ({"rounds": 9, "ratio": 1.25, "spread": [1.0, 1.5]}, ""),
        ({"met": False}, "met: False, where a goal of 2.0 makes it True"),
        ({"goal": 1.0}, "met: True, where a goal of 1.0 makes it False"),
        ({"goal": "low"}, "Expected `float | null`, got `str`"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    change: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line("bars.some", "something", "a peer", 2.0)
    monkeypatch.setattr(results, "LINES", [line])
    row = Row(line, ours=3.0, peer=2.0, ratio=1.5, spread=(1.5, 1.5), rounds=1, at=1.0)
    refused(tmp_path, row, change, said)


@pytest.mark.parametrize(
    ("change", "said"), [({}, ""), ({"ours": 0.5, "met": True}, "an exponent of 0.5, where its last two")]
)
def test_an_exponent_that_its_points_do_not_give_is_refused(
    change: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line("growth.some", "something", None, 1.1, "exponent")
    monkeypatch.setattr(results, "LINES", [line])
    row = Row(line, ours=1.0, rounds=3, at=1.0, facts={"points": [[10, 0.5, 2.0], [100, 5.0, None]]})
    refused(tmp_path, row, change, said)


def refused(folder: Path, row: Row, change: dict[str, object], said: str) -> None:
    """The row is taken as it was written, and refused, in these words, with the change that has some."""
    Results([row], {"processor": "some"}, {"seamless-assets": "1"}).write(folder / "rows")
    told = json.loads((folder / "rows").read_text())
    told["rows"][0] |= change
    (folder / "rows").write_text(json.dumps(told))
    if not said:
        assert [row.line for row in joined_results([folder / "rows"]).rows] == [row.line]
        return
    with pytest.raises(UnfitRows, match=re.escape(said)):
        joined_results([folder / "rows"])


def test_no_page_is_made_of_what_holds_no_judged_rows_of_one_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(name: str, *, processor: str = "some", is_quick: bool = False) -> Path:
        rows = [Row(LINES[0], ours=1.0, at=1.0)]
        results = Results(rows, {"processor": processor}, {"seamless-assets": "1"}, is_quick)
        results.write(tmp_path / name)
        return tmp_path / name

    (half := tmp_path / "half").write_text('{"rows": [')
    (rows := json.loads(told("older").read_text()))["rows"][0].pop("load")
    (older := tmp_path / "older").write_text(json.dumps(rows))

    def edited(file: str, **change: object) -> Path:
        rows = json.loads(told(file).read_text())
        (tmp_path / file).write_text(json.dumps({**rows, "rows": [{**rows["rows"][0], **change}]}))
        return tmp_path / file

    (none := tmp_path / "none").write_text(json.dumps(rows | {"rows": []}))
    (nameless := tmp_path / "nameless").write_text(json.dumps(rows | {"machine": "some"}))
    for files, said in (
        ([tmp_path / "nowhere"], "holds no rows"),
        ([half], "holds no rows"),
        ([none], "no row is of a line that is measured now"),
        ([nameless], "Expected `object`, got `str` - at `$.machine`"),
        ([edited("gone", name="bars.gone")], "no row is of a line that is measured now"),
        ([edited("words", ours="fast")], "Expected `float | null`, got `str` - at `$.ours`"),
        ([edited("grown", facts={"points": "x"})], "Expected `array`, got `str`"),
        ([edited("nan", ours=math.nan)], "holds no rows"),
        ([older], "rows lack 'load'"),
        ([told("quick", is_quick=True)], "of a quick run"),
        ([told("one"), told("two", processor="other")], "different machines"),
    ):
        words = [word for file in files for word in ("--from", str(file))]
        assert main([*words, "--page", str(tmp_path / "made.md")]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "made.md").exists()


@pytest.mark.parametrize(("beside", "target"), [("images", "/proc"), ("made.json", "/proc/version")])
def test_a_page_whose_company_cannot_be_written_is_refused_before_anything_is_measured(
    beside: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / beside).symlink_to(target)
    with pytest.raises(SystemExit, match="2"):
        main(["--page", str(tmp_path / "made.md")])
    assert f"{tmp_path / beside} cannot be written" in " ".join(capsys.readouterr().err.split())
    assert [one.name for one in tmp_path.iterdir()] == [beside]


@pytest.mark.parametrize(
    ("beside", "said"), [("images", "is no folder"), ("comparisons.md", "has no place for the speeds")]
)
def test_a_page_that_cannot_be_written_whole_is_refused_before_anything_is_measured(
    beside: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / beside).write_text("somebody's own\n")
    with pytest.raises(SystemExit, match="2"):
        main(["--page", str(tmp_path / "made.md")])
    assert said in capsys.readouterr().err and [one.name for one in tmp_path.iterdir()] == [beside]
