"""The sections of `seamless.yaml` as frozen models; `config` reads and checks them."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    SecretStr,
    Strict,
    ValidationInfo,
    model_validator,
)

from seamless_assets.config import checks
from seamless_assets.config.checks import Dsn
from seamless_assets.core.bars.conformance.flags import Flag, Severity
from seamless_assets.core.calendar.instant import OLDEST_MARKET, epoch_seconds
from seamless_assets.core.calendar.partition import PartitionUnit, default_unit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import Strategy
from seamless_assets.core.sharing.token_bucket import Budget

NODE_ID_FORMAT = "ohlcv:{exchange}:{symbol}:{timeframe}"
_CACHE_KEY = ("node_id", "start", "end", "interval", "conf_ver", "world_id", "as_of")
_NODE_PARTS = ("exchange", "symbol", "timeframe")


def _start(value: Any, info: ValidationInfo) -> int:
    start = epoch_seconds(value, "start")
    now = (info.context or {}).get("now", time.time())
    if start < OLDEST_MARKET:
        raise ValueError(f"{value} lies before any market; write a date like 2025-01-01")
    if start > now + 86_400:
        raise ValueError(f"{value} lies in the future; start is the day of the first bars to fetch")
    return start


def _node_id_format(value: str) -> str:
    checks.placeholders(value, _NODE_PARTS, _NODE_PARTS)
    if value != NODE_ID_FORMAT:
        raise ValueError(f"node ids have one form, {NODE_ID_FORMAT}; remove this line")
    return value


def _partition_template(value: str) -> str:
    checks.placeholders(value, _NODE_PARTS, _NODE_PARTS)
    parts = value.split("/")
    if any(part in ("", ".", "..") or part.count("{") > 1 for part in parts):
        raise ValueError("must be folders joined by /, each with at most one placeholder, no / at the ends")
    return value


def _url(*schemes: str) -> BeforeValidator:
    return BeforeValidator(partial(checks.address, schemes=schemes))


def _section() -> Any:
    return Field(default_factory=dict, validate_default=True)


Truth = Annotated[bool, BeforeValidator(checks.truth), Strict()]
Count = Annotated[int, BeforeValidator(checks.number), Strict(), Field(gt=0)]
CountOrZero = Annotated[int, BeforeValidator(checks.number), Strict(), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(checks.number), Strict(), Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(checks.number), Strict(), Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, BeforeValidator(checks.number), Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Folder = Annotated[Path, BeforeValidator(checks.folder)]
Symbol = Annotated[str, AfterValidator(checks.symbol)]
Frame = Annotated[InstanceOf[Timeframe], BeforeValidator(Timeframe.parse)]
FrameName = Annotated[str, AfterValidator(checks.timeframe_name)]
HttpUrl = Annotated[InstanceOf[Dsn], _url("http", "https")]
RedisUrl = Annotated[InstanceOf[Dsn], _url("redis", "rediss")]
LeaseUrl = Annotated[InstanceOf[Dsn], _url("http", "https", "redis", "rediss")]
ProxyUrl = Annotated[InstanceOf[Dsn], _url("http", "https", "socks4", "socks5", "socks5h")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


class ConformanceSettings(_Section):
    """How strictly bars are judged."""

    version: Literal["v2"] = "v2"
    dtype_policy: Literal["strict", "lenient"] = "strict"
    gap_flagging: Truth = True
    severity: dict[Flag, Severity] = {}

    @property
    def severities(self) -> dict[str, str]:
        """Severities that differ from the usual: `severity`, over what the two switches mean."""
        switched: dict[str, str] = {}
        if self.dtype_policy == "lenient":
            switched["dtype_mismatch"] = "warning"
        if not self.gap_flagging:
            switched["gap"] = "information"
        switched.update({str(flag): str(severity) for flag, severity in self.severity.items()})
        return switched


class SlaSettings(_Section):
    """Budgets of one read, in milliseconds, and what a breach leads to."""

    max_wait_storage_ms: Count = 300
    max_wait_backfill_ms: Count = 5_000
    max_wait_live_ms: Count = 800
    total_deadline_ms: Count = 1_500
    max_sync_gap_bars: CountOrZero = 2
    on_violation: Literal["FAIL_FAST", "PARTIAL_FILL", "HOLD"] = "PARTIAL_FILL"


class BackfillSettings(_Section):
    """How gaps are fetched."""

    mode: Literal["background", "sync"] = "background"
    window_bars: Count = 900
    single_flight_ttl_ms: Count = 60_000
    distributed_lease_ttl_ms: Count = 120_000
    max_attempts: Count = 5
    retry_backoff_ms: CountOrZero = 500
    jitter_ratio: Ratio = 0.25


class RateLimitSettings(_Section):
    """The request budget that all workers share, and the one each process keeps to without Redis."""

    redis_dsn: RedisUrl | None = None
    key_template: Annotated[
        str,
        AfterValidator(
            partial(checks.placeholders, allowed=("exchange", "account", "account?"), required=("exchange",))
        ),
    ] = "ccxt:{exchange}:{account?}"
    tokens_per_interval: Count = 1_200
    interval_ms: Count = 60_000
    burst_tokens: Count = 200
    local_semaphore: Count = 10
    min_interval_ms: NotNegative | None = None


class S3Settings(_Section):
    """How a bucket is reached; what is not told comes from boto3's usual places."""

    region: Text | None = None
    endpoint_url: HttpUrl | None = None
    access_key_id: Text | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    profile: Text | None = None

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> S3Settings:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together; tell both or neither")
        return self


class ArtifactSettings(_Section):
    """Where and how released bars are kept. `object_store_uri` is an absolute folder or a URL."""

    object_store_uri: Annotated[str, BeforeValidator(checks.object_store)] | None = None
    format: Literal["parquet"] = "parquet"
    compression: Literal["zstd", "snappy", "lz4", "gzip", "none"] = "zstd"
    stabilization_bars: CountOrZero = 2
    partition_template: Annotated[str, AfterValidator(_partition_template)] = (
        "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
    )
    s3: S3Settings = _section()
    publish_fingerprint: Truth = True
    early_fingerprint: Truth = False


class KeepSettings(_Section):
    """Days that hot bars stay after they were released, by partition unit: fine, medium, coarse bars."""

    day: Positive = 45.0
    month: Positive = 400.0
    year: Positive = 4_000.0


class HotStoreSettings(_Section):
    """Where mutable bars are kept: `sqlite:///` and an absolute path, or `questdb://user:word@host:port`.

    The rest is for QuestDB: its Postgres port and user, TLS (verified against `tls_ca` or the system's
    authorities unless `tls_verify` is false), a bearer token, the longest time one request may take, and how
    long an outage is waited out.
    """

    dsn: Annotated[InstanceOf[Dsn], BeforeValidator(checks.hot_store)] = Field(
        default="sqlite:///./data/hot.sqlite", validate_default=True
    )
    pg_port: Count = 8_812
    pg_user: Text = "admin"
    pg_password: SecretStr = SecretStr("quest")
    token: SecretStr | None = None
    tls: Truth = False
    tls_ca: Folder | None = None
    tls_verify: Truth = True
    timeout_ms: Count = 30_000
    retry_ms: CountOrZero = 180_000
    keep_days: KeepSettings = _section()

    @property
    def path(self) -> Path | None:
        """The database file; None for a server."""
        is_file = self.dsn.startswith(checks.SQLITE)
        return Path(self.dsn.removeprefix(checks.SQLITE)) if is_file else None


class ObservabilitySettings(_Section):
    """Thresholds of the generated alerts."""

    coverage_ratio_threshold: Ratio = 0.98
    backfill_completion_ratio_min: Ratio = 0.95
    storage_wait_warn_ms: Count = 300
    backfill_wait_warn_ms: Count = 5_000


class SeamlessSettings(_Section):
    """The section `seamless`. `partitions` maps a timeframe to day, month or year."""

    node_id_format: Annotated[str, AfterValidator(_node_id_format)] = NODE_ID_FORMAT
    strategy: Strategy = "SEAMLESS"
    conformance: ConformanceSettings = _section()
    sla: SlaSettings = _section()
    backfill: BackfillSettings = _section()
    rate_limit: RateLimitSettings = _section()
    artifact: ArtifactSettings = _section()
    hot_store: HotStoreSettings = _section()
    observability: ObservabilitySettings = _section()
    partitions: dict[FrameName, PartitionUnit] = {}
    state_dir: Folder = Field(default="./data/state", validate_default=True)


class CacheSettings(_Section):
    """The cache of reads, and the most that local copies of what was released may take; 0 keeps none."""

    ttl_ms: Count = 60_000
    max_shards: Count = 512
    max_segment_mb: CountOrZero = 1_024
    key_template: Annotated[
        str,
        AfterValidator(
            partial(
                checks.placeholders,
                allowed=(*_CACHE_KEY, "domain", "dataset_fingerprint"),
                required=_CACHE_KEY,
            )
        ),
    ] = "{node_id}:{start}:{end}:{interval}:{conf_ver}:{world_id}:{as_of}"


class BacktestSettings(_Section):
    """What a backtest may read."""

    require_as_of: Truth = True
    source: Literal["artifact_only"] = "artifact_only"


class DryrunSettings(_Section):
    """What a dry run may read."""

    require_as_of: Truth = True
    source: Literal["artifact_only", "artifact_prefers"] = "artifact_prefers"


class LiveSettings(_Section):
    """When a live session is held."""

    max_lag_sec: Positive = 120.0
    allow_partial: Truth = True
    monotonic_as_of: Truth = True
    min_coverage: Ratio | None = None


class DomainsSettings(_Section):
    """The section `domains`."""

    backtest: BacktestSettings = _section()
    dryrun: DryrunSettings = _section()
    live: LiveSettings = _section()


class ExchangeSettings(_Section):
    """One exchange: how it is reached and which series are wanted. `start` is in epoch seconds.

    `flat_bars`: whether bars without volume, which some exchanges send for minutes without trades, are kept
    as bars or taken as proof that there was none.
    """

    symbols: tuple[Symbol, ...] = ()
    timeframes: tuple[Frame, ...] = (Timeframe("1m"),)
    start: Annotated[int, BeforeValidator(_start)] = Field(default="2025-01-01", validate_default=True)
    base_url: HttpUrl | None = None
    sandbox: Truth = False
    rate_limit_rps: Positive | None = None
    account: Text | None = None
    proxy: ProxyUrl | None = None
    timeout_ms: Count | None = None
    flat_bars: Literal["keep", "drop"] = "keep"
    api_key: SecretStr | None = None
    secret: SecretStr | None = None
    password: SecretStr | None = None
    uid: SecretStr | None = None
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


class EnvironmentSettings(_Section):
    """The section `environment`, where an unset variable means: not configured."""

    coordinator_url: LeaseUrl | None = None
    rate_limiter_redis: RedisUrl | None = None


@dataclass(frozen=True)
class NodeSettings:
    """One declared series; `start` (epoch seconds) is where its first partition lies."""

    node: NodeId
    exchange: ExchangeSettings
    start: int


class Settings(_Section):
    """All of the configuration, valid and with its defaults filled in.

    Settings know where they come from: `file` and `base`. They can be pickled, secrets included, for another
    process that must work with the same ones.
    """

    seamless: SeamlessSettings = _section()
    cache: CacheSettings = _section()
    domains: DomainsSettings = _section()
    exchanges: dict[str, ExchangeSettings] = {}
    environment: EnvironmentSettings = _section()
    _file: Path | None = PrivateAttr(default=None)
    _base: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        told: Mapping[str, Any] = context or {}
        self._file = told.get("file")
        self._base = told.get("base", self._base)

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
        """Every symbol x timeframe, in the order of the file."""
        return tuple(
            NodeSettings(NodeId(name, symbol, timeframe), exchange, exchange.start)
            for name, exchange in self.exchanges.items()
            for symbol in exchange.symbols
            for timeframe in exchange.timeframes
        )

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
        """The rate budget of an exchange; its `rate_limit_rps` goes before the common refill."""
        limit, rps = self.seamless.rate_limit, self.exchanges[exchange].rate_limit_rps
        tokens = rps * limit.interval_ms / 1000 if rps else limit.tokens_per_interval
        return Budget(tokens, limit.interval_ms, limit.burst_tokens, limit.min_interval_ms)

    def budget_key(self, exchange: str) -> str:
        """The `key_template` of an exchange, filled in; an unset `{account?}` takes its separator along."""
        account = self.exchanges[exchange].account
        template = self.seamless.rate_limit.key_template
        if account is None:
            template = re.sub(r"[^\w{}]?\{account\?\}", "", template)
        return template.replace("{account?}", "{account}").format(exchange=exchange, account=account)

    def min_interval_ms(self, exchange: str) -> float:
        """Pause between two requests of one process while Redis is away."""
        told = self.seamless.rate_limit.min_interval_ms
        return 1000 / self.budget(exchange).tokens_per_second if told is None else told

    def hasty(self) -> Settings:
        """The same, but an outage of a store is an error at once."""
        hot_store = self.seamless.hot_store.model_copy(update={"retry_ms": 0})
        seamless = self.seamless.model_copy(update={"hot_store": hot_store})
        return self.model_copy(update={"seamless": seamless})
