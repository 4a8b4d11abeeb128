"""Fingerprints of bars and of datasets: equal content, equal fingerprints, whoever computes them and when."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.cells import canonical_floats
from seamless_assets.core.bars.epochs import read_epochs, read_integers
from seamless_assets.core.bars.frames import column_names, column_of, is_plain_number, plain_cells
from seamless_assets.core.bars.sorted_sets import is_ascending
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.timeframe import interval_of
from seamless_assets.core.canonical import is_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.errors import InvalidFrame, InvalidInput

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

_FORMAT = b"seamless-assets bars 1\n"
_COLUMN_TYPES = ",".join(f"{name}:{'int64' if name == 'ts' else 'float64'}" for name in COLUMNS)
_BLOCK_ROWS = 131_072
_NUMBERS_AS_OBJECTS = {"decimal", "integer", "floating", "mixed-integer-float", "empty"}


def fingerprint(bars: Any, *, node_id: str | NodeId, interval: Any, conformance_version: str = "v2") -> str:
    """`sha256:` over the node, interval, conformance version and the six canonical columns of `bars`.

    `bars` is a pandas, Arrow or polars frame in any row order; `ts` may be epochs of any unit or aware or
    naive (UTC) datetimes, the rest numbers, a null being NaN. Other columns do not count. Hashed are a
    header, each part behind its length, and then the columns sorted by `ts`, little-endian, with one zero
    and one NaN. Raises `InvalidFrame` for missing columns, unreadable, fractional or repeated `ts`, texts
    and infinities, and `InvalidNodeId`, `InvalidTimeframe` and `InvalidInput` for the other arguments.
    """
    names = column_names(bars)
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        raise InvalidFrame(f"bars lack {', '.join(lacking)}; a fingerprint needs {', '.join(COLUMNS)}")
    ts = _whole_seconds(bars)
    order = None if is_ascending(ts) else np.argsort(ts)
    ordered = ts if order is None else ts[order]
    if order is not None and bool((ordered[1:] == ordered[:-1]).any()):
        raise InvalidFrame("bars repeat a ts; conform them first")
    digest = hashlib.sha256(_header(NodeId.parse(node_id), interval, conformance_version, len(ts)))
    for part in _blocks(ordered):
        digest.update(np.ascontiguousarray(part, dtype="<i8").data)
    for name in COLUMNS[1:]:
        values = _floats(bars, name)
        for part in _blocks(values if order is None else values[order]):
            digest.update(canonical_floats(part, name).data)
    return f"sha256:{digest.hexdigest()}"


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values in parts that the processor's cache holds, so that they are judged and hashed in one go."""
    return (values[at : at + _BLOCK_ROWS] for at in range(0, len(values), _BLOCK_ROWS))


def _header(node: NodeId, interval: Any, conformance_version: str, rows: int) -> bytes:
    if not is_text(conformance_version) or not conformance_version:
        raise InvalidInput(
            f"conformance_version is {conformance_version!r}; give a text such as v2",
            value=conformance_version,
        )
    return _framed(str(node), str(interval_of(interval)), conformance_version, _COLUMN_TYPES, str(rows))


@lru_cache(256)
def _framed(*parts: str) -> bytes:
    return _FORMAT + b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)


def _whole_seconds(bars: Any) -> np.ndarray:
    cells = plain_cells(bars, "ts")
    if cells is not None and cells.dtype == np.int64:
        epochs = read_integers(cells)
    else:
        epochs = read_epochs(column_of(bars, "ts"))
    if not epochs.readable.all() or epochs.fractional.any():
        wrong = int(np.count_nonzero(~epochs.readable | epochs.fractional))
        raise InvalidFrame(f"{wrong} values of ts are no times in whole seconds; conform the bars first")
    return epochs.seconds


def _floats(bars: Any, name: str) -> np.ndarray:
    cells = plain_cells(bars, name)
    if cells is not None:
        return cells.astype(np.float64, copy=False)
    series = column_of(bars, name)
    kind = series.dtype
    as_objects = kind == "object" and pd.api.types.infer_dtype(series) in _NUMBERS_AS_OBJECTS
    if not as_objects and not is_plain_number(kind):
        raise InvalidFrame(f"column {name} holds {kind}, not numbers; conform the bars first", column=name)
    try:
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ArithmeticError, ValueError) as error:
        raise InvalidFrame(f"column {name} holds what is no float64: {error}", column=name) from error


def dataset_fingerprint(node_id: str, artifacts: Sequence[ArtifactRef]) -> str:
    """Merkle root over `(start, end, fingerprint)` of ordered artifacts, bound to the node."""
    leaves = [_digest(b"\0", f"{ref.start}:{ref.end}:{ref.fingerprint}".encode()) for ref in artifacts]
    while len(leaves) > 1:
        pairs = [leaves[at : at + 2] for at in range(0, len(leaves), 2)]
        leaves = [_digest(b"\1", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    root = _digest(b"\2", f"{len(artifacts)}:{node_id}".encode(), *leaves)
    return f"sha256:{root.hex()}"


def _digest(prefix: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(prefix + b"".join(parts)).digest()
