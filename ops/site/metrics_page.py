"""The reference of metrics and alerts, made of the catalogue that counts them."""

from __future__ import annotations

from collections.abc import Iterator

from seamless_assets.metrics.catalogue import CATALOGUE, Metric

HEAD = """---
hide: [toc]
---
# Metrics and alerts
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
        alert = metric.alert.drawn(metric.name)
        yield (
            f'\n!!! warning "Alert [{alert.name}](../runbooks.md#{alert.name.lower()}), '
            f'{alert.severity}"\n    When {alert.summary}'
            f"{f', for {alert.for_minutes} minutes' if alert.for_minutes else ''}: {alert.remedy}.\n\n"
            f"    ```promql\n    {alert.expr}\n    ```\n"
        )
