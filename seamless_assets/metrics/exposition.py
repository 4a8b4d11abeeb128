"""The text that Prometheus scrapes, made of what all processes of a machine have handed over.

Own, because `prometheus_client` ends every counter in `_total`, and some names of the catalogue do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from seamless_assets.metrics.catalogue import BY_NAME, CATALOGUE, Metric
from seamless_assets.metrics.tally import COUNT, SUM, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
Parts = Mapping[str, float]


def exposition(tally: Tally) -> str:
    """All metrics of the catalogue in Prometheus's text format, those without a number too.

    A series that does not fit its metric, as another version may have left it, is passed over.
    """
    series = _series(tally)
    series["backfill_completion_ratio"] = _completion(series["seamless_backfill_windows_total"])
    lines: list[str] = []
    for metric in CATALOGUE:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, parts in sorted(series.get(metric.name, {}).items()):
            lines += _samples(metric, labels, parts)
    return "\n".join([*lines, ""])


def _series(tally: Tally) -> dict[str, dict[tuple[str, ...], dict[str, float]]]:
    """The parts of each series by metric and labels, of metrics of the catalogue."""
    series: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (name, labels, part), value in (*tally.added.items(), *tally.gauges.items()):
        metric = BY_NAME.get(name)
        if metric is None or len(labels) != len(metric.labels):
            continue
        if metric.kind == "histogram" or not part:
            series[name][labels][part] = value
    return series


def _completion(windows: Mapping[tuple[str, ...], Parts]) -> dict[tuple[str, ...], dict[str, float]]:
    """Of each exchange the share of windows that were completed."""
    complete: dict[str, float] = defaultdict(float)
    ended: dict[str, float] = defaultdict(float)
    for (exchange, outcome), parts in windows.items():
        ended[exchange] += parts[""]
        complete[exchange] += parts[""] if outcome == "complete" else 0.0
    return {(exchange,): {"": complete[exchange] / count} for exchange, count in ended.items() if count}


def _samples(metric: Metric, labels: tuple[str, ...], parts: Parts) -> Iterator[str]:
    named = list(zip(metric.labels, labels, strict=True))
    if metric.kind != "histogram":
        yield f"{metric.name}{_braced(named)} {_number(parts[''])}"
        return
    total = 0.0
    for bound in metric.buckets:
        total += parts.get(repr(bound), 0.0)
        yield f"{metric.name}_bucket{_braced([*named, ('le', _number(bound))])} {_number(total)}"
    count = _number(parts.get(COUNT, 0.0))
    yield f"{metric.name}_bucket{_braced([*named, ('le', '+Inf')])} {count}"
    yield f"{metric.name}_sum{_braced(named)} {_number(parts.get(SUM, 0.0))}"
    yield f"{metric.name}_count{_braced(named)} {count}"


def _braced(labels: list[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return f"{{{text}}}" if text else ""


def _number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
