"""The benchmarks on a local exchange of their own, which can be slow, out of order, and well again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from seamless_assets.cli.acceptance.benchmarks import NO_LAG, PATIENT, WORLD, Benchmark
from seamless_assets.cli.acceptance.outcome import LEAST_COVERAGE, Outcome, outcome
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadMetadata
from seamless_assets.pipeline.connect import Seamless, connect
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

SERIES = {"binance": ("BTC/USDT", "1m"), "okx": ("ETH/USDT", "5m")}
DAY = 86_400
INCIDENT_READS = 2
INCIDENT = f"{WORLD}-incident"
"""The world whose sessions are held by it."""
PAUSE_S = 0.5
LONGEST_RECOVERY_S = 600.0
SLOW = 2.0
"""Seconds that a slow exchange takes for an answer."""
IMPATIENT = {**PATIENT, "max_wait_backfill_ms": 50, "max_wait_live_ms": 50, "on_violation": "PARTIAL_FILL"}


class LocalTrial:
    """A local exchange, and settings of pipelines on it, each with stores of its own below `folder`."""

    def __init__(self, exchange: Sandbox, folder: Path) -> None:
        self._exchange, self._folder = exchange, folder
        # Of the last day the end may not be settled yet.
        self._end = int(exchange.clock.now()) // DAY * DAY - DAY
        self.settings = self._settings("first")
        self._window: dict[NodeId, tuple[int, int]] = {}
        self._held: dict[NodeId, list[str]] = {}
        self._incident_over = 0.0

    @property
    def nodes(self) -> list[NodeId]:
        """The series that are tried."""
        return [item.node for item in self.settings.nodes]

    def benchmarks(self, every: Sequence[Benchmark]) -> tuple[Benchmark, ...]:
        """What can be tried on an exchange that does as it is told alone, beside what can be everywhere.

        The recovery comes last: a session has time for it while the others are tried.
        """
        return (self.partial_fill, self.fetched_again, *every, self.recovery)

    def prepare(self, nodes: Sequence[NodeId]) -> None:
        """Release two days, then let an incident hold a live session of each node."""
        for day in (2, 1):
            with connect(self.settings) as s:
                for node in nodes:
                    s.materialize(node, self._end - day * DAY, self._end - (day - 1) * DAY)
        self._exchange.faults.add(Fault("status", code=503, times=None))
        try:
            with connect(self.settings) as s:
                for node in nodes:
                    self._window[node] = self._last_bars(node)
                    self._held[node] = [self._read(s, node).verdict for _ in range(INCIDENT_READS)]
        finally:
            self._exchange.faults.clear()
        self._incident_over = time.monotonic()

    def recovery(self, settings: Settings, node: NodeId) -> Outcome:
        """A live session was held while the exchange was away, and returns by itself."""
        faults = [f"while it lasted it was judged {held}" for held in self._held[node] if held != "HOLD"]
        with connect(settings) as s:
            while True:
                metadata, taken = self._read(s, node), time.monotonic() - self._incident_over
                if metadata.verdict == "PASS" and metadata.coverage_ratio >= LEAST_COVERAGE:
                    break
                if taken > LONGEST_RECOVERY_S:
                    faults.append(
                        f"after {taken:.0f} s it is {metadata.verdict}: {'; '.join(metadata.reasons)}"
                    )
                    break
                time.sleep(PAUSE_S)
            if (state := s.session(INCIDENT, max_lag=NO_LAG).state(node)) != "ACTIVE":
                faults.append(f"its session is still {state}")
        measured = f"at most {taken:.0f} s after its end"
        return outcome(self.recovery, str(node), measured, faults)

    def _read(self, s: Seamless, node: NodeId) -> ReadMetadata:
        context = ComputeContext(INCIDENT, "live", max_lag=NO_LAG)
        return s.read(node, *self._window[node], context, strategy="AUTO_BACKFILL", sla=PATIENT).metadata

    def partial_fill(self, settings: Settings, node: NodeId) -> Outcome:
        """A read that may not wait for a slow exchange says what it lacks, and serves the rest."""
        start = self._end - 3 * DAY
        self._exchange.faults.add(Fault("delay", seconds=SLOW, times=None))
        context = ComputeContext(WORLD, "live", max_lag=NO_LAG, min_coverage=0.0)
        try:
            with connect(settings) as s:
                metadata = s.read(
                    node, start, start + 2 * DAY, context, strategy="AUTO_BACKFILL", sla=IMPATIENT
                ).metadata
        finally:
            self._exchange.faults.clear()
        codes = [reason.split(":")[0] for reason in metadata.reasons]
        is_sound = (
            metadata.verdict == "PARTIAL"
            and {"sla_exceeded", "bars_missing"} <= {*codes}
            and metadata.rows > 0
        )
        faults = (
            [] if is_sound else [f"it was judged {metadata.verdict} with {', '.join(codes) or 'no reason'}"]
        )
        cut = metadata.sla["violations"]
        measured = f"{metadata.verdict}, {metadata.coverage_ratio:.2f} of the bars, cut: {cut}"
        return outcome(self.partial_fill, str(node), measured, faults)

    def fetched_again(self, settings: Settings, node: NodeId) -> Outcome:
        """Another pipeline, which knows nothing of this one, seals a day under the same fingerprint."""
        other, start = self._settings(f"again-{node.exchange}"), self._end - DAY
        sealed = []
        for of in (settings, other):
            with connect(of) as s:
                if of is other:
                    s.materialize(node, start, start + DAY)
                sealed.append([ref.fingerprint for ref in s.snapshot(node).artifacts if ref.start == start])
        faults = [] if sealed[0] == sealed[1] != [] else [f"{sealed[0]} and then {sealed[1]}"]
        return outcome(self.fetched_again, str(node), f"{sealed[0][:1]}", faults)

    def _last_bars(self, node: NodeId) -> tuple[int, int]:
        """The last closed bars, which are settled and not fetched yet."""
        now = int(self._exchange.clock.now())
        end = node.timeframe.shift(node.timeframe.floor(now), -3)
        return node.timeframe.shift(end, -60), end

    def _settings(self, name: str) -> Settings:
        exchanges = {
            exchange: {
                "base_url": self._exchange.url,
                "symbols": [symbol],
                "timeframes": [timeframe],
                "start": self._end - 3 * DAY,
            }
            for exchange, (symbol, timeframe) in SERIES.items()
        }
        seamless = {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "backfill": {"max_attempts": 1, "retry_backoff_ms": 10},
        }
        whole = {"seamless": seamless, "exchanges": exchanges}
        return settings_from_mapping(whole, base=self._folder / name, environ={})


@contextmanager
def local_trial() -> Iterator[LocalTrial]:
    """A local exchange and stores in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="seamless-accept-") as folder, Sandbox().running() as exchange:
        yield LocalTrial(exchange, Path(folder))
