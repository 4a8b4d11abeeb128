"""What was released, as an outside witness saw it: the bars of every `as_of`, the bytes of each record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from seamless_assets.core.bars.parquet import decode_bars
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import snapshot_at, verify_chain
from seamless_assets.core.releases.release import LOG_FOLDER, Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.testing import InMemoryArtifactStore, InMemoryFiles
from seamless_assets_tests.simulation.market import Market

QUIET = ("compaction", "clean_up")
"""Kinds of releases that change no bar."""


class ReleaseWitness:
    """Hears of every file that is made or removed, and remembers what each release promised.

    No release may be dated more than `most_ahead_s` after true time.
    """

    def __init__(
        self, files: InMemoryFiles, market: Market, violations: list[str], most_ahead_s: float
    ) -> None:
        self._files = files
        self._store = InMemoryArtifactStore(files)
        self._market = market
        self._most_ahead_s = most_ahead_s
        self._nodes = tuple(market.series)
        self._violations = violations
        self._records: dict[str, bytes] = {}
        self._needed: set[str] = set()
        self._decoded: dict[bytes, list[dict[str, float]]] = {}
        self.digests: dict[NodeId, dict[str, str]] = {node: {} for node in market.series}
        self.acknowledged: list[tuple[NodeId, Release]] = []
        files.on_change = self._look

    def log(self, node: NodeId) -> list[Release]:
        """The node's release records as they lie there, by number."""
        folder = self.path(node, f"{LOG_FOLDER}/")
        return [
            Release.from_json(payload, path)
            for path, payload in sorted(self._files.held.items())
            if path.startswith(folder)
        ]

    def digest(self, node: NodeId, snapshot: Snapshot) -> str:
        """A hash of all bars of a snapshot. Raises `KeyError` where a file is gone."""
        return digest_of(self.bars(node, snapshot))

    def bars(self, node: NodeId, snapshot: Snapshot) -> list[dict[str, float]]:
        """All bars of a snapshot. Raises `KeyError` where a file is gone."""
        paths = [self.path(node, ref.file_path) for ref in snapshot.artifacts]
        return [row for path in paths for row in self._rows(self._files.held[path])]

    def path(self, node: NodeId, below: str) -> str:
        """Where a file of the node's folder lies among the files."""
        return self._store.file_uri(node, below).removeprefix(f"{self._store.root}/")

    def violations(self) -> Iterator[str]:
        """What is wrong with the logs and with what they promise."""
        for path, payload in self._records.items():
            if self._files.held.get(path) != payload:
                yield f"release record {path} was changed or removed"
        for node in self._nodes:
            log = self.log(node)
            try:
                verify_chain(log, str(node))
            except ArtifactCorrupt as error:
                yield str(error)
            for as_of, promised in self.digests[node].items():
                try:
                    found = self.digest(node, snapshot_at(str(node), log, as_of))
                except KeyError as error:
                    yield f"{node} as of {as_of} cannot be read: {error} is gone"
                else:
                    if found != promised:
                        yield f"{node} as of {as_of} holds other bars than when it was released"
            for owner, entry in self.acknowledged:
                if owner == node and entry not in log:
                    yield f"release {entry.seq} of {node} was acknowledged and is lost"

    def _rows(self, payload: bytes) -> list[dict[str, float]]:
        if payload not in self._decoded:
            self._decoded[payload] = decode_bars(payload).to_pylist()
        return self._decoded[payload]

    def _look(self, path: str) -> None:
        if path not in self._files.held:
            if path in self._needed:
                self._violations.append(f"{path} was removed, and a release needs it")
        elif f"/{LOG_FOLDER}/" in path:
            self._witness(path)

    def _witness(self, path: str) -> None:
        self._records.setdefault(path, self._files.held[path])
        node = next(node for node in self._nodes if path.startswith(self.path(node, "")))
        log = self.log(node)
        snapshot = snapshot_at(str(node), log)
        self._needed.update(self.path(node, ref.file_path) for ref in snapshot.artifacts)
        self._needed.update(self.path(node, ref.manifest_path) for ref in snapshot.artifacts)
        if gone := sorted(self._needed - self._files.held.keys()):
            self._violations.append(f"release {log[-1].seq} of {node} needs {gone[0]}, which is not there")
            return
        self._hold_against_the_market(node, log)
        ahead = epoch_micros(log[-1].as_of, "as_of") / 1e6 - self._files.clock.now()
        if ahead > self._most_ahead_s:
            self._violations.append(f"release {log[-1].seq} of {node} is dated {ahead:.0f} s ahead")
        digest = self.digests[node].setdefault(log[-1].as_of, self.digest(node, snapshot))
        if log[-1].kind in QUIET and len(log) > 1 and digest != self.digests[node].get(log[-2].as_of):
            self._violations.append(f"release {log[-1].seq} of {node}, a {log[-1].kind}, changed bars")

    def _hold_against_the_market(self, node: NodeId, log: Sequence[Release]) -> None:
        """Bars in force had their values once; no release of its own accord brings an older value back."""
        entry = log[-1]
        in_force = snapshot_at(str(node), log[:-1]).artifacts
        before = {ts: age for ref in in_force for ts, age in self._ages(node, ref)}
        for ref in entry.added:
            for ts, age in self._ages(node, ref):
                what = f"release {entry.seq} of {node}"
                if age is None or not ref.start <= ts < ref.end:
                    self._violations.append(f"{what} holds a bar at {ts} that never was")
                elif entry.kind == "automatic" and age < (before.get(ts) or 0):
                    self._violations.append(f"{what} brings back an older bar at {ts}")

    def _ages(self, node: NodeId, ref: ArtifactRef) -> Iterator[tuple[int, int | None]]:
        """Opens of an artifact's bars, each with the number of its value among those that it ever had."""
        for row in self._rows(self._files.held[self.path(node, ref.file_path)]):
            ts, *values = row.values()
            history = self._market.values(node, int(ts))
            yield int(ts), history.index(tuple(values)) if tuple(values) in history else None


def digest_of(rows: Sequence[dict[str, float]]) -> str:
    """A hash of bars by their values."""
    return sha256(repr([tuple(row.values()) for row in rows]).encode()).hexdigest()
