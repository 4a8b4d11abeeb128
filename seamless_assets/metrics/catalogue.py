"""Every metric with its labels, buckets and the alert that is drawn from it: one place for all three.

Durations in `_ms` are milliseconds, with buckets of milliseconds; ratios lie in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Severity = Literal["warning", "critical"]

MS_BUCKETS: tuple[float, ...] = (
    *(1.0, 3.0, 10.0, 30.0, 100.0, 200.0, 300.0, 500.0, 800.0, 1_500.0, 3_000.0, 5_000.0),
    *(10_000.0, 30_000.0, 60_000.0, 120_000.0, 600_000.0, 3_600_000.0),
)
READS_LAST_S = 3_600.0
"""How long what a read found is told of: the world of a node that nobody reads any more has ended."""
SECOND_BUCKETS = (0.1, 0.3, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0, 30.0, 60.0, 90.0, 300.0)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the settings decide of alerts: waits in milliseconds, age in seconds, ratios in 0..1."""

    storage_wait_ms: float = 300
    backfill_wait_ms: float = 5_000
    coverage: float = 0.98
    completion: float = 0.95
    staleness_s: float = 120

    @property
    def failing(self) -> float:
        """The share of fills that may fail: what rounding leaves of a difference decides no alert."""
        return round(1 - self.completion, 12)


@dataclass(frozen=True, slots=True)
class Alert:
    """When somebody should look, as a form: `{metric}` stands for the metric's name, `{at}` for `Thresholds`.

    `for_minutes` is how long it must be so. `summary` says what it means, `remedy` what to do at once.
    """

    name: str
    expr: str
    for_minutes: int
    severity: Severity
    summary: str
    remedy: str

    def drawn(self, metric: str, at: Thresholds | None = None) -> Alert:
        """The alert of a metric with everything filled in; thresholds are those by default unless told."""
        chosen = at or Thresholds()
        expr = self.expr.format(metric=metric, at=chosen)
        return replace(self, expr=expr, summary=self.summary.format(at=chosen))

    @property
    def runbook(self) -> str:
        """What prints all about it, wherever the package is installed."""
        return f"`seamless metrics --runbook {self.name}`"

    @property
    def action(self) -> str:
        """What whoever is called reads: the remedy, and where more of it stands."""
        return f"{self.remedy}; runbook: {self.runbook}"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the catalogue.

    A gauge with `lasts_s` ends that many seconds after it was set last: nobody looks after it any more.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    alert: Alert | None = None
    lasts_s: float | None = None


def _grown(span: str, chosen: str = "") -> str:
    """By how much each series of a counter has grown in the last `span`, those that are new by all of it.

    Prometheus takes the first sample of a series for where it began, so that what happens for the first time
    would be nothing. New is a series with fewer samples than there were scrapes, and none in the day before.
    """
    series = f"{{metric}}{chosen}"
    scrapes = f"< on (instance, job) group_left () sum_over_time(up[{span}])"
    is_new = f"count_over_time({series}[{span}]) {scrapes} unless last_over_time({series}[1d] offset {span})"
    return f"({series} and {is_new} or increase({series}[{span}]))"


def _slow(name: str, phase: str, budget_ms: str) -> Alert:
    return Alert(
        name=f"Seamless{name}Slow",
        expr=f"histogram_quantile(0.95, sum by (le, domain) (rate({{metric}}_bucket[5m]))) > {budget_ms}",
        for_minutes=5,
        severity="warning",
        summary=f"the slowest twentieth of {phase} waits takes more than {budget_ms} ms",
        remedy="look at `seamless doctor` for what is slow, and at the load of the machine",
    )


_READ = ("domain",)
_TOTAL, _FAIL = '{{phase="total"}}', '{{outcome="fail"}}'
_MENDED = '{{flag_type!~"dtype_cast|from_trades|ts_cast|ts_timezone_normalized"}}'
"""Flags of what was wrong; the others tell only in which form bars came."""
_FAILED, _DELIVERED = '{{outcome="failed"}}', '{{outcome="delivered"}}'

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "seamless_storage_wait_ms",
        "histogram",
        "Time a read waited for its stores.",
        _READ,
        MS_BUCKETS,
        _slow("Storage", "storage", "{at.storage_wait_ms:.12g}"),
    ),
    Metric(
        "seamless_backfill_wait_ms",
        "histogram",
        "Time a read waited for a fill.",
        _READ,
        MS_BUCKETS,
        _slow("Backfill", "backfill", "{at.backfill_wait_ms:.12g}"),
    ),
    Metric(
        "seamless_live_wait_ms",
        "histogram",
        "Time a read waited for the newest bars.",
        _READ,
        MS_BUCKETS,
        _slow("Live", "live", "800"),
    ),
    Metric(
        "seamless_total_ms",
        "histogram",
        "Time of a read from its call to its answer.",
        _READ,
        MS_BUCKETS,
    ),
    Metric(
        "seamless_sla_deadline_seconds",
        "histogram",
        "Deadlines that reads were given.",
        _READ,
        SECOND_BUCKETS,
    ),
    Metric(
        "seamless_sla_violations_total",
        "counter",
        "Phases of reads that their budgets cut.",
        ("domain", "phase"),
        alert=Alert(
            "SeamlessDeadlineExceeded",
            f"sum by (domain) ({_grown('5m', _TOTAL)}) > 0",
            0,
            "critical",
            "reads were cut at their total deadline",
            "look at which phase took the time (metadata.sla), then at `seamless doctor`",
        ),
    ),
    Metric(
        "coverage_ratio",
        "gauge",
        "Delivered of the bars that could be, in the last read of a node, told for an hour.",
        ("node_id", "world_id"),
        alert=Alert(
            "SeamlessCoverageLow",
            "{metric} < {at.coverage:.12g}",
            5,
            "warning",
            "reads of a node deliver less than {at.coverage:.12g} of its bars",
            "see `seamless coverage` for the gaps; `seamless backfill` asks for them anew",
        ),
        lasts_s=READS_LAST_S,
    ),
    Metric(
        "domain_gate_holds",
        "counter",
        "Sessions that went to HOLD.",
        ("world_id", "domain"),
        alert=Alert(
            "SeamlessSessionsHeld",
            f"sum by (world_id) ({_grown('15m')}) > 2",
            0,
            "warning",
            "a world's sessions go to HOLD again and again",
            "see the reasons in the log lines session_downgraded",
        ),
    ),
    Metric(
        "seamless_webhook_messages_total",
        "counter",
        "Messages to the webhook of the world service, by outcome; each failed attempt counts. Dropped are "
        "the oldest of a world of which too many wait.",
        ("outcome",),
        alert=Alert(
            "SeamlessWebhookAway",
            f"sum({_grown('10m', _FAILED)}) > 0 unless sum({_grown('10m', _DELIVERED)}) > 0",
            10,
            "warning",
            "the receiver of the webhook takes no message; they are kept until it does",
            "see the reasons in the log lines webhook_failed, and environment.world_webhook_url",
        ),
    ),
    Metric(
        "seamless_webhook_messages_waiting",
        "gauge",
        "Messages that wait for the webhook of the world service, as of the last one that was sent.",
        alert=Alert(
            "SeamlessWebhookBacklog",
            "{metric} > 5000",
            10,
            "critical",
            "thousands of messages wait for the webhook; of a world the oldest are dropped beyond 10,000",
            "bring the receiver back: see the reasons in the log lines webhook_failed",
        ),
    ),
    Metric("partial_fill_returns", "counter", "Reads that were answered in part.", ("world_id", "domain")),
    Metric(
        "live_staleness_seconds",
        "gauge",
        "Age of the last bar of the last live read of a node, told for an hour.",
        ("node_id", "world_id"),
        alert=Alert(
            "SeamlessLiveStale",
            "{metric} > {at.staleness_s:.12g}",
            2,
            "warning",
            "live reads of a node are older than {at.staleness_s:.12g} s, which is domains.live.max_lag_sec",
            "look at `seamless doctor` for the exchange, then at its fills in the log",
        ),
        lasts_s=READS_LAST_S,
    ),
    Metric(
        "seamless_backfill_windows_total",
        "counter",
        "Pieces of history that were to be filled, by outcome.",
        ("exchange", "outcome"),
        alert=Alert(
            "SeamlessBackfillsFail",
            f"sum by (exchange) ({_grown('10m', _FAIL)}) / sum by (exchange) ({_grown('10m')})"
            " > {at.failing:.12g}",
            10,
            "warning",
            "less than {at.completion:.12g} of the fills of an exchange are completed",
            "see the reasons in the log lines backfill_fail",
        ),
    ),
    Metric(
        "backfill_completion_ratio",
        "gauge",
        "Completed of all pieces of history that were to be filled so far, drawn from the windows counted.",
        ("exchange",),
    ),
    Metric(
        "seamless_conformance_flag_total",
        "counter",
        "Corrections of bars before they were sealed, of imported files too, by flag.",
        ("node_id", "interval", "world_id", "flag_type"),
        alert=Alert(
            "SeamlessConformanceSpike",
            f"sum by (node_id) ({_grown('1h', _MENDED)})"
            f" > 100 + sum by (node_id) ({_grown('1d', _MENDED)}) / 8",
            0,
            "warning",
            "a node needs far more corrections than in the day before",
            "see its manifests' flags (`seamless releases`, /v1/manifests) and what the exchange sends",
        ),
    ),
    Metric(
        "seamless_conformance_warning_total",
        "counter",
        "Flags that deserve a look, of bars that were sealed.",
        ("node_id", "interval", "world_id"),
    ),
    Metric(
        "artifact_publish_latency_ms",
        "histogram",
        "Time from the look at settled bars until their artifact and manifest are stored.",
        ("exchange",),
        MS_BUCKETS,
        Alert(
            "SeamlessPublishSlow",
            "histogram_quantile(0.95, sum by (le, exchange) (rate({metric}_bucket[5m]))) > 120000",
            5,
            "warning",
            "sealing takes more than two minutes",
            "look at the artifact store by `seamless doctor`",
        ),
    ),
    Metric(
        "artifact_bytes_written",
        "counter",
        "Bytes of sealed files that were not there before.",
        ("exchange",),
    ),
    Metric(
        "fingerprint_collisions",
        "counter",
        "Artifacts whose fingerprint other bars hold already.",
        ("exchange",),
        alert=Alert(
            "SeamlessFingerprintCollision",
            f"sum by (exchange) ({_grown('1h')}) > 0",
            0,
            "critical",
            "two sets of bars have one fingerprint: a store is damaged, or worse",
            "stop releasing, run `seamless verify` on the node that the log line fingerprint_collision names",
        ),
    ),
    Metric(
        "gap_repair_latency_ms",
        "histogram",
        "Time to close a gap once it was looked at.",
        ("exchange",),
        MS_BUCKETS,
    ),
    Metric(
        "seamless_rl_tokens_available",
        "gauge",
        "Tokens of a rate budget that are free, as of the scrape; none until one was asked for.",
        ("key",),
        alert=Alert(
            "SeamlessRateBudgetShort",
            "{metric} / seamless_rl_tokens_capacity < 0.1",
            10,
            "warning",
            "a rate budget has less than a tenth of its tokens left for minutes",
            "ask for less at once, or raise the budget where the exchange allows it",
        ),
    ),
    Metric("seamless_rl_tokens_capacity", "gauge", "Tokens that a rate budget holds at most.", ("key",)),
    Metric(
        "seamless_rl_dropped_total",
        "counter",
        "Requests given up while they waited for the rate budget.",
        ("key",),
        alert=Alert(
            "SeamlessRequestsDropped",
            f"sum by (key) ({_grown('5m')}) > 0",
            0,
            "critical",
            "requests are given up at the rate budget",
            "ask for less at once, or raise the budget where the exchange allows it",
        ),
    ),
    Metric(
        "seamless_shared_service_up",
        "gauge",
        "Whether a service that workers share answers: 1, or 0 while this machine stands in for it.",
        ("service",),
        alert=Alert(
            "SeamlessSharedServiceLost",
            "{metric} == 0",
            1,
            "warning",
            "a shared rate budget or lease store is away; each machine goes by itself",
            "see `seamless doctor`, and bring Redis or the coordinator back; workers return by themselves",
        ),
    ),
    Metric(
        "seamless_stream_up",
        "gauge",
        "Whether an exchange's stream brings bars: 1, or 0 while it cools down and they are asked for.",
        ("exchange",),
    ),
    Metric(
        "seamless_stream_bars_total",
        "counter",
        "Bars that came by an exchange's stream, by what proved them final.",
        ("exchange", "proof"),
    ),
    Metric(
        "seamless_stream_faults_total",
        "counter",
        "What was wrong with an exchange's stream, in a word each.",
        ("exchange", "fault"),
    ),
    Metric("seamless_lease_events_total", "counter", "What a coordinator granted and took back.", ("kind",)),
    Metric("seamless_requests_open", "gauge", "Requests to the service under way, by bearer.", ("client",)),
    Metric("seamless_streams_open", "gauge", "Streams of events from the service, by bearer.", ("client",)),
    Metric("seamless_leases_held", "gauge", "Leases that the service has granted and that still hold."),
    Metric("seamless_sessions_remembered", "gauge", "Sessions of worlds that the service remembers."),
    Metric("seamless_fills_wanted", "gauge", "Fills on record that readers wanted, not yet done."),
    Metric("seamless_cache_frames", "gauge", "Frames that the service keeps, to be read again."),
    Metric("seamless_cache_bytes", "gauge", "Memory that the frames take which the service keeps."),
    Metric(
        "seamless_damaged_state_total",
        "counter",
        "Damaged things found in files of our own, which are as if they were not there.",
        ("file",),
        alert=Alert(
            "SeamlessStateDamaged",
            f"sum by (file) ({_grown('1h')}) > 0",
            0,
            "warning",
            "a state file holds what was not written so",
            "look at the disk; what is missing is fetched anew by itself",
        ),
    ),
)
BY_NAME = {metric.name: metric for metric in CATALOGUE}
LASTING = {metric.name: metric.lasts_s for metric in CATALOGUE if metric.lasts_s is not None}
"""Gauges that end, and how many seconds after they were set last."""
