"""All of `seamless.yaml` as frozen models, and what follows from them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, SecretStr

from seamless_assets.config.addresses import Dsn
from seamless_assets.config.automation import AutomationSettings
from seamless_assets.config.fields import (
    Frame,
    GroupName,
    HeaderSecret,
    HttpUrl,
    Joint,
    LeaseUrl,
    Milliseconds,
    Node,
    Number,
    Owner,
    Pace,
    ProxyUrl,
    Ratio,
    RedisUrl,
    Seconds,
    Section,
    SigningSecret,
    Start,
    Symbol,
    TagKey,
    TagValue,
    Text,
    Truth,
    Whole,
    section,
    template,
)
from seamless_assets.config.sections import SeamlessSettings, ServiceSettings
from seamless_assets.core.calendar.partition import PartitionUnit, default_unit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.deriving.recipes import MissingLeg, Recipe, Resample, Synthetic
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import InvalidChoice

_CACHE_KEY = ("node_id", "start", "end", "interval", "conf_ver", "world_id", "as_of")


class CacheSettings(Section):
    """The cache of reads, and the most that released bars may take of memory and of disk; 0 keeps none."""

    ttl_ms: Milliseconds = 60_000
    """After it, a cached read is made anew."""
    max_shards: Annotated[Whole, Field(gt=0, le=1_000_000)] = 512
    """Most reads that are kept; the last used stay."""
    max_memory_mb: Annotated[Whole, Field(ge=0, le=1_000_000)] = 256
    """Most that released bars take of memory; 0 keeps none."""
    max_segment_mb: Annotated[Whole, Field(ge=0, le=1_000_000_000)] = 1_024
    """Most that copies of a bucket's files take of the disk; 0 keeps none."""
    key_template: Annotated[str, template((*_CACHE_KEY, "domain", "dataset_fingerprint"), _CACHE_KEY)] = (
        "{node_id}:{start}:{end}:{interval}:{conf_ver}:{world_id}:{as_of}"
    )
    """What a cached read is known by."""


class BacktestSettings(Section):
    """What a backtest may read."""

    require_as_of: Truth = True
    """Has to stay true: without it a backtest cannot be repeated."""
    source: Literal["artifact_only"] = "artifact_only"
    """What a backtest reads."""


class DryrunSettings(Section):
    """What a dry run may read."""

    require_as_of: Truth = True
    """Has to stay true: without it a dry run cannot be repeated."""
    source: Literal["artifact_only", "artifact_prefers"] = "artifact_prefers"
    """`artifact_only` lets a dry run release nothing of its own."""


class LiveSettings(Section):
    """When a live session is held."""

    max_lag_sec: Seconds = 120.0
    """Greatest age of the last bar, in seconds; beyond it reads hold."""
    allow_partial: Truth = True
    """`false` holds where a read would be PARTIAL."""
    monotonic_as_of: Truth = True
    """Has to stay true: only a pin sets a session back."""
    min_coverage: Ratio | None = None
    """Least share of bars of a live read whose context names none."""


class DomainsSettings(Section):
    """The section `domains`."""

    backtest: BacktestSettings = section()
    dryrun: DryrunSettings = section()
    live: LiveSettings = section()


_ARCHIVED = ("id", "base", "quote", "timeframe")


class ArchiveSettings(Section):
    """Where an exchange keeps files of its candles: zips of a month or a day, with checksums beside them.

    `market`: which kind of market they are of; others come over REST alone.
    """

    base_url: HttpUrl
    """Where the folders of its files lie."""
    monthly: Annotated[str, template((*_ARCHIVED, "month"), ("timeframe", "month"))] = (
        "monthly/klines/{id}/{timeframe}/{id}-{timeframe}-{month}.zip"
    )
    """Path of the file of a month."""
    daily: Annotated[str, template((*_ARCHIVED, "day"), ("timeframe", "day"))] = (
        "daily/klines/{id}/{timeframe}/{id}-{timeframe}-{day}.zip"
    )
    """Path of the file of a day."""
    market: Literal["spot", "swap"] = "spot"
    """Kind of market that its files are of."""


class AliasSettings(Section):
    """The symbol that a series had up to `to` (epoch seconds), and the factor that makes its prices ours."""

    symbol: Symbol
    """The symbol that it had."""
    to: Joint
    """Until when; on the grid of every timeframe."""
    factor: Annotated[Number, Field(gt=0, le=1e12)] = 1.0
    """Multiplies the prices of before, divides their volumes."""


class ExchangeSettings(Section):
    """One exchange: how it is reached and which series are wanted. `start` is in epoch seconds.

    `flat_bars`: whether bars without volume, which some exchanges send for minutes without trades, are kept
    as bars or taken as proof that there was none. `archive`: where files of its candles lie, which are the
    first source of long backfills. `aliases`: symbols that a series had before its own. `live`: how it is
    heard that a bar has closed; `live_delivery`: whether one that a stream has proven is told once it is
    stored, or before. `group`, `owners` and `tags` are what Dagster shows of its assets beside
    them.
    """

    symbols: tuple[Symbol, ...] = ()
    """Each with each timeframe is a node."""
    timeframes: tuple[Frame, ...] = (Timeframe("1m"),)
    """Timeframes that each of its symbols has."""
    start: Start = Field(default="2025-01-01", validate_default=True)
    """Where the first partition lies."""
    base_url: HttpUrl | None = None
    """Replaces scheme and host of every address; the path stays."""
    sandbox: Truth = False
    """The exchange's test network."""
    rate_limit_rps: Pace | None = None
    """Its own refill of the rate budget, requests a second."""
    account: Text | None = None
    """Name of the account, for budgets of its own."""
    proxy: ProxyUrl | None = None
    """HTTP or SOCKS proxy."""
    timeout_ms: Milliseconds | None = None
    """Longest time of one request."""
    flat_bars: Literal["keep", "drop"] = "keep"
    """`drop` takes bars without volume as proof that nobody traded."""
    archive: ArchiveSettings | None = None
    """Where its files of candles lie."""
    aliases: dict[Symbol, tuple[AliasSettings, ...]] = Field(default={})
    live: Literal["polling", "websocket", "auto"] = "polling"
    """How it is heard that a bar has closed."""
    live_delivery: Literal["stored", "proven"] = "stored"
    """When a bar of its stream is told: once it is stored, or as soon as it is proven final."""
    group: GroupName | None = None
    """Dagster's group of its assets; its own name unless set."""
    owners: tuple[Owner, ...] = ()
    """Dagster's owners of its assets."""
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)
    """Dagster's tags of its assets."""
    api_key: HeaderSecret | None = None
    """Key, best as `${VAR}`."""
    secret: SecretStr | None = None
    """Secret of the key."""
    password: SecretStr | None = None
    """Password, where the exchange wants one."""
    uid: HeaderSecret | None = None
    """User, where the exchange wants one."""
    options: dict[str, Any] = Field(default={}, repr=False)
    """ccxt's own options."""

    @property
    def client_options(self) -> dict[str, Any]:
        """What ccxt's constructor takes: keys, proxy, timeout and ccxt's own `options`. Holds secrets."""
        keys = {"apiKey": self.api_key, "secret": self.secret, "password": self.password, "uid": self.uid}
        taken: dict[str, Any] = {
            name: key.get_secret_value() for name, key in keys.items() if key and key.get_secret_value()
        }
        if self.proxy:
            taken["socksProxy" if self.proxy.startswith("socks") else "httpsProxy"] = str(self.proxy)
        if self.timeout_ms:
            taken["timeout"] = self.timeout_ms
        if self.options:
            taken["options"] = copy.deepcopy(self.options)
        return taken


class SyntheticSettings(Section):
    """The weighted mean of nodes; `missing_leg` says what becomes of a bar of which one is absent."""

    legs: Annotated[dict[Node, Annotated[Number, Field(gt=0, le=1e9)]], Field(min_length=1, max_length=50)]
    """Nodes and their weights."""
    missing_leg: MissingLeg = "missing"
    """What becomes of a bar of which one leg is absent."""


class DerivedSettings(Section):
    """A node, and the one thing that it is made by.

    By `trades` of its exchange: all of its bars, or, where the exchange's section declares the node too, the
    ones that it keeps sending no candles of.
    """

    node: Node
    """The id that it is known by."""
    resample: Node | None = None
    """The node whose bars it is made of."""
    synthetic: SyntheticSettings | None = None
    trades: Truth = False
    """It is made of the exchange's trades."""

    @property
    def recipe(self) -> Recipe:
        """How it is made; only of settings that were judged."""
        if self.resample is not None:
            return Resample(self.resample)
        assert self.synthetic is not None, f"{self.node} is not made of other nodes"
        return Synthetic(tuple(self.synthetic.legs.items()), self.synthetic.missing_leg)


class EnvironmentSettings(Section):
    """The section `environment`, where an unset variable means: not configured.

    `world_webhook_url` is told of every change of a session, in messages signed with `world_webhook_secret`.
    """

    coordinator_url: LeaseUrl | None = None
    """Where leases are shared; without it, on this machine."""
    rate_limiter_redis: RedisUrl | None = None
    """Where budgets are shared, unless `rate_limit.redis_dsn` says so."""
    world_service_url: HttpUrl | None = None
    """Who decides which world may trade."""
    world_webhook_url: HttpUrl | None = None
    """Who is told of changes of sessions."""
    world_webhook_secret: SigningSecret | None = None
    """What those messages are signed with."""
    service_token: HeaderSecret | None = None
    """Token for a service that keeps the leases."""


@dataclass(frozen=True)
class NodeSettings:
    """One declared series; `start` (epoch seconds) is where its first partition lies."""

    node: NodeId
    exchange: ExchangeSettings
    start: int


class Settings(Section):
    """All of the configuration, valid and with its defaults filled in.

    Settings know where they come from: `file` and `base`. They can be pickled, secrets included, for another
    process that must work with the same ones.
    """

    seamless: SeamlessSettings = section()
    cache: CacheSettings = section()
    domains: DomainsSettings = section()
    exchanges: dict[str, ExchangeSettings] = Field(default={})
    derived: tuple[DerivedSettings, ...] = ()
    environment: EnvironmentSettings = section()
    automation: AutomationSettings = section()
    service: ServiceSettings = section()
    _file: Path | None = PrivateAttr(default=None)
    _base: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Note what the reader of the file knows beside its values."""
        known: Mapping[str, Any] = context or {}
        self._file = known.get("file")
        self._base = known.get("base", self._base)

    @property
    def file(self) -> Path | None:
        """The absolute path of the file they were read from; None for settings made of a mapping."""
        return self._file

    @property
    def base(self) -> Path:
        """The absolute folder that relative paths start at."""
        return self._base

    @cached_property
    def nodes(self) -> tuple[NodeSettings, ...]:
        """Every symbol x timeframe, in the order of the file, then those that are made of trades alone."""
        return (*self._candle_nodes, *self._trade_nodes)

    @property
    def _candle_nodes(self) -> tuple[NodeSettings, ...]:
        return tuple(
            NodeSettings(NodeId(name, symbol, timeframe), exchange, exchange.start)
            for name, exchange in self.exchanges.items()
            for symbol in exchange.symbols
            for timeframe in exchange.timeframes
        )

    @property
    def _trade_nodes(self) -> tuple[NodeSettings, ...]:
        exchanges = {one.node: self.exchanges[one.node.exchange] for one in self.derived if one.trades}
        candles = {one.node for one in self._candle_nodes}
        return tuple(
            NodeSettings(node, exchange, exchange.start)
            for node, exchange in exchanges.items()
            if node not in candles
        )

    @cached_property
    def made_of_trades(self) -> frozenset[NodeId]:
        """Nodes whose bars are all made of trades."""
        return frozenset(one.node for one in self._trade_nodes)

    @cached_property
    def repaired_by_trades(self) -> frozenset[NodeId]:
        """Nodes of candles, of which trades make the bars that the exchange keeps sending none of."""
        return frozenset(one.node for one in self.derived if one.trades) - self.made_of_trades

    @cached_property
    def recipes(self) -> Mapping[NodeId, Recipe]:
        """How each node that is made of others is, in the order of the file: sources before their outcome."""
        return {one.node: one.recipe for one in self.derived if not one.trades}

    @cached_property
    def starts(self) -> Mapping[NodeId, int]:
        """Every node, derived ones last, and where its first partition lies (epoch seconds).

        Of a derived node that is where all its sources have begun.
        """
        known = {one.node: one.start for one in self.nodes}
        for node, recipe in self.recipes.items():
            known[node] = max(known[source] for source in recipe.sources)
        return known

    @property
    def coordinator_url(self) -> Dsn | None:
        """Where leases are shared; None for this machine."""
        return self.environment.coordinator_url

    @property
    def redis_dsn(self) -> Dsn | None:
        """Redis of the rate limiter; None for one budget per machine."""
        return self.seamless.rate_limit.redis_dsn or self.environment.rate_limiter_redis

    def partition_unit(self, timeframe: Timeframe) -> PartitionUnit:
        """The unit that partitions of a timeframe have."""
        return self.seamless.partitions.get(str(timeframe)) or default_unit(timeframe)

    def budget(self, exchange: str) -> Budget:
        """The rate budget of an exchange.

        Its `rate_limit_rps` goes before the common refill, and bounds the burst where `burst_tokens` is not
        set: an exchange that allows n requests a second bans who sends more at once.
        """
        limit, rps = self.seamless.rate_limit, self.exchanges[exchange].rate_limit_rps
        tokens = rps * limit.interval_ms / 1000 if rps else limit.tokens_per_interval
        burst = limit.burst_tokens if "burst_tokens" in limit.model_fields_set else rps or limit.burst_tokens
        return Budget(tokens, limit.interval_ms, burst, limit.min_interval_ms, limit.reserved_share)

    def budget_key(self, exchange: str) -> str:
        """The `key_template` of an exchange, filled in; an unset `{account?}` takes its separator along."""
        account = self.exchanges[exchange].account
        template = self.seamless.rate_limit.key_template
        if account is None:
            template = re.sub(r"[^\w{}]?\{account\?\}", "", template)
        return template.replace("{account?}", "{account}").format(exchange=exchange, account=account)

    def min_interval_ms(self, exchange: str) -> float:
        """Pause between two requests of one process while Redis is away."""
        interval_ms = self.seamless.rate_limit.min_interval_ms
        return 1000 / self.budget(exchange).tokens_per_second if interval_ms is None else interval_ms

    def with_symbols(self, exchange: str, symbols: Iterable[str]) -> Settings:
        """The same, with more symbols of an exchange. Raises `InvalidChoice` for one that is not declared."""
        if exchange not in self.exchanges:
            raise InvalidChoice(
                f"exchange {exchange} is not in the settings; add it under `exchanges`",
                value=exchange,
                choices=tuple(self.exchanges),
            )
        known = self.exchanges[exchange]
        every = tuple(dict.fromkeys((*known.symbols, *symbols)))
        changed = known.model_copy(update={"symbols": every})
        settings = self.model_copy(update={"exchanges": {**self.exchanges, exchange: changed}})
        for name in ("nodes", "starts", "made_of_trades", "repaired_by_trades"):  # they follow from symbols
            settings.__dict__.pop(name, None)
        return settings

    def without_retries(self) -> Settings:
        """The same, but an outage of a store is an error at once."""
        hot_store = self.seamless.hot_store.model_copy(update={"retry_ms": 0})
        seamless = self.seamless.model_copy(update={"hot_store": hot_store})
        return self.model_copy(update={"seamless": seamless})
