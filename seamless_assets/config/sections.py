"""The parts of the section `seamless`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from seamless_assets.config import checks
from seamless_assets.config.fields import (
    AlertMs,
    Days,
    EndpointUrl,
    File,
    Folder,
    FrameName,
    HeaderSecret,
    HotStore,
    HttpUrl,
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
    """The rules that bars are judged by; part of every fingerprint."""
    dtype_policy: Literal["strict", "lenient"] = "strict"
    """`lenient` lets columns pass that their dtype cannot hold: a warning, not blocking."""
    gap_flagging: Truth = True
    """`false` makes missing bars of a frame mere information."""
    severity: dict[Flag, Severity] = Field(default={})
    """Weighs single flags otherwise."""

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
    """Longest wait for hot store and artifacts."""
    max_wait_backfill_ms: Budget = 5_000
    """Longest wait for a fill."""
    max_wait_live_ms: Budget = 800
    """Longest wait for the newest bars."""
    total_deadline_ms: Budget = 1_500
    """The whole read is cut at it."""
    max_sync_gap_bars: Annotated[Whole, Field(ge=0, le=100_000)] = 2
    """Under `SEAMLESS`, gaps up to so many bars are filled before the answer, longer ones after it."""
    on_violation: Literal["FAIL_FAST", "PARTIAL_FILL", "HOLD"] = "PARTIAL_FILL"
    """Raise, serve what is there, or hold, when a budget ran out."""


class SlaPresetSettings(SlaSettings):
    """Service levels under a name; what it leaves out is as in `sla`.

    `min_coverage` (a ratio) and `max_lag` (seconds) are those of a live read whose context names none.
    """

    min_coverage: Ratio | None = None
    """Least share of bars of a live read whose context names none."""
    max_lag: Seconds | None = None
    """Greatest age, in seconds, of the last bar of such a read."""


class BackfillSettings(Section):
    """How gaps are fetched."""

    mode: Literal["background", "sync"] = "background"
    """`sync`: a read waits for all that its strategy fills, whatever the size, within its budgets."""
    window_bars: Annotated[Whole, Field(gt=0, le=1_000_000)] = 900
    """Bars of a chunk, about: what one worker claims and fetches at a time."""
    single_flight_ttl_ms: Milliseconds = 60_000
    """After it, nobody new joins a fetch that is under way in the process."""
    distributed_lease_ttl_ms: Milliseconds = 120_000
    """A lease ends so long after its last renewal."""
    max_attempts: Annotated[Whole, Field(gt=0, le=100)] = 5
    """Tries of a request that got no answer."""
    retry_backoff_ms: MillisecondsOrZero = 500
    """Pause before the second try; it doubles with each."""
    jitter_ratio: Ratio = 0.25
    """Share by which pauses vary."""


class RateLimitSettings(Section):
    """The request budget that all workers share.

    `min_interval_ms`, where set, is a pause that each process keeps between two of its requests, always.
    `reserved_share` of rate and burst is kept for fills that a reader waits for.
    """

    redis_dsn: RedisUrl | None = None
    """Where machines share budgets; without it each has one of its own."""
    key_template: Annotated[str, template(("exchange", "account", "account?"), ("exchange",))] = (
        "ccxt:{exchange}:{account?}"
    )
    """Name of a budget; exchanges and accounts with the same name share it."""
    tokens_per_interval: Tokens = 1_200
    """Requests that come back in each interval."""
    interval_ms: Milliseconds = 60_000
    """Interval in which `tokens_per_interval` come, in milliseconds."""
    burst_tokens: Tokens = 200
    """Requests that may go out at once; has to be set beside the two above."""
    local_semaphore: Annotated[Whole, Field(gt=0, le=10_000)] = 10
    """Requests of one process under way at once."""
    min_interval_ms: Pause | None = None
    """Pause of each process between two requests, always."""
    reserved_share: Annotated[Ratio, Field(le=0.9)] = 0.1
    """Share of rate and burst for fills that a reader waits for."""


class S3Settings(Section):
    """How a bucket is reached; what is not set comes from boto3's usual places.

    `timeout_ms` is how long it may be silent in the middle of an answer.
    """

    region: Text | None = None
    """Region that the bucket is in."""
    endpoint_url: EndpointUrl | None = None
    """Address of an S3 server that is not AWS."""
    access_key_id: Text | None = None
    """Key of the bucket; goes with the secret."""
    secret_access_key: SecretStr | None = None
    """Secret of that key."""
    session_token: SecretStr | None = None
    """Token of a temporary key."""
    profile: Text | None = None
    """Profile of `~/.aws` in place of keys."""
    timeout_ms: Milliseconds = 10_000
    """Longest silence in the middle of an answer."""


class CatalogSettings(Section):
    """A REST catalog of Iceberg tables, in place of the embedded one.

    `token` is a bearer token, `credential` (`client:secret`) what one is had for by OAuth.
    """

    uri: EndpointUrl | None = None
    """Address of the catalog, such as `https://catalog.example.com/iceberg`."""
    warehouse: Text | None = None
    """Warehouse of the catalog, where it has several."""
    token: HeaderSecret | None = None
    """Bearer token that the catalog takes, in place of a `credential`."""
    credential: HeaderSecret | None = None
    """`client:secret`, for which OAuth gives tokens."""
    oauth2_server_uri: EndpointUrl | None = None
    """Who gives them; the catalog itself if not set."""
    scope: Text | None = None
    """Scope that tokens are asked for."""
    timeout_ms: Milliseconds = 10_000
    """So long the catalog may be silent."""


class ArtifactSettings(Section):
    """Where and how released bars are kept. `object_store_uri` is an absolute folder or a URL.

    `mirror` shows release logs as tables of Apache Iceberg too.
    """

    object_store_uri: ObjectStore | None = None
    """Where artifacts and release logs are kept: a folder, or `s3://bucket/prefix`."""
    format: Literal["parquet"] = "parquet"
    """Format of the artifacts' files."""
    compression: Literal["zstd", "snappy", "lz4", "gzip", "none"] = "zstd"
    """Of the values of files that are written from now on."""
    stabilization_bars: Annotated[Whole, Field(ge=0, le=100_000)] = 2
    """So many bars before the forming one are not sealed yet."""
    partition_template: Annotated[str, template(NODE_PARTS, NODE_PARTS), AfterValidator(checks.folders)] = (
        "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
    )
    """Folders of a node; not to be changed where something is released."""
    s3: S3Settings = section()
    publish_fingerprint: Truth = True
    """Has to stay true: reads of the past want fingerprints."""
    early_fingerprint: Truth = False
    """Reports of materializations name the fingerprint of what is not settled yet, too."""
    mirror: Literal["iceberg"] | None = None
    """Shows release logs as Iceberg tables."""
    catalog: CatalogSettings = section()


class RetentionSettings(Section):
    """Days that hot bars stay after they were released, by partition unit: fine, medium, coarse bars."""

    day: Days = 45.0
    """Days that hot bars of timeframes up to 5m are kept."""
    month: Days = 400.0
    """Days that hot bars of timeframes above 5m and up to 1h are kept."""
    year: Days = 4_000.0
    """Days that hot bars of timeframes above 1h are kept."""


class HotStoreSettings(Section):
    """Where mutable bars are kept: `sqlite:///` and an absolute path, or `questdb://user:word@host:port`.

    The rest is for QuestDB: its Postgres port and user, TLS (verified against `tls_ca` or the system's
    authorities unless `tls_verify` is false), a bearer token, the longest time one request may take, and how
    long an outage is waited out.
    """

    dsn: HotStore = Field(default="sqlite:///./data/hot.sqlite", validate_default=True)
    """Where hot bars and the ledger are kept."""
    pg_port: Port = 8_812
    """Port of QuestDB's Postgres wire, over which short reads go."""
    pg_user: Text = "admin"
    """User of QuestDB's Postgres wire."""
    pg_password: SecretStr = SecretStr("quest")
    """Password of QuestDB's Postgres wire."""
    token: Annotated[SecretStr, AfterValidator(checks.header)] | None = None
    """Bearer token for QuestDB's HTTP."""
    tls: Truth = False
    """HTTPS, and TLS on the Postgres wire."""
    tls_ca: File | None = None
    """PEM file of the authorities that are believed."""
    tls_verify: Truth = True
    """`false` believes any certificate: for trials only."""
    timeout_ms: Milliseconds = 30_000
    """Longest time of one request to QuestDB."""
    retry_ms: MillisecondsOrZero = 180_000
    """So long an outage is waited out."""
    keep_days: RetentionSettings = section()

    @property
    def path(self) -> Path | None:
        """The database file; None for a server."""
        is_file = self.dsn.startswith(checks.SQLITE)
        return Path(self.dsn.removeprefix(checks.SQLITE)) if is_file else None


class ObservabilitySettings(Section):
    """Thresholds of checks and alerts; `tracing` makes OpenTelemetry spans of reads, fills and releases."""

    coverage_ratio_threshold: Ratio = 0.98
    """Least coverage of a partition that may be released."""
    backfill_completion_ratio_min: Ratio = 0.95
    """Least share of fills that are completed; an alert is drawn with it."""
    storage_wait_warn_ms: AlertMs = 300
    """Longest wait of a read for its stores, of all but the slowest twentieth; an alert is drawn with it."""
    backfill_wait_warn_ms: AlertMs = 5_000
    """The same for fills that a read waited for."""
    tracing: Truth = False
    """Makes OpenTelemetry spans of reads, fills and releases."""


class SeamlessSettings(Section):
    """The section `seamless`. `partitions` maps a timeframe to day, month or year."""

    node_id_format: Annotated[
        str, template(NODE_PARTS, NODE_PARTS), AfterValidator(checks.the_form_of(NODE_ID_FORMAT))
    ] = NODE_ID_FORMAT
    """The form of node ids; taken with its default alone."""
    strategy: Strategy = "SEAMLESS"
    """What a read fills that names no strategy."""
    conformance: ConformanceSettings = section()
    sla: SlaSettings = section()
    sla_presets: Annotated[dict[Text, SlaPresetSettings], Field(max_length=MAX_PRESETS)] = Field(default={})
    backfill: BackfillSettings = section()
    rate_limit: RateLimitSettings = section()
    artifact: ArtifactSettings = section()
    hot_store: HotStoreSettings = section()
    observability: ObservabilitySettings = section()
    partitions: dict[FrameName, PartitionUnit] = Field(default={})
    """What is materialized at once, by timeframe, where it is not the usual."""
    state_dir: Folder = Field(default="./data/state", validate_default=True)
    """Folder of this machine's own files: leases, budgets, sessions, counts."""


class TokenSettings(Section):
    """A bearer token by the SHA-256 of its text, and what its bearer may do."""

    sha256: Sha256
    """SHA-256 of the token, as `seamless token` prints it."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    """What its bearer may do: read, lease, operate."""


class ServiceSettings(Section):
    """Tokens by the name of their bearer, and limits: rows of one answer, how long one may take to begin,
    how many requests of one bearer are answered at once, how many streams of events it may have open, and
    how many sessions of worlds it may begin. `public_url`: where browsers reach it, for the links of
    Dagster's pages; `dialects`: whether it answers as the exchanges do, too;
    `forming_bars`: whether these answers hold the candle that forms; `upstream`: what of the rest goes on to
    the exchanges.
    """

    tokens: Annotated[dict[Text, TokenSettings], Field(max_length=MAX_TOKENS)] = Field(default={})
    max_rows: Annotated[Whole, Field(gt=0, le=100_000_000)] = 5_000_000
    """Most rows of one answer; more are refused."""
    max_wait_ms: Milliseconds = 60_000
    """Longest time until an answer begins."""
    max_concurrent: Annotated[Whole, Field(gt=0, le=10_000)] = 256
    """Requests of one bearer that are answered at once."""
    max_streams: Annotated[Whole, Field(gt=0, le=10_000)] = 256
    """Streams of events that one bearer may have open."""
    max_sessions: Annotated[Whole, Field(gt=0, le=1_000_000)] = 10_000
    """Sessions of worlds that one bearer may begin."""
    public_url: HttpUrl | None = None
    """Where browsers reach it; the pages of Dagster link manifests there."""
    dialects: Truth = False
    """Answers as the exchanges do, too."""
    forming_bars: Truth = False
    """Dialects show the candle that forms, where its exchange streams candles."""
    upstream: Literal["nothing", "public"] = "nothing"
    """What dialects pass on to the exchange where they do not serve it: what anybody may ask, by GET."""
