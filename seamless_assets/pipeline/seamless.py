"""The face that people call, all parts of it: `AsyncSeamless`, and `Seamless`, its sync twin."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from seamless_assets.config.load import Settings
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.pipeline.files import Files
from seamless_assets.pipeline.filling import Filling
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.reading import Reading
from seamless_assets.pipeline.releasing import Releasing
from seamless_assets.pipeline.streaming import Streaming
from seamless_assets.pipeline.sync import blocking, blocking_unless, forwarding, iterating, wrapping
from seamless_assets.pipeline.upkeep import Upkeep
from seamless_assets.pipeline.wiring.stores import S3Access
from seamless_assets.pipeline.world import AsyncWorldSession


class AsyncSeamless(Reading, Files, Filling, Releasing, Streaming, Upkeep):
    """The methods of `Seamless`, to be awaited. Reached as `Seamless.aio`."""


class WorldSession:
    """Reads of one world in one domain. Use it as a context manager; `aio` is its async twin.

    What it has seen is remembered beyond it, under the world's name: an `as_of` never goes back, restarts
    and other processes included.
    """

    def __init__(self, aio: AsyncWorldSession) -> None:
        self.aio = aio

    @property
    def context(self) -> ComputeContext:
        """The context that every read of the session has."""
        return self.aio.context

    read = blocking(AsyncWorldSession.read)
    bind = blocking(AsyncWorldSession.bind)
    as_of = blocking(AsyncWorldSession.as_of)
    advance = blocking(AsyncWorldSession.advance)
    pin = blocking(AsyncWorldSession.pin)
    unpin = blocking(AsyncWorldSession.unpin)
    state = blocking(AsyncWorldSession.state)
    verdicts = blocking(AsyncWorldSession.verdicts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What the session has seen stays; there is nothing to let go of."""


class Seamless:
    """An open pipeline. Use it as a context manager, or call `close()`; `aio` is its async twin.

    Times are epoch seconds, ISO 8601 texts or aware datetimes; windows are half-open and hold the whole
    bars inside. A node is its id (`ohlcv:binance:BTC/USDT:1m`) or a `NodeId`. Threads may share it; pickled
    (joblib, multiprocessing), it is its settings, credentials included, and connects anew where it is loaded.
    """

    def __init__(self, settings: Settings, s3: S3Access | None = None, portal: Portal | None = None) -> None:
        self.aio = AsyncSeamless(settings, s3, portal)

    @property
    def settings(self) -> Settings:
        """The settings it was opened with."""
        return self.aio.settings

    read = blocking_unless(AsyncSeamless._read_at_hand, AsyncSeamless.read)
    read_panel = blocking(AsyncSeamless.read_panel)
    session = wrapping(AsyncSeamless.session, WorldSession)
    condition = blocking(AsyncSeamless.condition)
    releases = blocking(AsyncSeamless.releases)
    manifest = blocking(AsyncSeamless.manifest)
    diff = blocking(AsyncSeamless.diff)
    snapshot = blocking(AsyncSeamless.snapshot)
    released_window = blocking(AsyncSeamless.released_window)
    snapshot_files = blocking(AsyncSeamless.snapshot_files)
    export = blocking(AsyncSeamless.export)
    verify_export = blocking(AsyncSeamless.verify_export)
    ingest = blocking(AsyncSeamless.ingest)

    backfill = blocking(AsyncSeamless.backfill)
    backfill_in_background = forwarding(AsyncSeamless.backfill_in_background)
    drain_fills = blocking(AsyncSeamless.drain_fills)
    ensure_coverage = blocking(AsyncSeamless.ensure_coverage)
    coverage = blocking(AsyncSeamless.coverage)
    declare = blocking(AsyncSeamless.declare)
    revoke = blocking(AsyncSeamless.revoke)
    declarations = blocking(AsyncSeamless.declarations)
    ledger = blocking(AsyncSeamless.ledger)

    materialize = blocking(AsyncSeamless.materialize)
    materialize_each = iterating(AsyncSeamless.materialize_each)
    publish = blocking(AsyncSeamless.publish)
    release = blocking(AsyncSeamless.release)
    unpin = blocking(AsyncSeamless.unpin)
    rollback = blocking(AsyncSeamless.rollback)
    withdraw = blocking(AsyncSeamless.withdraw)

    subscribe = iterating(AsyncSeamless.subscribe)
    panel = iterating(AsyncSeamless.panel)
    replay = iterating(AsyncSeamless.replay)

    verify = blocking(AsyncSeamless.verify)
    compact = blocking(AsyncSeamless.compact)
    gc = blocking(AsyncSeamless.gc)
    evict = blocking(AsyncSeamless.evict)
    mirror = blocking(AsyncSeamless.mirror)
    deliver_webhooks = blocking(AsyncSeamless.deliver_webhooks)
    diagnose = blocking(AsyncSeamless.diagnose)

    def close(self) -> None:
        """Like `AsyncSeamless.close`, in the thread that calls it."""
        self.aio.portal.stop()

    close.__doc__ = AsyncSeamless.close.__doc__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Settings, S3Access | None]]:
        _, arguments = self.aio.__reduce__()
        return type(self), arguments
