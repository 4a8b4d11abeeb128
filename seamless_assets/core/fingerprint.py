"""The content fingerprint of bars: equal bars, equal fingerprints, whoever computes them and when."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from seamless_assets.core.bars import BARS_SCHEMA, COLUMNS
from seamless_assets.core.epochs import epoch_column
from seamless_assets.core.frames import column_names, column_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.timeframe import interval_of
from seamless_assets.errors import InvalidFrame

FORMAT = b"seamless-assets bars 1\n"
_ONE_NAN = np.float64("nan")


def fingerprint(bars: Any, *, node_id: str | NodeId, interval: Any, conformance_version: str = "v2") -> str:
    """`sha256:` over the node, interval, conformance version and the six canonical columns of `bars`.

    `bars` is a pandas, Arrow or polars frame in any row order; `ts` may be epochs of any unit or aware or
    naive (UTC) datetimes, the rest numbers. Other columns do not count. Hashed are a header, each part
    behind its length, and then the columns sorted by `ts`, little-endian, with one zero and one NaN.
    Raises `InvalidFrame` for missing columns, unreadable or repeated `ts`, and infinities.
    """
    names = column_names(bars)
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        raise InvalidFrame(f"bars lack {', '.join(lacking)}; a fingerprint needs {', '.join(COLUMNS)}")
    ts = _ts(bars)
    order = None if _ascends(ts) else np.argsort(ts, kind="stable")
    ordered = ts if order is None else ts[order]
    if len(ordered) > 1 and bool(np.any(ordered[1:] == ordered[:-1])):
        raise InvalidFrame("bars repeat a ts; conform them first")
    digest = hashlib.sha256(_header(NodeId.parse(node_id), interval, conformance_version, len(ts)))
    digest.update(np.ascontiguousarray(ordered, dtype="<i8").data)
    for name in COLUMNS[1:]:
        digest.update(_numbers(bars, name, order).data)
    return f"sha256:{digest.hexdigest()}"


def _header(node: NodeId, interval: Any, conformance_version: str, rows: int) -> bytes:
    schema = json.dumps([[field.name, str(field.type)] for field in BARS_SCHEMA])
    parts = (str(node), str(interval_of(interval)), conformance_version, schema, str(rows))
    return FORMAT + b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)


def _ts(bars: Any) -> np.ndarray:
    seconds, readable = epoch_column(column_of(bars, "ts"))
    if not readable.all():
        raise InvalidFrame(f"{int((~readable).sum())} values of ts are no timestamps; conform the bars first")
    return seconds


def _numbers(bars: Any, name: str, order: np.ndarray | None) -> np.ndarray:
    try:
        values = np.asarray(column_of(bars, name).to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise InvalidFrame(f"column {name} does not hold numbers: {error}", column=name) from error
    if order is not None:
        values = values[order]
    if np.isinf(values).any():
        raise InvalidFrame(f"column {name} holds infinities; conform the bars first", column=name)
    values = np.ascontiguousarray(values + 0.0, dtype="<f8")
    hollow = np.isnan(values)
    if hollow.any():
        values[hollow] = _ONE_NAN
    return values


def _ascends(ts: np.ndarray) -> bool:
    return bool(np.all(ts[1:] >= ts[:-1]))
