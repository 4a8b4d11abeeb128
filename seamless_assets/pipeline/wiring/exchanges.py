"""Exchanges as the settings declare them, and what is free of their rate budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seamless_assets.adapters.ccxt.documented.timeframes import documented_timeframes
from seamless_assets.adapters.ccxt.documented.volume import volume_unit_of
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, known_markets
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.aio.gather import gather
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings
from seamless_assets.config.rules import Finding
from seamless_assets.core.addresses import place_of
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import Event
from seamless_assets.flows.ports import CandleSource, CandleStream, LiveFeeds
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.pipeline.wiring.policy import policy_of

if TYPE_CHECKING:
    from seamless_assets.adapters.ccxt.source import CcxtSource
    from seamless_assets.adapters.ccxt.streams.source import CcxtStream
    from seamless_assets.adapters.http.archive import HttpArchives
    from seamless_assets.adapters.redis.budget import RedisBudget
    from seamless_assets.core.wire.views import BudgetView
    from seamless_assets.flows.live.feeds import Feeds

Notify = Callable[[Event], None]


class Exchanges:
    """The source of candles, their stream, and what follows that, each made at its first use.

    ccxt takes longer to import than a year of released bars to read, and readers need none of them.
    """

    def __init__(self, settings: Settings, gate: RateGate) -> None:
        self._source = LateSource(_import_ccxt, lambda: _source(settings, gate))
        self._stream = LateSource(
            _import_ccxt_pro, lambda: _stream(settings, gate, self._source), port=CandleStream
        )
        self.source = cast(CandleSource, self._source)
        self.stream = cast(CandleStream, self._stream)
        self.feeds = cast(LiveFeeds, LateSource(_import_feeds, lambda: _feeds(self.stream), port=LiveFeeds))

    async def close(self) -> None:
        """Close the connections that were opened."""
        await self._stream.close()
        await self._source.close()


class LateSource:
    """Stands in for the `port` that `make` makes, once `load` has imported what that needs.

    An awaited method waits while a thread imports; another one, which cannot, imports at once.
    """

    def __init__(self, load: Callable[[], Any], make: Callable[[], Any], port: type = CandleSource) -> None:
        self._load, self._make, self._port = load, make, port
        self._loading: asyncio.Task[Any] | None = None
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None and iscoroutinefunction(getattr(self._port, name, None)):
            return lambda *args, **more: self._call(name, *args, **more)
        return getattr(self._source(), name)

    def clock_skew(self, exchange: str) -> float:
        """That of the source; 0 where it was never used, and so never asked."""
        return 0.0 if self._made is None else float(self._made.clock_skew(exchange))

    async def requests_made(self, exchange: str) -> int:
        """Those of the source; 0 where it was never used."""
        return 0 if self._made is None else int(await self._made.requests_made(exchange))

    async def close(self) -> None:
        """Close the source, if it was ever used."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})
        if self._made is not None:
            await self._made.close()

    async def _call(self, name: str, *args: Any, **more: Any) -> Any:
        if self._loading is None:
            # One thread for all who ask meanwhile.
            self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        loading = self._loading
        try:
            await asyncio.shield(loading)
        except Exception:
            # What failed to import may be there later; only its own failure is forgotten.
            if self._loading is loading:
                self._loading = None
            raise
        return await getattr(self._source(), name)(*args, **more)

    def _source(self) -> Any:
        if self._made is None:
            self._load()
            self._made = self._make()
        return self._made


def _import_ccxt() -> type[CcxtSource]:
    with late_imports("aiohttp", "ccxt"):
        from seamless_assets.adapters.ccxt.source import CcxtSource
    return CcxtSource


def _source(settings: Settings, gate: RateGate) -> CandleSource:
    memory = ExchangeMemory(memory_file(settings))
    return _import_ccxt()(_all_client_settings(settings), gate, memory)


def memory_file(settings: Settings) -> Path:
    """Where what is learned of exchanges is kept."""
    return settings.seamless.state_dir / "exchanges.sqlite"


def memory_place(settings: Settings, exchange: str) -> str:
    """The name under which what is learned of an exchange is kept there."""
    return _client_settings(settings, exchange).memory_place(exchange)


def _import_ccxt_pro() -> type[CcxtStream]:
    with late_imports("aiohttp", "ccxt", "ccxt.pro"):
        from seamless_assets.adapters.ccxt.streams.source import CcxtStream
    return CcxtStream


def _stream(settings: Settings, gate: RateGate, source: Any) -> CandleStream:
    return _import_ccxt_pro()(_all_client_settings(settings), gate, source)


def _import_feeds() -> type[Feeds]:
    with late_imports():
        from seamless_assets.flows.live.feeds import Feeds
    return Feeds


def _feeds(stream: CandleStream) -> LiveFeeds:
    return _import_feeds()(stream)


def _all_client_settings(settings: Settings) -> dict[str, ClientSettings]:
    return {name: _client_settings(settings, name) for name in settings.exchanges}


def archives(settings: Settings, now: Callable[[], float], notify: Notify) -> HttpArchives | None:
    """The archives that the settings name; None where they name none."""
    declared = {name: one.archive for name, one in settings.exchanges.items() if one.archive}
    if not declared:
        return None
    with late_imports("aiohttp"):
        from seamless_assets.adapters.http.archive import ArchivePlace, HttpArchives

    places = {
        name: ArchivePlace(str(one.base_url), one.monthly, one.daily, one.market == "swap")
        for name, one in declared.items()
    }
    policy = policy_of(settings)
    return HttpArchives(places, policy.severities, policy.drops_flat_bars, now, notify)


def budget_key(settings: Settings, exchange: str) -> str:
    """The key under which all who ask an exchange share its rate budget."""
    base_url = settings.exchanges[exchange].base_url
    # A local exchange or a proxy has limits of its own, so it has a budget of its own.
    place = f"@{place_of(base_url)}" if base_url else ""
    return f"rl:{settings.budget_key(exchange)}{place}"


def _client_settings(settings: Settings, exchange: str) -> ClientSettings:
    declared = settings.exchanges[exchange]
    return ClientSettings(
        budget_key=budget_key(settings, exchange),
        budget=settings.budget(exchange),
        concurrency=settings.seamless.rate_limit.local_semaphore,
        base_url=str(declared.base_url) if declared.base_url else None,
        sandbox=declared.sandbox,
        options=declared.client_options,
        symbols=declared.symbols,
    )


@dataclass(frozen=True, slots=True)
class LearnedMarket:
    """What the volume of a node counts, and the open of its first bar ever; None where it is not known."""

    volume: VolumeUnit | None = None
    listed: int | None = None


def learned_markets(settings: Settings, nodes: Iterable[NodeId]) -> dict[NodeId, LearnedMarket]:
    """What is known by now of nodes, those left out of which nothing is."""
    file, wanted = memory_file(settings), list(nodes)
    exchanges = dict.fromkeys(node.exchange for node in wanted)
    known = {name: known_markets(file, memory_place(settings, name)) for name in exchanges}
    learned = {}
    for node in wanted:
        markets, listed = known[node.exchange]
        market = markets.get(node.symbol)
        if market is not None or str(node) in listed:
            unit = volume_unit_of(node.exchange, market) if market is not None else None
            learned[node] = LearnedMarket(unit, listed.get(str(node)))
    return learned


def timeframes_served(settings: Settings) -> Iterator[Finding]:
    """A rule of the settings: each exchange serves its timeframes, as ccxt documents it; none is asked."""
    for name, exchange in settings.exchanges.items():
        served = documented_timeframes(name)
        if served == ():
            yield f"{name} serves no candles through ccxt", ("exchanges", name)
        for number, timeframe in enumerate(exchange.timeframes if served else ()):
            if str(timeframe) not in (served or ()):
                message = f"{name} serves no {timeframe} candles; it has {', '.join(served or ())}"
                yield message, ("exchanges", name, "timeframes", number)


class BudgetLevels:
    """The budgets of all declared exchanges. Nothing is connected to before its first use."""

    def __init__(self, settings: Settings) -> None:
        # Who asks for budgets serves others meanwhile, and imports nothing beside them.
        with late_imports("seamless_assets.core.wire"):
            from seamless_assets.core.wire.views import BudgetView as View

        self._settings, self._view_of = settings, View
        self._store: MachineBudget | RedisBudget
        if settings.redis_dsn is None:
            self._store = MachineBudget(settings.seamless.state_dir / "rate_budget.sqlite")
            return
        with late_imports("redis"):
            from seamless_assets.adapters.redis.budget import RedisBudget as Shared

        self._store = Shared(settings.redis_dsn)

    async def load(self) -> list[BudgetView]:
        """What is free now of each. Raises `BudgetUnavailable`."""
        return await gather(self._view(exchange) for exchange in self._settings.exchanges)

    async def close(self) -> None:
        """Let go of the file or server."""
        await self._store.close()

    async def _view(self, exchange: str) -> BudgetView:
        key, budget = budget_key(self._settings, exchange), self._settings.budget(exchange)
        tokens = await self._store.left(key, budget)
        return self._view_of(exchange, key, tokens, budget.burst, budget.tokens_per_second)
