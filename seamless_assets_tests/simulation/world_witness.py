"""What worlds were served, held against what was released and what really happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.log import snapshot_at
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.session import SessionKey
from seamless_assets_tests.simulation.cluster import MACHINES
from seamless_assets_tests.simulation.market import Market
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.sessions import RecordingSessions
from seamless_assets_tests.simulation.witness import ReleaseWitness

Bars = dict[float, dict[str, float]]
Place = tuple[int, str, str]
HOUR = 3_600


class WorldWitness:
    """Hears of every answer; sessions are those of a machine, a world and a node."""

    def __init__(self, releases: ReleaseWitness, market: Market, violations: list[str]) -> None:
        self._releases, self._market = releases, market
        self._violations = violations
        self._latest: dict[Place, str] = {}
        self._replayed: dict[tuple[int, SessionKey], dict[int, object]] = defaultdict(dict)

    def seen(self, process: Process, context: ComputeContext, node: NodeId) -> str:
        """The latest `as_of` that a session has been told so far."""
        return self._latest.get(_place(process, context, node), "")

    def moved(self, key: SessionKey, as_of: str | None) -> None:
        """A session was moved by what may not move it."""
        self._violations.append(f"{key} was moved to {as_of} by a read of its session")

    def refused(self, node: NodeId, window: Segment, as_of: str) -> None:
        """A backtest was refused for want of released bars."""
        held = [(ref.start, ref.end) for ref in self._snapshot(node, as_of).overlapping(window)]
        if not outside(window, held):
            self._violations.append(f"{node} as of {as_of} was refused, and releases hold {window}")

    def advanced(
        self, process: Process, context: ComputeContext, node: NodeId, as_of: str | None, seen: str
    ) -> None:
        """A session was moved forward."""
        self._goes_on(process, context, node, as_of, seen)

    def live(
        self, process: Process, context: ComputeContext, node: NodeId, result: ReadResult, seen: str
    ) -> None:
        """A live read was served, of a session that had seen `seen` when it began."""
        metadata, bars = result.metadata, _bars(result)
        if metadata.verdict != "HOLD" and context.world_id != "p":
            self._goes_on(process, context, node, metadata.as_of, seen)
        released = self._bars(node, metadata.as_of) if metadata.as_of else {}
        for ts, row in bars.items():
            wanted = released.get(ts)
            known = [tuple(values) for values in self._market.values(node, int(ts))]
            if (wanted is not None and row != wanted) or (wanted is None and _values(row) not in known):
                self._violations.append(
                    f"{node} as of {metadata.as_of}, live: {row} is neither released nor true"
                )
        # What was cut while it was gathered says so.
        if (
            metadata.as_of
            and not metadata.sla["violations"]
            and (lost := [ts for ts in released if _within(metadata, ts) and ts not in bars])
        ):
            self._violations.append(
                f"{node} as of {metadata.as_of}, live: released bars {lost[:3]} are left out"
            )
        self._is_judged(node, context, result, bars)

    def dry(
        self,
        process: Process,
        context: ComputeContext,
        node: NodeId,
        result: ReadResult,
        stores: Sequence[RecordingSessions],
    ) -> None:
        """A dry-run read was served: by releases alone, and as it was served before."""
        machine, key = process.slot % MACHINES, SessionKey.of(context, str(node))
        made = stores[machine].records[key].made if key in stores[machine].records else ()
        metadata, bars = result.metadata, _bars(result)
        layers = [self._bars(node, as_of) for as_of in (key.bound, *made)]
        if strange := [ts for ts, row in bars.items() if row not in [layer.get(ts) for layer in layers]]:
            self._violations.append(
                f"{key}: bars {strange[:3]} are in no release that it is bound to or made"
            )
        before = self._replayed[machine, key]
        for ts in range(metadata.start, metadata.end, HOUR):
            if before.setdefault(ts, bars.get(ts)) != bars.get(ts):
                self._violations.append(f"{key}: bar {ts} was {before[ts]} and is {bars.get(ts)} now")
                return

    def backtest(self, node: NodeId, result: ReadResult, as_of: str) -> None:
        """A backtest was served: just what was released."""
        metadata, bars = result.metadata, _bars(result)
        wanted = {ts: row for ts, row in self._bars(node, as_of).items() if _within(metadata, ts)}
        if bars != wanted:
            self._violations.append(f"{node} as of {as_of}: a backtest was served other bars than released")

    def _goes_on(
        self, process: Process, context: ComputeContext, node: NodeId, as_of: str | None, seen: str
    ) -> None:
        if as_of is None:
            return
        place = _place(process, context, node)
        if as_of < seen:
            self._violations.append(f"{place} went back from {seen} to {as_of}")
        self._latest[place] = max(self._latest.get(place, ""), as_of)

    def _is_judged(self, node: NodeId, context: ComputeContext, result: ReadResult, bars: Bars) -> None:
        metadata = result.metadata
        assert context.max_lag is not None
        is_late = metadata.staleness_seconds is None or metadata.staleness_seconds > context.max_lag
        known = {
            ts for gap in metadata.gaps if gap.reason != "missing" for ts in range(gap.start, gap.end, HOUR)
        }
        missing = [
            ts for ts in range(metadata.start, metadata.end, HOUR) if ts not in bars and ts not in known
        ]
        denied = [ts for ts in known if ts not in bars and self._market.values(node, ts)]
        if is_late and metadata.verdict != "HOLD":
            self._violations.append(
                f"{node}: {metadata.verdict}, and the last bar is {metadata.staleness_seconds} s old"
            )
        if missing and metadata.verdict == "PASS":
            self._violations.append(f"{node}: PASS, and bars {missing[:3]} are missing")
        if denied:
            self._violations.append(f"{node}: bars {denied[:3]} are said not to exist, and they do")

    def _snapshot(self, node: NodeId, as_of: str) -> Snapshot:
        return snapshot_at(str(node), self._releases.log(node), as_of)

    def _bars(self, node: NodeId, as_of: str) -> Bars:
        return {row["ts"]: row for row in self._releases.bars(node, self._snapshot(node, as_of))}


def _bars(result: ReadResult) -> Bars:
    return {row["ts"]: row for row in result.bars.to_pylist()}


def _values(row: dict[str, float]) -> tuple[float, ...]:
    return tuple(row[name] for name in ("open", "high", "low", "close", "volume"))


def _within(metadata: object, ts: float) -> bool:
    return bool(metadata.start <= ts < metadata.end)  # type: ignore[attr-defined]


def _place(process: Process, context: ComputeContext, node: NodeId) -> Place:
    return process.slot % MACHINES, context.world_id, str(node)
