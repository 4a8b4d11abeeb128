"""Grafana's dashboards, drawn from the catalogue: each metric stands on the board of who asks about it."""

from __future__ import annotations

from typing import Any

from seamless_assets.metrics.catalogue import BY_NAME, Metric, Thresholds

BOARDS: dict[str, tuple[str, ...]] = {
    "fleet": (
        "coverage_ratio",
        "domain_gate_holds",
        "partial_fill_returns",
        "seamless_shared_service_up",
        "seamless_lease_events_total",
        "seamless_damaged_state_total",
        "seamless_webhook_messages_total",
        "seamless_webhook_messages_waiting",
    ),
    "node": (
        "coverage_ratio",
        "live_staleness_seconds",
        "seamless_conformance_flag_total",
        "seamless_conformance_warning_total",
    ),
    "exchange": (
        "backfill_completion_ratio",
        "seamless_backfill_windows_total",
        "gap_repair_latency_ms",
        "seamless_rl_tokens_available",
        "seamless_rl_tokens_capacity",
        "seamless_rl_dropped_total",
        "seamless_stream_up",
        "seamless_stream_bars_total",
        "seamless_stream_faults_total",
    ),
    "releases": ("artifact_publish_latency_ms", "artifact_bytes_written", "fingerprint_collisions"),
    "service": (
        "seamless_requests_open",
        "seamless_streams_open",
        "seamless_leases_held",
        "seamless_sessions_remembered",
        "seamless_fills_wanted",
        "seamless_webhook_messages_waiting",
        "seamless_cache_frames",
        "seamless_cache_bytes",
    ),
    "sla": (
        "seamless_total_ms",
        "seamless_storage_wait_ms",
        "seamless_backfill_wait_ms",
        "seamless_live_wait_ms",
        "seamless_sla_deadline_seconds",
        "seamless_sla_violations_total",
    ),
}
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_QUANTILES = (0.5, 0.95, 0.99)


def dashboard(board: str, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """A dashboard as Grafana imports it, one panel a metric, which says when its alert fires.

    The thresholds are those of settings that set none unless told. Raises `KeyError` for an unknown board.
    """
    metrics = [BY_NAME[name] for name in BOARDS[board]]
    return {
        "uid": f"seamless-{board}",
        "title": f"Seamless: {board}",
        "tags": ["seamless-assets"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), *_variables(board)]},
        "panels": [_panel(metric, number, board, thresholds) for number, metric in enumerate(metrics)],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variables(board: str) -> list[dict[str, Any]]:
    if board != "node":
        return []
    return [
        {
            "name": "node",
            "label": "Node",
            "type": "query",
            "datasource": _SOURCE,
            "query": "label_values(coverage_ratio, node_id)",
            "includeAll": True,
            "multi": True,
            "refresh": 2,
        }
    ]


def _panel(metric: Metric, number: int, board: str, thresholds: Thresholds | None) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": metric.name,
        "description": _description(metric, thresholds),
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": _unit(metric)}, "overrides": []},
        "targets": _targets(metric, '{node_id=~"$node"}' if board == "node" else ""),
    }


def _description(metric: Metric, thresholds: Thresholds | None) -> str:
    if metric.alert is None:
        return metric.help
    alert = metric.alert.drawn(metric.name, thresholds)
    return f"{metric.help}\n\nAlert {alert.name}: {alert.summary}; {alert.action}."


def _unit(metric: Metric) -> str:
    if metric.name.endswith("_ms"):
        return "ms"
    if "seconds" in metric.name:
        return "s"
    return "percentunit" if metric.name.endswith("_ratio") else "short"


def _targets(metric: Metric, chosen: str) -> list[dict[str, Any]]:
    labels = ", ".join(metric.labels)
    named = " ".join(f"{{{{{label}}}}}" for label in metric.labels)
    if metric.kind == "histogram":
        rate = f"sum by (le, {labels}) (rate({metric.name}_bucket{chosen}[5m]))"
        exprs = [(f"histogram_quantile({q}, {rate})", f"p{q * 100:g} {named}") for q in _QUANTILES]
    elif metric.kind == "counter":
        exprs = [(f"sum by ({labels}) (increase({metric.name}{chosen}[5m]))", named)]
    else:
        exprs = [(f"{metric.name}{chosen}", named)]
    return [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
        for at, (expr, legend) in enumerate(exprs)
    ]
