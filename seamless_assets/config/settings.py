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
from seamless_assets.config.document.places import key_text
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
from seamless_assets.config.unbuilt import given_unbuilt
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
    max_shards: Annotated[Whole, Field(gt=0, le=1_000_000)] = 512
    max_memory_mb: Annotated[Whole, Field(ge=0, le=1_000_000)] = 256
    max_segment_mb: Annotated[Whole, Field(ge=0, le=1_000_000_000)] = 1_024
    key_template: Annotated[str, template((*_CACHE_KEY, "domain", "dataset_fingerprint"), _CACHE_KEY)] = (
        "{node_id}:{start}:{end}:{interval}:{conf_ver}:{world_id}:{as_of}"
    )


class BacktestSettings(Section):
    """What a backtest may read."""

    require_as_of: Truth = True
    source: Literal["artifact_only"] = "artifact_only"


class DryrunSettings(Section):
    """What a dry run may read."""

    require_as_of: Truth = True
    source: Literal["artifact_only", "artifact_prefers"] = "artifact_prefers"


class LiveSettings(Section):
    """When a live session is held."""

    max_lag_sec: Seconds = 120.0
    allow_partial: Truth = True
    monotonic_as_of: Truth = True
    min_coverage: Ratio | None = None


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
    monthly: Annotated[str, template((*_ARCHIVED, "month"), ("timeframe", "month"))] = (
        "monthly/klines/{id}/{timeframe}/{id}-{timeframe}-{month}.zip"
    )
    daily: Annotated[str, template((*_ARCHIVED, "day"), ("timeframe", "day"))] = (
        "daily/klines/{id}/{timeframe}/{id}-{timeframe}-{day}.zip"
    )
    market: Literal["spot", "swap"] = "spot"


class AliasSettings(Section):
    """The symbol that a series had up to `to` (epoch seconds), and the factor that makes its prices ours."""

    symbol: Symbol
    to: Joint
    factor: Annotated[Number, Field(gt=0, le=1e12)] = 1.0


class ExchangeSettings(Section):
    """One exchange: how it is reached and which series are wanted. `start` is in epoch seconds.

    `flat_bars`: whether bars without volume, which some exchanges send for minutes without trades, are kept
    as bars or taken as proof that there was none. `archive`: where files of its candles lie, which are the
    first source of long backfills. `aliases`: symbols that a series had before its own. `live`: how it is
    heard that a bar has closed. `group`, `owners` and `tags` are what Dagster shows of its assets beside
    them.
    """

    symbols: tuple[Symbol, ...] = ()
    timeframes: tuple[Frame, ...] = (Timeframe("1m"),)
    start: Start = Field(default="2025-01-01", validate_default=True)
    base_url: HttpUrl | None = None
    sandbox: Truth = False
    rate_limit_rps: Pace | None = None
    account: Text | None = None
    proxy: ProxyUrl | None = None
    timeout_ms: Milliseconds | None = None
    flat_bars: Literal["keep", "drop"] = "keep"
    archive: ArchiveSettings | None = None
    aliases: dict[Symbol, tuple[AliasSettings, ...]] = Field(default={})
    live: Literal["polling", "websocket", "auto"] = "polling"
    group: GroupName | None = None
    owners: tuple[Owner, ...] = ()
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)
    api_key: HeaderSecret | None = None
    secret: SecretStr | None = None
    password: SecretStr | None = None
    uid: HeaderSecret | None = None
    options: dict[str, Any] = Field(default={}, repr=False)

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
    missing_leg: MissingLeg = "missing"


class DerivedSettings(Section):
    """A node, and the one thing that it is made by.

    By `trades` of its exchange: all of its bars, or, where the exchange's section declares the node too, the
    ones that it keeps sending no candles of.
    """

    node: Node
    resample: Node | None = None
    synthetic: SyntheticSettings | None = None
    trades: Truth = False

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
    rate_limiter_redis: RedisUrl | None = None
    world_service_url: HttpUrl | None = None
    world_webhook_url: HttpUrl | None = None
    world_webhook_secret: SigningSecret | None = None
    service_token: HeaderSecret | None = None


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

    @property
    def idle_keys(self) -> tuple[str, ...]:
        """Keys that were given, with the one value they may have: nothing acts on them yet."""
        return tuple(key_text(place) for place, is_default in given_unbuilt(self) if is_default)

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
