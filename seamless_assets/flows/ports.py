"""What flows need of the world. Adapters satisfy these by shape; tests by in-memory twins.

Times are epoch seconds UTC, ranges half-open, bars Arrow tables of `core.bars.BARS_SCHEMA`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
import pyarrow as pa

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.bars.table import Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.coverage.plan import Page
from seamless_assets.core.coverage.proof import Reach, Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest, SealedArtifact, StoredFile
from seamless_assets.core.releases.release import Release, Snapshot
from seamless_assets.core.releases.scan import Scan
from seamless_assets.core.sharing.events import Event
from seamless_assets.core.sharing.lease import Fence, Lease, LeaseTally
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.core.sharing.retention import Evictable, StoreStatus
from seamless_assets.core.sharing.token_bucket import Budget, Place


class Clock(Protocol):
    """Every `now` and every wait of a flow."""

    def now(self) -> float:
        """Epoch seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class CandleSource(Protocol):
    """Exchanges, asked one page at a time. Every question is one request at most where not said otherwise."""

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol` or `UnsupportedTimeframe`, with the valid choices.

        A symbol that is listed no more is known as long as the markets it was in are remembered.
        """

    def documented_page(self, node: NodeId) -> int:
        """The most bars a page holds as documented; every process says the same."""

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold; learned, so it may shrink."""

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that pages are cut at `size` bars."""

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """Candles as sent that open in `window`: `ts` in ms as the exchange wrote it, then o, h, l, c, v.

        One request, no retry. Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        """The first trades of `window` that one page holds; none where the exchange serves none.

        Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock; ours where it has none to ask."""

    def reach(self, node: NodeId) -> Reach:
        """Where the series begins and ends, as far as that was found out already."""

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar the exchange ever had, searched once; None where it cannot be told."""

    async def oldest_served(self, node: NodeId) -> int | None:
        """Open of the oldest bar that is still served, where that is not the first one; else None."""

    async def is_delisted(self, node: NodeId) -> bool:
        """Whether the symbol is no longer traded; the market list is asked for anew where it is not fresh."""

    async def last_traded(self, node: NodeId) -> int | None:
        """Close of the last bar the exchange serves, searched once; None where it serves none."""

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """Coarser series of the symbol whose bars can witness for its own, the finest first."""

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Other symbols of the exchange in the same timeframe, as declared."""


class HotStore(Protocol):
    """Mutable recent bars, what was revised of them, and the coverage ledger."""

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted."""

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, int64 epoch seconds, sorted."""

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """Upsert bars with unique opens, append facts, and keep what a changed bar held as a revision.

        Where a crash can part them, bars come first: no fact stands without its bars. Raises
        `StaleToken` where a later holder of the fence's chunk has written.
        """

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts (`core.ledger.FACTS_SCHEMA`) that touch `window`, in the order they were recorded."""

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars (`core.bars.REVISIONS_SCHEMA`) that open in `window`, in the order recorded."""

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop bars, none outside `evictable`, and remember which ranges; the number of bars dropped.

        A range whose bars have changed since it was looked at stays, and so does a bar that is written
        while this goes on.
        """

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted and stand in artifacts only, joined."""

    async def status(self) -> StoreStatus:
        """What an operator wants to know of it."""

    async def close(self) -> None:
        """Let go of files and connections."""


class LeaseStore(Protocol):
    """Who fills what, across processes."""

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`.

        A holder that claims again what it holds gets the same lease, so a lost answer can be asked for.
        """

    async def renew(self, lease: Lease, ttl: float) -> Lease:
        """Hold on for `ttl` seconds from now. Raises `LeaseLost`, `LeaseStoreUnavailable`."""

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""


class LeaseQuota(Protocol):
    """How many leases this process holds and asks for at once."""

    def slots(self, key: str) -> asyncio.Semaphore:
        """A slot of the exchange that a lease's key is about, held while the lease is."""

    def waiting(self) -> AbstractContextManager[int]:
        """Be counted among those who wait for a lease; gives how many there are."""


class LeaseRegister(LeaseStore, Protocol):
    """A lease store that keeps the tally of all its leases, for a coordinator to serve."""

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""

    async def holder_of(self, key: str) -> Lease | None:
        """The lease under which `key` is held. Raises `LeaseStoreUnavailable`."""

    async def tally(self) -> LeaseTally:
        """What became of all leases so far. Raises `LeaseStoreUnavailable`."""

    async def close(self) -> None:
        """Let go of the file."""


class BudgetStore(Protocol):
    """Token buckets by key (`core.token_bucket`), whoever shares them. All raise `BudgetUnavailable`."""

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`; its `wait` is to be waited, then `moved` asked."""

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over: `wait` is what cool-downs added since; None if it is void."""

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out."""

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`."""

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past it; `born` is that of the places known, if any."""


class Observer(Protocol):
    """Hears what happens."""

    def notify(self, event: Event) -> None:
        """Take note; never blocks, never raises."""


class ArtifactStore(Protocol):
    """Immutable artifacts and release logs. Paths are relative to the node's folder."""

    async def put_artifact(self, artifact: SealedArtifact, avoid: Collection[str] = ()) -> ArtifactRef:
        """Store it, or find it stored already, under no path of `avoid`.

        Raises `FingerprintCollision`, `ArtifactCorrupt`.
        """

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """Its manifest, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """Its bars, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def load_scan(self, node: NodeId, refs: Sequence[ArtifactRef]) -> Scan:
        """Bars, gaps and flags of artifacts in ascending order, all verified.

        Raises `ArtifactMissing`, `ArtifactCorrupt`.
        """

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The release log from its first record, verified as one chain."""

    async def load_snapshot(
        self, node: NodeId, as_of: str | None = None, fingerprint: str | None = None
    ) -> Snapshot:
        """The snapshot after the last release at or before `as_of`, and of that dataset `fingerprint`."""

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add one record. Raises `ReleaseConflict` where another stands in that place of the log."""

    async def list_files(self, node: NodeId) -> list[StoredFile]:
        """Everything that lies one folder below the node's own, records and leftovers too, in no order."""

    async def read_file(self, node: NodeId, path: str) -> bytes:
        """What is stored there now, never from a cache. Raises `ArtifactMissing`."""

    async def remove_files(self, node: NodeId, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def status(self) -> StoreStatus:
        """What an operator wants to know of it; it was written to and read from."""

    def file_uri(self, node: NodeId, path: str) -> str:
        """Where a file below a node's folder is; of an empty path what stands before all of them."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a flow touches. `worker` names this process in leases and events."""

    clock: Clock
    source: CandleSource
    hot: HotStore
    artifacts: ArtifactStore
    policy: Policy
    rng: Random
    leases: LeaseStore
    observer: Observer
    flights: SingleFlight
    worker: str
    quota: LeaseQuota
