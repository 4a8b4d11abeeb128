"""Prometheus's alert rules, drawn from the catalogue."""

from __future__ import annotations

from typing import Any

from seamless_assets.metrics.catalogue import CATALOGUE, Alert, Thresholds

GROUP = "seamless-assets"


def alert_rules(thresholds: Thresholds | None = None) -> dict[str, Any]:
    """The rules file as plain values, for YAML; with the thresholds of settings that set none unless told."""
    rules = [_rule(metric.alert.drawn(metric.name, thresholds)) for metric in CATALOGUE if metric.alert]
    return {"groups": [{"name": GROUP, "rules": rules}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": f"{alert.for_minutes}m",
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "action": alert.action},
    }
