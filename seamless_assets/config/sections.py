"""The parts of the section `seamless`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from seamless_assets.config import checks
from seamless_assets.config.fields import (
    Days,
    EndpointUrl,
    File,
    Folder,
    FrameName,
    HotStore,
    Milliseconds,
    MillisecondsOrZero,
    ObjectStore,
    Pause,
    Port,
    Ratio,
    RedisUrl,
    Seconds,
    Section,
    Text,
    Tokens,
    Truth,
    Whole,
    section,
    template,
)
from seamless_assets.core.bars.conformance.flags import Flag, Severity
from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.reading.context import Strategy
from seamless_assets.core.reading.sla import LONGEST_BUDGET_MS

NODE_ID_FORMAT = "ohlcv:{exchange}:{symbol}:{timeframe}"
NODE_PARTS = ("exchange", "symbol", "timeframe")
Budget = Annotated[Whole, Field(gt=0, le=LONGEST_BUDGET_MS)]
Scope = Literal["read", "lease", "operate"]
MAX_TOKENS = 1_000
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ConformanceSettings(Section):
    """How strictly bars are judged."""

    version: Literal["v2"] = "v2"
    dtype_policy: Literal["strict", "lenient"] = "strict"
    gap_flagging: Truth = True
    severity: dict[Flag, Severity] = Field(default={})

    @property
    def severities(self) -> dict[str, str]:
        """Severities that differ from the usual: `severity`, over what the two switches mean."""
        switched: dict[str, str] = {}
        if self.dtype_policy == "lenient":
            switched["dtype_mismatch"] = "warning"
        if not self.gap_flagging:
            switched["gap"] = "information"
        return {**switched, **{str(flag): str(severity) for flag, severity in self.severity.items()}}


MAX_PRESETS = 100


class SlaSettings(Section):
    """Budgets of one read, in milliseconds, and what a breach leads to."""

    max_wait_storage_ms: Budget = 300
    max_wait_backfill_ms: Budget = 5_000
    max_wait_live_ms: Budget = 800
    total_deadline_ms: Budget = 1_500
    max_sync_gap_bars: Annotated[Whole, Field(ge=0, le=100_000)] = 2
    on_violation: Literal["FAIL_FAST", "PARTIAL_FILL", "HOLD"] = "PARTIAL_FILL"


class SlaPresetSettings(SlaSettings):
    """Service levels under a name; what it leaves out is as in `sla`.

    `min_coverage` (a ratio) and `max_lag` (seconds) are those of a live read whose context names none.
    """

    min_coverage: Ratio | None = None
    max_lag: Seconds | None = None


class BackfillSettings(Section):
    """How gaps are fetched."""

    mode: Literal["background", "sync"] = "background"
    window_bars: Annotated[Whole, Field(gt=0, le=1_000_000)] = 900
    single_flight_ttl_ms: Milliseconds = 60_000
    distributed_lease_ttl_ms: Milliseconds = 120_000
    max_attempts: Annotated[Whole, Field(gt=0, le=100)] = 5
    retry_backoff_ms: MillisecondsOrZero = 500
    jitter_ratio: Ratio = 0.25


class RateLimitSettings(Section):
    """The request budget that all workers share.

    `min_interval_ms`, where set, is a pause that each process keeps between two of its requests, always.
    `reserved_share` of rate and burst is kept for fills that a reader waits for.
    """

    redis_dsn: RedisUrl | None = None
    key_template: Annotated[str, template(("exchange", "account", "account?"), ("exchange",))] = (
        "ccxt:{exchange}:{account?}"
    )
    tokens_per_interval: Tokens = 1_200
    interval_ms: Milliseconds = 60_000
    burst_tokens: Tokens = 200
    local_semaphore: Annotated[Whole, Field(gt=0, le=10_000)] = 10
    min_interval_ms: Pause | None = None
    reserved_share: Annotated[Ratio, Field(le=0.9)] = 0.1


class S3Settings(Section):
    """How a bucket is reached; what is not set comes from boto3's usual places.

    `timeout_ms` is how long it may be silent in the middle of an answer.
    """

    region: Text | None = None
    endpoint_url: EndpointUrl | None = None
    access_key_id: Text | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    profile: Text | None = None
    timeout_ms: Milliseconds = 10_000


class ArtifactSettings(Section):
    """Where and how released bars are kept. `object_store_uri` is an absolute folder or a URL.

    `mirror` shows release logs as tables of Apache Iceberg too.
    """

    object_store_uri: ObjectStore | None = None
    format: Literal["parquet"] = "parquet"
    compression: Literal["zstd", "snappy", "lz4", "gzip", "none"] = "zstd"
    stabilization_bars: Annotated[Whole, Field(ge=0, le=100_000)] = 2
    partition_template: Annotated[str, template(NODE_PARTS, NODE_PARTS), AfterValidator(checks.folders)] = (
        "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
    )
    s3: S3Settings = section()
    publish_fingerprint: Truth = True
    early_fingerprint: Truth = False
    mirror: Literal["iceberg"] | None = None


class RetentionSettings(Section):
    """Days that hot bars stay after they were released, by partition unit: fine, medium, coarse bars."""

    day: Days = 45.0
    month: Days = 400.0
    year: Days = 4_000.0


class HotStoreSettings(Section):
    """Where mutable bars are kept: `sqlite:///` and an absolute path, or `questdb://user:word@host:port`.

    The rest is for QuestDB: its Postgres port and user, TLS (verified against `tls_ca` or the system's
    authorities unless `tls_verify` is false), a bearer token, the longest time one request may take, and how
    long an outage is waited out.
    """

    dsn: HotStore = Field(default="sqlite:///./data/hot.sqlite", validate_default=True)
    pg_port: Port = 8_812
    pg_user: Text = "admin"
    pg_password: SecretStr = SecretStr("quest")
    token: Annotated[SecretStr, AfterValidator(checks.header)] | None = None
    tls: Truth = False
    tls_ca: File | None = None
    tls_verify: Truth = True
    timeout_ms: Milliseconds = 30_000
    retry_ms: MillisecondsOrZero = 180_000
    keep_days: RetentionSettings = section()

    @property
    def path(self) -> Path | None:
        """The database file; None for a server."""
        is_file = self.dsn.startswith(checks.SQLITE)
        return Path(self.dsn.removeprefix(checks.SQLITE)) if is_file else None


class ObservabilitySettings(Section):
    """Thresholds of checks and alerts; `tracing` makes OpenTelemetry spans of reads, fills and releases."""

    coverage_ratio_threshold: Ratio = 0.98
    backfill_completion_ratio_min: Ratio = 0.95
    storage_wait_warn_ms: Milliseconds = 300
    backfill_wait_warn_ms: Milliseconds = 5_000
    tracing: Truth = False


class SeamlessSettings(Section):
    """The section `seamless`. `partitions` maps a timeframe to day, month or year."""

    node_id_format: Annotated[
        str, template(NODE_PARTS, NODE_PARTS), AfterValidator(checks.the_form_of(NODE_ID_FORMAT))
    ] = NODE_ID_FORMAT
    strategy: Strategy = "SEAMLESS"
    conformance: ConformanceSettings = section()
    sla: SlaSettings = section()
    sla_presets: Annotated[dict[Text, SlaPresetSettings], Field(max_length=MAX_PRESETS)] = Field(default={})
    backfill: BackfillSettings = section()
    rate_limit: RateLimitSettings = section()
    artifact: ArtifactSettings = section()
    hot_store: HotStoreSettings = section()
    observability: ObservabilitySettings = section()
    partitions: dict[FrameName, PartitionUnit] = Field(default={})
    state_dir: Folder = Field(default="./data/state", validate_default=True)


class TokenSettings(Section):
    """A bearer token by the SHA-256 of its text, and what its bearer may do."""

    sha256: Sha256
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]


class ServiceSettings(Section):
    """Tokens by the name of their bearer, and limits: rows of one answer, how long one may take to begin,
    how many requests of one bearer are answered at once, how many streams of events it may have open, and
    how many sessions of worlds it may begin. `dialects`: whether it answers as the exchanges do, too.
    """

    tokens: Annotated[dict[Text, TokenSettings], Field(max_length=MAX_TOKENS)] = Field(default={})
    max_rows: Annotated[Whole, Field(gt=0, le=100_000_000)] = 5_000_000
    max_wait_ms: Milliseconds = 60_000
    max_concurrent: Annotated[Whole, Field(gt=0, le=10_000)] = 256
    max_streams: Annotated[Whole, Field(gt=0, le=10_000)] = 256
    max_sessions: Annotated[Whole, Field(gt=0, le=1_000_000)] = 10_000
    dialects: Truth = False
