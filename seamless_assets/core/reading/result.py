"""What a read returns: immutable bars with the whole of their metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.core.bars.frames import pandas_frame, time_index
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.reading.context import Verdict, choose
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


_SHOWN, _WIDTH = 5, 140
INDEXES = ("time",)
"""Indexes that a pandas frame may have in place of a column."""


def _shown(line: str) -> str:
    """A line as a screen has room for it: what others said, such as an exchange, may be as long as a page."""
    indent, text = line[: len(line) - len(line.lstrip())], " ".join(line.split())
    return indent + (text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}...")


class ManifestUris(Sequence[str]):
    """Where the manifests of artifacts are, put together when they are asked for; equal to a tuple of them.

    A year of days is hundreds of them, and most readers look at none. Copied or pickled it is that tuple.
    """

    __slots__ = ("_folder", "_refs")

    def __init__(self, folder: str, refs: tuple[ArtifactRef, ...]) -> None:
        self._folder, self._refs = folder, refs

    def __len__(self) -> int:
        return len(self._refs)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...

    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        if isinstance(at, slice):
            return tuple(ManifestUris(self._folder, self._refs[at]))
        return self._folder + self._refs[at].manifest_path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, ManifestUris)) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[type[tuple[str, ...]], tuple[list[str]]]:
        return tuple, (list(self),)


@dataclass(frozen=True, slots=True, repr=False)
class ReadMetadata:
    """Everything known of a delivered frame.

    `interval` is in seconds (the timeframe's text for months and years), `start`, `end`, `coverage_bounds`
    and `gaps` in epoch seconds, `as_of` ISO text. `staleness_seconds` is the time between the close of the
    last bar and now; None for reads of the past, which age does not spoil, and for empty frames.
    """

    node_id: str
    interval: int | str
    start: int
    end: int
    rows: int
    coverage_bounds: tuple[int, int] | None
    coverage_ratio: float
    gaps: tuple[Gap, ...]
    conformance_flags: Mapping[str, int]
    conformance_version: str
    dataset_fingerprint: str | None
    as_of: str | None
    requested_as_of: str | None
    manifest_uris: Sequence[str]
    world_id: str
    domain: str
    verdict: Verdict
    reasons: tuple[str, ...]
    source: str
    staleness_seconds: float | None
    sla: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """What a person asks first, on a screen; long lists as their lengths."""
        window = f"[{seconds_text(self.start)}, {seconds_text(self.end)})"
        held = f"{self.rows} rows, coverage {self.coverage_ratio:.4f}, {len(self.gaps)} gaps"
        lines = [f"{self.verdict}: {self.node_id} {window}"]
        lines += [f"  {reason}" for reason in self.reasons[:_SHOWN]]
        if len(self.reasons) > _SHOWN:
            lines.append(f"  and {len(self.reasons) - _SHOWN} more reasons")
        lines += [
            f"{held}, {len(self.manifest_uris)} artifacts, from {self.source}",
            f"as_of {self.as_of}, asked {self.requested_as_of}, world {self.world_id}, domain {self.domain}",
            f"{self.dataset_fingerprint}, conformance {self.conformance_version}",
        ]
        return f"<ReadMetadata {chr(10).join(map(_shown, lines))}>"


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Bars `(rows, columns)`, sorted by `ts`, and their metadata."""

    bars: pa.Table = field(repr=False)
    metadata: ReadMetadata

    def to_arrow(self) -> pa.Table:
        """The bars as an Arrow table."""
        return self.bars

    def to_pandas(self, index: str | None = None) -> pd.DataFrame:
        """The bars as a new pandas frame with a plain range index.

        With `index="time"` it has a UTC `DatetimeIndex` in place of `ts`. Raises `InvalidChoice` for another
        index, and `InvalidInput` where the read left `ts` out.
        """
        if index is None:
            return pandas_frame(self.bars)
        choose(index, INDEXES, "index")
        if "ts" not in self.bars.column_names:
            raise InvalidInput(
                'index="time" needs the column ts; read it too', columns=self.bars.column_names
            )
        return pandas_frame(self.bars.drop_columns("ts"), time_index(self.bars.column("ts").to_numpy()))

    def to_backtesting(self) -> pd.DataFrame:
        """The bars as backtesting.py and vectorbt want them: times as index, then `Open` to `Volume`.

        Raises `InvalidInput` where the read left a column out.
        """
        if lacking := [name for name in COLUMNS if name not in self.bars.column_names]:
            raise InvalidInput(
                f"a backtest needs {', '.join(lacking)} too; read all columns", columns=lacking
            )
        frame = self.to_pandas(index="time")[list(COLUMNS[1:])]
        return frame.rename(columns=str.capitalize)

    def to_polars(self) -> pl.DataFrame:
        """The bars as a polars frame. Raises `MissingPackage` where polars is not installed."""
        with late_imports("polars"):
            import polars

        frame = polars.from_arrow(self.bars)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def __reduce__(self) -> tuple[Callable[[bytes, ReadMetadata], ReadResult], tuple[bytes, ReadMetadata]]:
        # Arrow pickles the whole block that bars were cut from.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.bars.schema) as stream:
            stream.write_table(self.bars)
        return _unpickled, (sink.getvalue().to_pybytes(), self.metadata)


def _unpickled(bars: bytes, metadata: ReadMetadata) -> ReadResult:
    return ReadResult(pa.ipc.open_stream(bars).read_all(), metadata)
