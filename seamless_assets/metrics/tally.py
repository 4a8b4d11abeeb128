"""Numbers of metrics, added up: those of one process until they are handed over, and those of a machine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from seamless_assets.metrics.catalogue import BY_NAME
from seamless_assets.metrics.recording import Sample

COUNT, SUM = "count", "sum"
Series = tuple[str, tuple[str, ...], str]
"""Metric, labels, and part: empty for a counter or gauge, else a bucket's bound, `count` or `sum`."""


@cache
def _bounds(metric: str) -> tuple[str, ...]:
    """The names of a histogram's buckets, the last one for what lies beyond them."""
    return (*map(repr, BY_NAME[metric].buckets), "+Inf")


@dataclass
class Tally:
    """`added` grows by each sample, `gauges` holds the last value of each."""

    added: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)

    def record(self, samples: Iterable[Sample]) -> None:
        """Add samples of metrics of the catalogue."""
        for sample in samples:
            metric = BY_NAME[sample.metric]
            if metric.kind == "gauge":
                self.gauges[sample.metric, sample.labels, ""] = sample.value
            elif metric.kind == "counter":
                self._add(sample, ("",), sample.value)
            else:
                bound = _bounds(sample.metric)[bisect_left(metric.buckets, sample.value)]
                self._add(sample, (bound, COUNT), 1)
                self._add(sample, (SUM,), sample.value)

    def take(self) -> Tally:
        """What was recorded since the last time, and begin anew."""
        taken = Tally(self.added, self.gauges)
        self.added, self.gauges = {}, {}
        return taken

    def restore(self, taken: Tally) -> None:
        """Record again what was taken and could not be handed over; newer gauges stand."""
        for series, value in taken.added.items():
            self.added[series] = self.added.get(series, 0.0) + value
        self.gauges = {**taken.gauges, **self.gauges}

    def __bool__(self) -> bool:
        return bool(self.added or self.gauges)

    def _add(self, sample: Sample, parts: tuple[str, ...], value: float) -> None:
        for part in parts:
            series = (sample.metric, sample.labels, part)
            self.added[series] = self.added.get(series, 0.0) + value
