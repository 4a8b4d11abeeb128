"""The reference of metrics and alerts, made of the catalogue that counts them."""

from __future__ import annotations

from collections.abc import Iterator

from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.catalogue import CATALOGUE, Metric

HEAD = """# Metrics and alerts
Every metric that the pipeline keeps, from the catalogue that counts them. [Metrics, alerts and logs](../metrics.md) says how they are scraped.

| metric | kind | labels | alert |
|---|---|---|---|
"""


def page() -> str:
    """The page, in Markdown."""
    return "".join(
        [HEAD, *(row(metric) for metric in CATALOGUE), *(section for m in CATALOGUE for section in parts(m))]
    )


def row(metric: Metric) -> str:
    """A metric in the table at the top."""
    alert = f"[{metric.alert.name}](../runbooks.md#{metric.alert.name.lower()})" if metric.alert else ""
    return f"| [`{metric.name}`](#{metric.name}) | {metric.kind} | {labels(metric)} | {alert} |\n"


def labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def parts(metric: Metric) -> Iterator[str]:
    """A metric under a head of its own."""
    yield f"\n## {metric.name} {{ #{metric.name} }}\n{metric.help} A {metric.kind}"
    yield f", by {labels(metric)}.\n" if metric.labels else ".\n"
    if metric.buckets:
        yield f"\nBuckets: {', '.join(f'{edge:,.10g}' for edge in metric.buckets)}.\n"
    if metric.alert:
        rule = RULES[metric.alert.name]
        yield (
            f'\n!!! warning "Alert [{metric.alert.name}](../runbooks.md#{metric.alert.name.lower()}), '
            f'{metric.alert.severity}"\n    When {metric.alert.summary}'
            f"{f', for {metric.alert.for_minutes} minutes' if metric.alert.for_minutes else ''}: {metric.alert.remedy}.\n\n"
            f"    ```promql\n    {rule}\n    ```\n"
        )


RULES = {rule["alert"]: rule["expr"] for group in alert_rules()["groups"] for rule in group["rules"]}
"""The expressions of the alerts as they stand in Prometheus's file."""
