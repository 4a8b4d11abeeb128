"""What flows need of the world. Adapters satisfy these by shape; tests by in-memory twins.

Times are epoch seconds UTC, ranges half-open, bars Arrow tables of `core.bars.BARS_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef, Manifest, SealedArtifact
from seamless_assets.core.bars import Written
from seamless_assets.core.coverage import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.plan import Page
from seamless_assets.core.policy import Policy
from seamless_assets.core.release import Release
from seamless_assets.core.segment import Segment


class Clock(Protocol):
    """Every `now` and every wait of a flow."""

    def now(self) -> float:
        """Epoch seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class CandleSource(Protocol):
    """Exchanges, asked one page at a time."""

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol` or `UnsupportedTimeframe`, with the valid choices."""

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold; learned, so it may shrink."""

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that pages are cut at `size` bars."""

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """Candles as sent that open in `window`: `ts` in ms as the exchange wrote it, then o, h, l, c, v.

        One request, no retry. Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock; ours where it has none to ask."""

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar the exchange ever had; None where that cannot be told."""


class HotStore(Protocol):
    """Mutable recent bars and the coverage ledger."""

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted."""

    async def write_bars(self, node: NodeId, bars: pa.Table, facts: Sequence[Fact]) -> Written:
        """Upsert bars and append facts as one: both are kept or neither."""

    async def load_facts(self, node: NodeId, window: Segment) -> list[Fact]:
        """Facts that touch `window`, in the order they were recorded."""


class ArtifactStore(Protocol):
    """Immutable artifacts and release logs."""

    async def put_artifact(self, artifact: SealedArtifact) -> ArtifactRef:
        """Store it, or find it stored already. Raises `FingerprintCollision`, `ArtifactCorrupt`."""

    async def load_manifest(self, node: NodeId, ref: ArtifactRef) -> Manifest:
        """Its manifest, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def load_artifact(self, node: NodeId, ref: ArtifactRef) -> pa.Table:
        """Its bars, verified. Raises `ArtifactMissing`, `ArtifactCorrupt`."""

    async def list_artifacts(self, node: NodeId) -> list[tuple[ArtifactRef, Manifest]]:
        """Every stored artifact of the node, released or not, in no order."""

    async def list_releases(self, node: NodeId) -> list[Release]:
        """The release log from its first record, verified as one chain."""

    async def append_release(self, node: NodeId, release: Release) -> None:
        """Add one record. Raises `ReleaseConflict` where that place of the log is taken."""

    def manifest_uri(self, node: NodeId, ref: ArtifactRef) -> str:
        """Where its manifest is."""

    def artifact_uri(self, node: NodeId, ref: ArtifactRef) -> str:
        """Where its Parquet file is."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a flow touches."""

    clock: Clock
    source: CandleSource
    hot: HotStore
    artifacts: ArtifactStore
    policy: Policy
    rng: Random
