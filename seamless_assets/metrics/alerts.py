"""Prometheus's alert rules, drawn from the catalogue."""

from __future__ import annotations

from typing import Any

from seamless_assets.metrics.catalogue import CATALOGUE, Alert, Metric

GROUP = "seamless-assets"


def alert_rules() -> dict[str, Any]:
    """The rules file as plain values, for YAML."""
    rules = [_rule(metric, metric.alert) for metric in CATALOGUE if metric.alert]
    return {"groups": [{"name": GROUP, "rules": rules}]}


def _rule(metric: Metric, alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr.format(metric=metric.name),
        "for": f"{alert.for_minutes}m",
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "action": alert.action},
    }
