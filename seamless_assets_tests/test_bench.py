"""The bench: sides take turns, goals are judged, missing peers are told, a quick run is alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT
from dagster import AssetKey

from bench import running, subjects
from bench.__main__ import BROKEN, chosen, main, parse, status
from bench.contenders.dagster import bare_definitions
from bench.goals import LINES
from bench.line import Line, Row
from bench.measuring.process import ProcessFailed, run_process
from bench.measuring.sample import Sample, repeated, take
from bench.peers import environments
from bench.places import takes_folder
from bench.report.machine import commit
from bench.running import Bench, Case, Growth, Skipped, compare, grow, measure
from bench.subjects import service
from bench.subjects.dagster import KEYS, project
from bench.worlds.dagster import Deployment, write_bare
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.nodes.checks import check_specs

SUBJECTS = sorted({line.subject for line in LINES})
IN_PROCESS = ("artifacts", "bars", "mirror")
IN_SECONDS = ("growth", "hot", "live", "panel")
"""Lines of these that want a server or a peer are left out of a quick run; the others take seconds."""
LINE = Line("bars.conform-pandas", "something", "a peer", 1.5)


def test_names_are_unique_and_every_subject_has_a_module() -> None:
    names = [line.name for line in LINES]
    assert len(set(names)) == len(names)
    assert all(callable(import_module(f"bench.subjects.{subject}").cases) for subject in SUBJECTS)


def test_sides_take_turns_and_medians_and_quartiles_are_of_the_rounds() -> None:
    turns: list[str] = []
    values = {"ours": iter([99.0, 2.0, 4.0, 9.0]), "peer": iter([99.0, 1.0, 4.0, 3.0])}

    def side(who: str) -> Sample:
        turns.append(who)
        return Sample(next(values[who]), cpu=2.0 if who == "ours" else 1.0, memory_mib=len(turns))

    row = compare(LINE, Case(LINE.name, lambda: side("ours"), lambda: side("peer")), 3)
    assert turns == ["ours", "peer"] * 4
    assert (row.ours, row.peer, row.ratio) == (4_000.0, 3_000.0, 2.0)
    assert row.spread == (1.5, 2.5)
    assert row.cpu_ratio == 2.0
    assert (row.memory_mib, row.peer_memory_mib) == (7.0, 8.0)
    assert row.is_met is False


def test_what_one_side_freed_hides_nothing_of_what_the_other_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def side(who: str) -> Callable[[], float]:
        return lambda: turns.append(who) or 1.0

    monkeypatch.setattr(running, "trim", lambda: turns.append("at rest"))
    for warm_up in (True, False):
        case = Case(LINE.name, side("ours"), side("peer"), warm_up=warm_up)
        compare(LINE, case, rounds=2 - warm_up)
        assert turns == ["at rest", "ours", "at rest", "peer", "ours", "peer"]
        turns.clear()


@pytest.mark.parametrize(("subject", "line"), [("fetching", "requests-100-days"), ("memory", "verify")])
def test_the_memory_of_who_waits_for_another_process_is_told_of_nobody(
    subject: str, line: str, tmp_path: Path
) -> None:
    asked = Bench(tmp_path, quick=True, wanted=[f"{subject}.{line}"])
    (row,) = measure(asked, import_module(f"bench.subjects.{subject}").cases)
    assert row.peer_memory_mib is None and row.peer is not None
    # What an interpreter takes by itself, or what is taken beyond it.
    assert row.memory_mib is not None and row.memory_mib > {"fetching": 20, "memory": 0}[subject]


def test_the_first_go_counts_where_nothing_warms_up() -> None:
    values = iter([1.0, 3.0])
    row = compare(LINE, Case(LINE.name, lambda: next(values), None, warm_up=False), 2)
    assert row.ours == 2_000.0


def test_a_growth_that_cannot_be_seen_is_no_goal_that_is_met() -> None:
    memory = Line("growth.bars-write-memory", "memory", None, 1.1, "exponent")
    growth = Growth("growth.bars-write", (1, 10), lambda size: lambda: Sample(size, memory_mib=0.0))
    (row,) = grow([memory], growth, 1)
    assert row.problem and status([row], quick=False) == 2
    assert [row.ours for row in grow([memory], replace(growth, work=held), 1)] == [1.0]


def held(size: int) -> Callable[[], Sample]:
    return lambda: Sample(1.0, memory_mib=size)


@pytest.mark.parametrize(
    ("line", "row", "is_met"),
    [
        (LINE, {"ours": 1.0, "ratio": 1.5}, True),
        (LINE, {"ours": 1.0, "ratio": 1.51}, False),
        (LINE, {"ours": 1.0}, None),
        (Line("x.told", "", "a peer"), {"ours": 1.0, "ratio": 9.0}, None),
        (Line("x.alone", "", None, 5.0), {"ours": 5.0}, True),
        (Line("x.alone", "", None, 5.0), {"ours": 5.1}, False),
    ],
)
def test_goals_are_held_against_the_ratio_or_against_ours(
    line: Line, row: dict[str, float], is_met: bool | None
) -> None:
    assert Row(line, **row).is_met is is_met  # type: ignore[arg-type]


def test_the_exit_status_tells_missed_goals_from_those_that_nobody_judged() -> None:
    met, missed = Row(LINE, ours=1.0, ratio=1.0), Row(LINE, ours=1.0, ratio=2.0)
    unjudged, broken = Row(LINE, ours=1.0, problem="no peer"), Row(LINE, problem=BROKEN)
    only_told = Row(Line("x.told", "", "a peer"), problem="no peer")
    assert [status(rows, quick=False) for rows in ([met], [met, missed, unjudged], [met, unjudged])] == [
        0,
        1,
        2,
    ]
    assert status([met, only_told], quick=False) == 0
    assert status([met, Row(only_told.line, problem=BROKEN)], quick=False) == 2
    assert [status(rows, quick=True) for rows in ([missed, unjudged], [broken])] == [0, 2]


def test_lines_are_chosen_by_name_subject_or_pattern_and_others_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chosen(["bars.conform-nan"]) == ["bars.conform-nan"]
    assert chosen(["mirror"]) == ["mirror.short-log", "mirror.long-log"]
    assert chosen(["hot.sqlite-r*"]) == ["hot.sqlite-read"]
    with pytest.raises(SystemExit):
        parse(["--only", "mirror", "--only", "nothing.of-it"])
    assert "nothing.of-it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--rounds", "0"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--only reads.day-arow", "the nearest is 'reads.day-arrow'"),
        ("--only mirrors", "the nearest is 'mirror'"),
        ("--only=", "no line is named ''"),
        ("--list --json made.json", "goes with --only alone"),
        ("--list --quick", "goes with --only alone"),
        ("--quick --rounds 3", "leave --rounds out"),
        ("--quick --page made.md", "a quick run judges nothing"),
        ("--quick --pictures made", "a quick run judges nothing"),
        ("--from rows.json --only mirror", "--from shows rows"),
        ("--json nowhere/made.json", "nowhere/made.json cannot be written"),
        ("--page .", ". cannot be written"),
        ("--page made.json", "name the page itself"),
        ("--page made.md --json made.md", "both the page and the rows"),
        ("--page made.md --json ../of-it/made.md", "both the page and the rows"),
        ("--page made.md --json comparisons.md", "both the speeds and the rows"),
        ("--page made.md --json images", "both the pictures and the rows"),
        ("--page comparisons.md", "both the page and the speeds"),
        ("--json made --pictures made", "both the rows and the pictures"),
        ("--page made --pictures made", "both the page and the pictures"),
        ("--pictures /dev/null", "/dev/null is no folder"),
        ("--pictures /dev/null/made", "/dev/null/made cannot be written to"),
        # The one folder that takes no file of root either.
        ("--pictures /proc/made/deep", "/proc/made/deep cannot be written to"),
        ("--json /proc/made.json", "/proc/made.json cannot be written"),
        ("--json /proc/version", "/proc/version cannot be written"),
        ("--page /proc/made.md", "/proc/made.md cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "of-it").mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert said in capsys.readouterr().err and not [*folder.iterdir()]


def test_a_folder_takes_pictures_whatever_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert takes_folder(tmp_path) and takes_folder(tmp_path / "made" / "deep")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "new"]


def test_a_skipped_line_has_a_row_that_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wanted=["mirror.short-log", "mirror.long-log"])
    rows = list(measure(bench, lambda _: iter([Skipped("mirror.*", "no mirror here")])))
    assert [row.line.name for row in rows] == bench.wanted
    assert {row.problem for row in rows} == {"no mirror here"}


def test_a_peer_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    told = Bench(tmp_path, quick=True).peer("ArcticDB")
    assert told == "a quick run does not install ArcticDB"
    row = compare(LINE, Case(LINE.name, lambda: 1.0, told), 1)
    assert (row.ours, row.ratio, row.problem) == (1_000.0, None, told)
    assert Bench(tmp_path, quick=True).peer("ccxt") == Path(sys.executable)


def test_what_a_go_allocates_is_its_peak() -> None:
    sample = take(lambda: len(bytearray(64 * 1024**2)) and None)
    assert sample.memory_mib is not None
    assert 60 <= sample.memory_mib <= 80


def test_what_is_repeated_is_told_for_one() -> None:
    calls: list[int] = []
    sample = take(repeated(lambda: calls.append(1), 10))
    assert len(calls) == 10
    assert sample.cpu is not None


def test_a_process_is_measured_by_itself_and_its_failure_is_told() -> None:
    held = bytearray(150 * 1024**2)
    ended = run_process([sys.executable, "-S", "-c", "print('done')"])
    assert ended.output == "done\n"
    # Neither what started it nor what stands in between counts.
    assert 0 < ended.peak_mib < 100 < len(held)
    with pytest.raises(ProcessFailed, match="last words"):
        run_process([sys.executable, "-S", "-c", "print('last words'); raise SystemExit(3)"])


@pytest.mark.parametrize(
    "source", ["raise OSError('no such library')", "def cases(_):\n    raise ValueError('out of order')"]
)
def test_a_line_that_breaks_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str
) -> None:
    (tmp_path / "bars.py").write_text(source)
    # Whether it was imported before or not, afterwards it is as it was.
    monkeypatch.setattr(subjects, "bars", None, raising=False)
    monkeypatch.setitem(sys.modules, "bench.subjects.bars", subjects)
    del sys.modules["bench.subjects.bars"]
    monkeypatch.setattr(subjects, "__path__", [str(tmp_path), *subjects.__path__])
    monkeypatch.setattr(
        import_module("bench.subjects.mirror"), "cases", lambda _: iter([Skipped("mirror.*", "not today")])
    )
    made = tmp_path / "rows.json"
    assert main(["--quick", "--only", "bars", "--only", "mirror", "--json", str(made)]) == 2
    told = {row["name"]: row["problem"] for row in json.loads(made.read_text())["rows"]}
    assert told["bars.conform-nan"] == BROKEN
    assert told["mirror.long-log"] == "not today"
    assert "bars.conform-nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_who_ends_the_bench_sees_what_was_measured_and_leaves_nothing_behind(
    ending: signal.Signals, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, line, made = tmp_path / "home", tmp_path / "line", tmp_path / "rows.json"
    home.mkdir()
    os.mkfifo(line)
    lasting = f"import signal; line = open({str(line)!r}, 'w', 1); print('begun', file=line); signal.pause()"
    (tmp_path / "mirror.py").write_text(
        "import sys\nfrom bench.measuring.process import run_process\nfrom bench.running import Case\n\n\n"
        "def cases(bench):\n"
        f"    lasting = [sys.executable, '-S', '-c', {lasting!r}]\n"
        "    yield Case('mirror.short-log', lambda: 1.0, lambda: 4.0)\n"
        "    yield Case('mirror.long-log', lambda: run_process(lasting).by_wall)\n"
    )
    source = (
        "import signal, sys, bench.subjects\n"
        # Whoever runs the tests may be kept from SIGHUP.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"bench.subjects.__path__.insert(0, {str(tmp_path)!r})\n"
        f"sys.argv = ['bench', '--only', 'mirror', '--rounds', '1', '--json', {str(made)!r}]\n"
        "import runpy; runpy.run_module('bench', run_name='__main__')\n"
    )
    words = [sys.executable, "-c", source]
    environment = {**os.environ, "TMPDIR": str(home)}
    bench = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    with line.open() as heard:
        assert heard.readline() == "begun\n"
        bench.send_signal(ending)
        told, _ = bench.communicate()
        assert heard.read() == ""
    assert bench.returncode == status
    assert "mirror.short-log" in told and "0.25" in told
    (kept,) = json.loads(made.read_text())["rows"]
    assert (kept["name"], kept["commit"]) == ("mirror.short-log", commit())
    assert not [*home.iterdir()]


def quick(tmp_path: Path, *subjects: str) -> list[dict[str, object]]:
    """The rows of a quick run."""
    made = tmp_path / "rows.json"
    words = [word for subject in subjects for word in ("--only", subject)]
    assert main(["--quick", "--json", str(made), *words]) == 0
    rows: list[dict[str, object]] = json.loads(made.read_text())["rows"]
    assert [row["name"] for row in rows if row["ours"] is None and not row["problem"]] == []
    assert {row["name"] for row in rows} == {line.name for line in LINES if line.subject in subjects}
    return rows


def test_a_quick_run_measures_every_line_of_this_process(tmp_path: Path) -> None:
    rows = quick(tmp_path, *IN_PROCESS)
    assert [row["name"] for row in rows if row["problem"]] == []
    for row in rows:
        assert isinstance(row["ours"], float)
        assert (row["ratio"] is None) == (row["peer_name"] is None)


def test_a_quick_run_is_alive_in_lines_that_take_seconds(tmp_path: Path) -> None:
    quick(tmp_path, *IN_SECONDS)


def test_a_line_that_reads_what_another_one_writes_is_measured_alone(tmp_path: Path) -> None:
    alone = Bench(tmp_path, quick=True, wanted=["hot.sqlite-read"])
    (row,) = measure(alone, import_module("bench.subjects.hot").cases)
    assert row.ratio is not None


@pytest.mark.deep
def test_a_quick_run_is_alive_in_every_line(tmp_path: Path) -> None:
    quick(tmp_path, *SUBJECTS)


def test_the_p99_of_requests_is_that_of_the_median_round() -> None:
    slowest = iter([9.0, 1.0, 3.0, 8.0])

    async def asking() -> list[float]:
        return [next(slowest)]

    row = compare(LINE, service._side_case(LINE.name, asking, "nobody", rounds=3), 3)
    assert row.facts == {"ours_p99_ms": 3_000.0}


def test_each_round_asks_for_pages_that_nobody_asked_for_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def ask(pages: list[str]) -> None:
        asked.extend(pages)

    monkeypatch.setattr(service, "_all_of", ask)
    compare(LINE, service._memory("nowhere", os.getpid()), rounds=2)
    assert len(set(asked)) == len(asked) == 2 * service.PAGES


def test_a_process_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    with Deployment(tmp_path) as deployment:
        process = deployment.start("json.tool", "nowhere.json")
        with pytest.raises(RuntimeError, match=r"(?s)a word.*has ended.*nowhere\.json"):
            deployment.until(lambda: False, "a word", process)
        with pytest.raises(RuntimeError, match="not within 0 s"):
            deployment.until(lambda: False, "a word", within_s=0)


def test_bare_assets_are_materialized_and_checked(tmp_path: Path) -> None:
    file = write_bare(project(tmp_path, 3, "http://127.0.0.1:1"))
    job = bare_definitions(json.loads(file.read_text())).resolve_job_def("job_ohlcv_binance_1m")
    ranged = {
        "dagster/asset_partition_range_start": "2025-01-29",
        "dagster/asset_partition_range_end": "2025-01-31",
    }
    for tags, partitions in (({"dagster/partition": "2025-01-03"}, 1), (ranged, 3)):
        done = job.execute_in_process(asset_selection=[AssetKey(key) for key in KEYS[:2]], tags=tags)
        assert len(done.get_asset_materialization_events()) == 2 * partitions
        assert len(done.get_asset_check_evaluations()) == 2 * len(check_specs(AssetKey(KEYS[0])))


def test_bare_assets_need_nothing_of_ours(tmp_path: Path) -> None:
    file = write_bare(project(tmp_path, 3, "http://127.0.0.1:1"))
    code = "import sys; import bench.contenders.bare_location; print('seamless_assets' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "BARE_ASSETS": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("False\n", 0), ended.stderr


def test_a_code_server_that_the_daemon_starts_meanwhile_is_no_process_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "__main__.py").write_text("import signal\nsignal.pause()\n")
    with Deployment(tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as deployment:
        run = deployment.start("dagster", "api", "execute_run", "{}")
        server = deployment.start("dagster", "api", "grpc", "--socket", "x")
        assert {run.pid, server.pid} == deployment._statuses().keys()
        assert deployment._working() == {run.pid}


def test_a_location_that_fails_to_load_is_no_location_that_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(tmp_path)

    def answered(error: dict[str, str] | None) -> None:
        entry = {"name": "a_module", "loadStatus": "LOADED", "locationOrLoadError": error}
        answer = {"workspaceOrError": {"locationEntries": [entry]}}
        monkeypatch.setattr(deployment, "ask", lambda _: answer)

    monkeypatch.setattr(deployment, "start", lambda *_: None)
    answered({"message": "NameError: that"})
    with pytest.raises(RuntimeError, match="a_module was not loaded: NameError: that"):
        deployment.start_webserver()
    for error in ({}, None):
        answered(error)
        deployment.start_webserver()


def test_bare_assets_have_the_keys_checks_and_partitions_of_ours(tmp_path: Path) -> None:
    made = project(tmp_path, 3, "http://127.0.0.1:1")
    bare, ours = (
        defs.get_repository_def().asset_graph
        for defs in (
            bare_definitions(json.loads(write_bare(made).read_text())),
            build_definitions(load_settings(made / "seamless.yaml")),
        )
    )
    assert bare.get_all_asset_keys() == ours.get_all_asset_keys()
    assert bare.asset_check_keys == ours.asset_check_keys
    for key in ours.get_all_asset_keys():
        assert bare.get(key).partitions_def == ours.get(key).partitions_def


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    line = tmp_path / "line"
    os.mkfifo(line)
    lasting = f"import time; held = open({str(line)!r}, 'w'); time.sleep(30); held.write('it went on')"
    source = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', {lasting!r}])\n"
    (tmp_path / "parent.py").write_text(source)
    with Deployment(tmp_path) as deployment:
        assert deployment.start("parent").wait() == 0
        heard = line.open()
    with heard:
        assert heard.read() == ""
