"""Many series in one frame: reads of one cut, side by side by open time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.frames import time_index
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, Verdict, choose
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.errors import InvalidChoice, InvalidInput

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

JOINS = ("outer", "inner")
FIELDS = COLUMNS[1:]
_VERDICTS: tuple[Verdict, ...] = ("PASS", "PARTIAL", "HOLD", "REJECT")
Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PanelRequest:
    """The series and the fields of a panel. `labels` names the series in its columns, in the asked order."""

    nodes: tuple[NodeId, ...]
    labels: tuple[str, ...]
    fields: tuple[str, ...]
    has_levels: bool
    join: str

    @classmethod
    def parse(
        cls,
        nodes: Sequence[str | NodeId],
        fields: Sequence[str] | str,
        context: ComputeContext | None,
        join: str,
    ) -> PanelRequest:
        """The request of a call's arguments.

        Series are named by their symbols where these differ, else by their node ids. Raises `InvalidInput`
        and its kinds: for no series or one twice, for several timeframes, and for a live context.
        """
        if isinstance(nodes, str | NodeId) or not isinstance(nodes, Iterable):
            raise InvalidInput(f"nodes is {str(nodes)!r}; give a list of node ids", value=nodes)
        parsed = tuple(NodeId.parse(node) for node in nodes)
        if not parsed:
            raise InvalidInput("nodes is empty; give at least one node id", value=nodes)
        _refuse_repeats("nodes", [str(node) for node in parsed])
        if len(timeframes := sorted({str(node.timeframe) for node in parsed})) > 1:
            raise InvalidInput(
                f"the series of a panel have one timeframe, not {', '.join(timeframes)}; read one for each",
                value=nodes,
            )
        if context is not None and getattr(context, "domain", None) == "live":
            raise InvalidInput(
                "a panel is one cut of released bars, which a live session is not: each series keeps to "
                "an as_of of its own; read them one by one, or give a context with an as_of",
                value=context.domain,
            )
        if not isinstance(fields, Iterable):
            raise InvalidInput(f"fields is {fields!r:.100}; give the name of one, or a list", value=fields)
        asked = (fields,) if isinstance(fields, str) else tuple(fields)
        for name in asked:
            choose(name, FIELDS, "field")
        if not asked:
            raise InvalidChoice("fields is empty; give at least one", value=fields, choices=FIELDS)
        _refuse_repeats("fields", asked)
        symbols = [node.symbol for node in parsed]
        labels = symbols if len(set(symbols)) == len(parsed) else [str(node) for node in parsed]
        return cls(parsed, tuple(labels), asked, not isinstance(fields, str), choose(join, JOINS, "join"))


@dataclass(frozen=True, slots=True, repr=False)
class PanelMetadata:
    """What is known of a panel: the cut, and the metadata of each series by its label.

    `as_of` is the newest release in the cut: a backtest context with it gives the same panel for ever.
    `verdict` is the worst of the series. `coverage` has the ratio of each series.
    """

    as_of: str | None
    requested_as_of: str | None
    verdict: Verdict
    rows: int
    series: Mapping[str, ReadMetadata]

    @property
    def coverage(self) -> dict[str, float]:
        """The coverage ratio of each series, by its label."""
        return {label: metadata.coverage_ratio for label, metadata in self.series.items()}

    def __repr__(self) -> str:
        ratios = self.coverage
        worst = min(ratios, key=lambda label: (ratios[label], label))
        return (
            f"<PanelMetadata {self.verdict}: {len(ratios)} series, {self.rows} rows, as_of {self.as_of}, "
            f"lowest coverage {ratios[worst]:.4f} ({worst})>"
        )


@dataclass(frozen=True, slots=True)
class PanelResult:
    """Fields of many series, sorted by `ts`, and their metadata."""

    metadata: PanelMetadata
    _request: PanelRequest = field(repr=False)
    _ts: Times = field(repr=False)
    _series: Sequence[_Series] = field(repr=False)

    def to_arrow(self) -> pa.Table:
        """`ts` and a column for each series, named `close BTC/USDT` and so on where fields were a list.

        A bar that is not there is null.
        """
        asked = self._request
        names = [f"{name} {label}" if asked.has_levels else label for name, label in self._columns()]
        values = self._filled()
        columns = [pa.array(column, from_pandas=True) for column in values.T]
        return pa.table([pa.array(self._ts), *columns], names=["ts", *names])

    def to_pandas(self) -> pd.DataFrame:
        """A new frame with a UTC `DatetimeIndex` and a column for each series; no bar is NaN.

        Where fields were a list they are the upper level of the columns: `frame["close"]` has the series.
        """
        levels = self._columns()
        names: Any = [label for _, label in levels]
        if self._request.has_levels:
            names = pd.MultiIndex.from_tuples(levels, names=["field", "series"])
        # The values are made for this frame alone.
        return pd.DataFrame(self._filled(), index=time_index(self._ts), columns=names, copy=False)

    def _columns(self) -> list[tuple[str, str]]:
        return [(name, label) for name in self._request.fields for label in self._request.labels]

    def _filled(self) -> Values:
        """New values of the shape `(rows, fields x series)`, each column in one piece; no bar is NaN."""
        values = np.empty((len(self._ts), len(self._request.fields) * len(self._series)), order="F")
        for number, own in enumerate(self._series):
            for at, name in enumerate(self._request.fields):
                column = values[:, at * len(self._series) + number]
                held = own.bars.column(name).to_numpy()
                if own.rows is None:
                    column[:] = held
                else:
                    column[:] = np.nan
                    column[own.rows] = held if own.kept is None else held[own.kept]
        return values


@dataclass(frozen=True, slots=True)
class _Series:
    """The bars of one series, and at which `rows` of the panel they stand; None: at all of them, in order.

    `kept` are those of its bars that do; None: all.
    """

    bars: pa.Table
    rows: Any = None
    kept: Any = None


def join_reads(request: PanelRequest, reads: Sequence[ReadResult], requested: str | None) -> PanelResult:
    """The panel of one read for each series, in the order of the request."""
    times = [read.bars.column("ts").to_numpy() for read in reads]
    ts = _joined(times, request.join)
    metadata = PanelMetadata(
        as_of=max((read.metadata.as_of or "" for read in reads), default="") or None,
        requested_as_of=requested,
        verdict=max((read.metadata.verdict for read in reads), key=_VERDICTS.index),
        rows=len(ts),
        series={label: read.metadata for label, read in zip(request.labels, reads, strict=True)},
    )
    series = [_placed(ts, own, read.bars) for own, read in zip(times, reads, strict=True)]
    return PanelResult(metadata, request, ts, series)


def _joined(times: Sequence[Times], join: str) -> Times:
    """The open times of all series (`outer`) or of every one (`inner`), ascending."""
    distinct = [times[0]]
    for own in times[1:]:
        if not any(np.array_equal(own, known) for known in distinct[:_DISTINCT]):
            distinct.append(own)
    if len(distinct) == 1:
        return distinct[0]
    unique, counts = np.unique(np.concatenate(distinct), return_counts=True)
    return unique if join == "outer" else unique[counts == len(distinct)]


_DISTINCT = 4
"""Series whose times are compared with those of each: most share all of theirs."""


def _placed(ts: Times, own: Times, bars: pa.Table) -> _Series:
    """Where the bars of one series stand in the panel, and which of them do."""
    if len(ts) == len(own) and np.array_equal(ts, own):
        return _Series(bars)
    first, end = np.searchsorted(ts, (own[0], own[-1] + 1)) if len(own) else (0, 0)
    if end - first == len(own) and np.array_equal(ts[first:end], own):
        return _Series(bars, slice(first, end))
    rows = np.searchsorted(ts, own)
    kept = rows < len(ts)
    kept[kept] = ts[rows[kept]] == own[kept]
    return _Series(bars, rows[kept], kept)


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInput(f"{what} name {', '.join(repeated)} twice; give each once", value=tuple(names))
