"""A day of live trading against the local exchange, many times as fast as real, over both feeds.

    python bench/live_day.py [--hours 24] [--speed 60] [--feeds websocket polling] [--out live-day]

The local exchange runs in a process of its own whose clock goes `speed` times as fast. The pipeline is the
unmodified one, in a process whose time goes as fast: what it calls a minute is a second. It follows a made-up
market, whose bars are corrected 90 s after they close, and a recorded one that is halted and comes back a
thousand times dearer. In the middle the exchange is away for half an hour, and every seven minutes a stream
has a fault: duplicates, disorder, forming bars sent as closed, skipped bars, late corrections, connections
that are dropped, stale snapshots, bad JSON, silence.

Written are `report.md`, `day.png` and `events.jsonl`. Exits with 1 where a bar is missing, told twice or
other than the exchange's, where a session does not hold within `max_lag` or does not return, or where a
replay of the window does not give the events that were told.

A lease of seconds is a fraction of one here: on a busy machine the speed has to be lower, or every piece
of work outlives its lease.
"""

from __future__ import annotations

import argparse
import json
import selectors
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

START = 1_735_689_600
MINUTE, HOUR = 60, 3_600
OUTAGE_S = 30 * MINUTE
MAX_LAG_S = 120.0
SAMPLE_S = 60.0
WINDOW_S = 10 * MINUTE
"""What a look at a session asks for."""
WARM_UP_S = 10 * MINUTE
"""The exchange's clock begins so long before the day, for what is loaded and fetched first."""
ANSWER_S = 30.0
"""Real seconds within which the local exchange answers."""
SETTLED_S = 15 * MINUTE
"""After an outage or a halt a session is back within this time."""
FAULT_EVERY_S = 7 * MINUTE
FAULTS: Sequence[dict[str, Any]] = (
    {"kind": "duplicate", "times": 20},
    {"kind": "disorder", "times": 5},
    {"kind": "forming_as_closed", "times": 5},
    {"kind": "skip", "times": 2},
    {"kind": "correction", "times": 3, "seconds": 100},
    {"kind": "drop"},
    {"kind": "stale_snapshot", "rows": 3},
    {"kind": "drop"},
    {"kind": "bad_json"},
    {"kind": "silence", "seconds": 150},
)
STEADY, HALTED = "BTC/USDT", "REN/USDT"
VENUES = {"websocket": "binance", "polling": "okx"}
FACTS = ("ts", "start", "end", "values", "before", "reason", "recorded_at")
PATIENT = {"total_deadline_ms": 600_000, "max_wait_storage_ms": 600_000}
"""A session's budgets go by the time that goes so fast; what is looked at here is its lag."""
COLOURS = {"ACTIVE": "#1b9e77", "PARTIAL": "#e6ab02", "HOLD": "#d95f02"}

_sleep, _monotonic, _select = time.sleep, time.monotonic, selectors.EpollSelector.select


class Haste:
    """This process's time: from `start` on as fast as real time, until it is told to go faster."""

    def __init__(self, start: float) -> None:
        self._from, self._begun, self._speed = (start, _monotonic()), _monotonic(), 1.0
        time.time = self._time
        time.monotonic = lambda: self._time() - start
        selectors.EpollSelector.select = lambda selector, timeout=None: _select(  # type: ignore[method-assign]
            selector, timeout if timeout is None else max(0.0, timeout) / self._speed
        )

    def go(self, instant: float, speed: float) -> None:
        """Go on from `instant`, so many times as fast as real time."""
        self._from, self._speed = (instant, _monotonic()), speed

    def sleep(self, seconds: float) -> None:
        """Wait so long by this time."""
        _sleep(seconds / self._speed)

    def _time(self) -> float:
        instant, since = self._from
        return instant + (_monotonic() - since) * self._speed


@dataclass(frozen=True)
class Day:
    """What happens when, epoch seconds."""

    end: int
    outage: tuple[int, int]
    halt: tuple[int, int]

    @classmethod
    def of(cls, hours: float) -> Day:
        """An outage after a third of the day, a halt after three fifths, an eighth of it long."""
        length = int(hours * HOUR)
        outage = START + length // 3 // MINUTE * MINUTE + 20
        halt = START + length * 3 // 5 // MINUTE * MINUTE
        return cls(START + length, (outage, outage + OUTAGE_S), (halt, halt + length // 8 // MINUTE * MINUTE))


@dataclass
class Diary:
    """What was told of the nodes, and how their sessions stood."""

    told: dict[str, list[tuple[float, Any]]] = field(default_factory=dict)
    told_at: dict[tuple[str, int], float] = field(default_factory=dict)
    """When a bar was told, by node and open."""
    states: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@contextmanager
def exchange(folder: Path, day: Day) -> Iterator[str]:
    """The local exchange in a process of its own; yields its address."""
    recorded = folder / "recorded.parquet"
    _record(recorded, day)
    command = [
        sys.executable,
        "-m",
        "seamless_assets.sandbox",
        "--port",
        "0",
        "--now",
        str(START - WARM_UP_S),
    ]
    command += ["--speed", "1", "--replay", f"{HALTED}:1m={recorded}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("local exchange: ").strip()
        finally:
            process.terminate()


def _record(path: Path, day: Day) -> None:
    """A market that is not traded during the halt, and dearer by a thousand after it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(11)
    ts = np.arange(START - 6 * HOUR, day.end + 2 * HOUR, MINUTE)
    ts = ts[(ts < day.halt[0]) | (ts >= day.halt[1])]
    scale = np.where(ts < day.halt[0], 1.0, 1_000.0)
    closes = np.round(0.5 * np.exp(np.cumsum(rng.normal(0, 0.0005, len(ts)))), 6)
    opens = np.concatenate(([0.5], closes[:-1]))
    columns = {
        "ts": ts,
        "open": opens * scale,
        "high": np.maximum(opens, closes) * scale,
        "low": np.minimum(opens, closes) * scale,
        "close": closes * scale,
        "volume": np.round(rng.exponential(5_000, len(ts)) / scale + 0.001, 4),
    }
    pq.write_table(pa.table(columns), path)


def steer(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the local exchange to change itself."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/_sandbox/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        return json.load(answer)


def direct(url: str, day: Day, is_over: threading.Event) -> None:
    """Let the outage begin and end, and the streams have a fault of each kind every few minutes."""
    away = [("POST", "faults", {"kind": kind, "times": None}) for kind in ("status", "refused")]
    planned = [(day.outage[0], [*away, ("DELETE", "streams", None)])]
    planned += [(day.outage[1], [("DELETE", "faults", None)])]
    for number, instant in enumerate(range(START + FAULT_EVERY_S, day.end, FAULT_EVERY_S)):
        fault = FAULTS[number % len(FAULTS)]
        if not day.outage[0] - FAULT_EVERY_S <= instant < day.outage[1]:
            planned.append((instant, [("POST", "faults", {"symbol": STEADY, "path": "/ws", **fault})]))
    for instant, steps in sorted(planned, key=lambda plan: plan[0]):
        while time.time() < instant:
            if is_over.is_set():
                return
            _sleep(0.02)
        for step in steps:
            steer(url, *step)


def trade(url: str, folder: Path, day: Day, feeds: Sequence[str], haste: Haste, speed: float) -> Diary:
    """Follow all nodes to the end of the day, and look at their sessions each minute."""
    import seamless_assets as sa

    diary, is_over = Diary(), threading.Event()
    with sa.connect(_settings(url, folder, feeds)) as s:
        nodes = [f"ohlcv:{VENUES[feed]}:{symbol}:1m" for feed in feeds for symbol in (STEADY, HALTED)]
        for node in nodes:
            s.backfill(node, START - HOUR, START - WARM_UP_S)
        steer(url, "PUT", "clock", {"now": START, "speed": speed})
        haste.go(START, speed)

        def follow(node: str) -> None:
            told = diary.told.setdefault(node, [])
            for event in s.subscribe([node], since=START, until=day.end):
                told.append((time.time(), event))
                if type(event).__name__ in ("Bar", "Filled"):
                    diary.told_at.setdefault((node, event.ts), time.time())

        def watch() -> None:
            limits = {"max_lag": MAX_LAG_S, "min_coverage": 0.5, "sla": PATIENT}
            with s.session(world_id="day", domain="live", **limits) as world:
                while not is_over.is_set():
                    for node in nodes:
                        began = time.time()
                        metadata = world.read(node, began - WINDOW_S, None, strategy="FAIL_FAST").metadata
                        state = {"PASS": "ACTIVE"}.get(metadata.verdict, metadata.verdict)
                        diary.states.setdefault(node, []).append((began, state))
                    haste.sleep(SAMPLE_S)

        workers = [threading.Thread(target=_noted, args=(diary, follow, node)) for node in nodes]
        beside = [
            threading.Thread(target=_noted, args=(diary, direct, url, day, is_over)),
            threading.Thread(target=_noted, args=(diary, watch)),
        ]
        for thread in (*workers, *beside):
            thread.start()
        for thread in workers:
            thread.join()
        is_over.set()
        for thread in beside:
            thread.join()
        while time.time() < day.end + SETTLED_S:
            _sleep(0.1)
        for node in nodes:
            diary.problems += list(_replayed_otherwise(s, node, day, diary))
    return diary


def _noted(diary: Diary, work: Any, *arguments: Any) -> None:
    try:
        work(*arguments)
    except Exception as error:
        diary.problems.append(f"{work.__name__}{arguments[:1]}: {type(error).__name__}: {error}")
        raise


def _settings(url: str, folder: Path, feeds: Sequence[str]) -> Any:
    from seamless_assets.config.load import settings_from_mapping

    declared = {
        VENUES[feed]: {
            "base_url": url,
            "symbols": [STEADY, HALTED],
            "timeframes": ["1m"],
            "start": START - HOUR,
            "live": feed,
        }
        for feed in feeds
    }
    seamless = {
        "artifact": {"object_store_uri": "./artifacts"},
        "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
        "state_dir": "./state",
        "rate_limit": {"tokens_per_interval": 100_000, "burst_tokens": 100_000},
    }
    return settings_from_mapping({"seamless": seamless, "exchanges": declared}, base=folder, environ={})


def _replayed_otherwise(s: Any, node: str, day: Day, diary: Diary) -> Iterator[str]:
    """Release the day, and compare what a replay gives with what was told.

    Which came first, a bar or another one's correction, is told by two clocks, a moment apart.
    """
    s.publish(node, START, day.end)
    s.release(node, reason="the day is over")
    again = _values(((0.0, event) for event in s.replay([node], START, day.end, knowledge="then")), day)
    told = _values(diary.told[node], day)
    if list(told) != list(again):
        yield f"{node}: a replay gives other bars, or in another order"
    for ts, one in told.items():
        other = again.get(ts, [])
        # Whoever is told of a bar late is told of it as it is by then.
        missed = other[: len(other) - len(one)]
        came = [recorded_at for _, recorded_at in other[1 : len(missed) + 1]]
        if [values for values, _ in one] != [values for values, _ in other[len(missed) :]]:
            yield f"{node}: a replay gives other values of {ts}: {other}, told were {one}"
        elif came and diary.told_at[node, ts] < max(came):
            yield f"{node}: {ts} was told as it was {came} only, at {diary.told_at[node, ts]}"


def _values(told: Iterable[tuple[float, Any]], day: Day) -> dict[int, list[tuple[Any, float]]]:
    """The values of each bar, in the order of bars: those of its event, then of its corrections, and when."""
    found: dict[int, list[tuple[Any, float]]] = {}
    for _, event in told:
        kind = type(event).__name__
        if kind in ("Bar", "Filled"):
            found.setdefault(event.ts, []).append((event.values, 0.0))
        elif kind == "Revised" and event.recorded_at < day.end:
            found.setdefault(event.ts, []).append((event.values, event.recorded_at))
    return found


def judge(url: str, day: Day, diary: Diary) -> list[str]:
    """What is wrong with the day."""
    problems = list(diary.problems)
    for node, told in diary.told.items():
        symbol = node.split(":", 2)[2].rpartition(":")[0]
        problems += [f"{node}: {problem}" for problem in _judge_bars(url, symbol, day, told)]
        away = [day.outage, *([day.halt] if symbol == HALTED else [])]
        problems += [f"{node}: {problem}" for problem in _judge_states(diary.states.get(node, []), day, away)]
    return problems


def _judge_bars(url: str, symbol: str, day: Day, told: list[tuple[float, Any]]) -> Iterator[str]:
    """Each bar once, and in the end as the exchange has it."""
    last: dict[int, tuple[float, ...]] = {}
    for _, event in told:
        kind = type(event).__name__
        if kind in ("Bar", "Filled"):
            if event.ts in last:
                yield f"the bar at {event.ts} was told twice"
            last[event.ts] = event.values
        elif kind == "Revised" and event.ts >= START:
            last[event.ts] = event.values
    truth = _truth(url, symbol, day)
    if missing := sorted(truth.keys() - last.keys()):
        yield f"{len(missing)} bars are missing, the first at {missing[0]}"
    if invented := sorted(last.keys() - truth.keys()):
        yield f"{len(invented)} bars are none of the exchange's, the first at {invented[0]}"
    # The newest may not have been corrected yet.
    known = [ts for ts in truth if ts in last and ts < day.end - 2 * HOUR]
    if other := [ts for ts in known if last[ts] != truth[ts]]:
        yield f"{len(other)} bars are not the exchange's, the first at {other[0]}"


def _truth(url: str, symbol: str, day: Day) -> dict[int, tuple[float, ...]]:
    """The bars as the exchange has them now, asked for without the pipeline."""
    bars: dict[int, tuple[float, ...]] = {}
    for begin in range(START, day.end, 500 * MINUTE):
        until = min(begin + 500 * MINUTE, day.end) * 1000 - 1
        query = f"interval=1m&startTime={begin * 1000}&endTime={until}&limit=500"
        address = f"{url}/api/v3/klines?symbol={symbol.replace('/', '')}&{query}"
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:
            rows = json.load(answer)
        bars.update({int(row[0]) // 1000: tuple(map(float, row[1:6])) for row in rows})
    return bars


def _judge_states(states: list[tuple[float, str]], day: Day, away: list[tuple[int, int]]) -> Iterator[str]:
    """Held within `max_lag` where bars stay away, and active again by itself soon after."""
    for begin, end in away:
        held = [at for at, state in states if state == "HOLD" and begin <= at < end]
        # The bar that was forming closes up to a minute later; a look at the session takes its time.
        if not held or held[0] > begin + MAX_LAG_S + MINUTE + 3 * SAMPLE_S:
            yield f"from {begin} on bars stayed away, and it held from {held[0] if held else 'never'} on"
        back = [at for at, state in states if state != "HOLD" and at >= end]
        if not back or back[0] > end + SETTLED_S:
            yield f"from {end} on bars came again, and it held until {back[0] if back else 'never'} on"
    # What was fetched before the day ends ten minutes before it.
    troubled = [(begin, end + SETTLED_S) for begin, end in [(START - WARM_UP_S, START), *away]]
    calm = [s for at, s in states if at < day.end and not any(b <= at < e for b, e in troubled)]
    if calm and (share := calm.count("HOLD") / len(calm)) > 0.02:
        yield f"while all was well it held for {share:.0%} of the time"


def report(folder: Path, day: Day, diary: Diary, problems: list[str]) -> None:
    """Write `report.md`, `day.png` and `events.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# A day of live trading", "", "| node | bars | corrections | gaps | delay p50 | p99 | held |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for node, told in diary.told.items():
        kinds = [type(event).__name__ for _, event in told]
        calm = sorted(at - e.end for at, e in told if type(e).__name__ == "Bar" and not _is_away(day, e.ts))
        p50, p99 = (calm[len(calm) // 2], calm[len(calm) * 99 // 100]) if calm else (0.0, 0.0)
        states = [state for _, state in diary.states.get(node, [])]
        held = states.count("HOLD") / len(states) if states else 0.0
        lines.append(
            f"| {node} | {kinds.count('Bar') + kinds.count('Filled')} | {kinds.count('Revised')} | "
            f"{kinds.count('Gap')} | {p50:.1f} s | {p99:.1f} s | {held:.0%} |"
        )
    lines += ["", "![The day](day.png)", "", *(f"- {problem}" for problem in problems or ["no problem"])]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
    with (folder / "events.jsonl").open("w") as file:
        for node, told in diary.told.items():
            for at, event in told:
                facts = {name: getattr(event, name) for name in FACTS if hasattr(event, name)}
                file.write(
                    json.dumps({"at": at, "node": node, "event": type(event).__name__, **facts}) + "\n"
                )
    _draw(folder / "day.png", day, diary)


def _is_away(day: Day, ts: int) -> bool:
    return any(begin - MINUTE <= ts < end + MINUTE for begin, end in (day.outage, day.halt))


def _draw(path: Path, day: Day, diary: Diary) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1 + 1.6 * len(diary.told)), dpi=90, layout="constrained")
    axes = figure.subplots(len(diary.told), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (node, told) in zip(axes, diary.told.items(), strict=True):
        states = [*diary.states.get(node, []), (float(day.end), "")]
        for (at, state), (until, _) in pairwise(states):
            axis.axvspan(_hours(at), _hours(until), color=COLOURS.get(state, "#c9ced6"), alpha=0.35, lw=0)
        bars = [(e.end, at - e.end) for at, e in told if type(e).__name__ in ("Bar", "Filled")]
        axis.plot(
            [_hours(end) for end, _ in bars], [max(0.05, late) for _, late in bars], ".", ms=2, color="#333"
        )
        revised = [_hours(at) for at, e in told if type(e).__name__ == "Revised"]
        axis.plot(revised, [0.05] * len(revised), "|", ms=6, color="#7570b3")
        for begin, end in (day.outage, day.halt):
            for instant in (begin, end):
                axis.axvline(_hours(instant), color="#c2185b", lw=0.8, ls="--")
        axis.set_yscale("log")
        axis.set_title(f"{node}: seconds from close to event; violet: corrections", fontsize=8, loc="left")
    axes[-1].set_xlabel("hours; green active, orange hold; dashed: outage and halt")
    FigureCanvasAgg(figure).print_png(str(path))


def _hours(instant: float) -> float:
    return (instant - START) / HOUR


def main() -> int:
    """Live the day, write about it, and say what was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--feeds", nargs="+", choices=sorted(VENUES), default=sorted(VENUES))
    parser.add_argument("--out", type=Path, default=Path("live-day"))
    options = parser.parse_args()
    day = Day.of(options.hours)
    with tempfile.TemporaryDirectory() as made, exchange(Path(made), day) as url:
        haste = Haste(steer(url, "GET", "health")["now"])
        diary = trade(url, Path(made), day, options.feeds, haste, options.speed)
        problems = judge(url, day, diary)
    report(options.out, day, diary, problems)
    sys.stdout.write((options.out / "report.md").read_text())
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
