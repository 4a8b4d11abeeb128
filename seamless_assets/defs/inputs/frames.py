"""The form of an input: what its type annotation asks for."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, get_args

import pandas as pd
import pyarrow as pa

from seamless_assets.core.reading.result import ReadResult
from seamless_assets.errors import InvalidChoice

CHOICES = (
    "pandas.DataFrame",
    "pyarrow.Table",
    "polars.DataFrame",
    "polars.LazyFrame",
    "ReadResult",
    "Optional of one of them",
    "no annotation (pandas.DataFrame)",
)
_MAKERS: dict[str, Callable[[ReadResult], Any]] = {
    "pandas.DataFrame": ReadResult.to_pandas,
    "pyarrow.Table": ReadResult.to_arrow,
    "polars.DataFrame": ReadResult.to_polars,
    "polars.LazyFrame": lambda result: result.to_polars().lazy(),
    "ReadResult": lambda result: result,
}
_OWN = {pd.DataFrame: "pandas.DataFrame", pa.Table: "pyarrow.Table", ReadResult: "ReadResult"}


def frame_maker(wanted: Any) -> Callable[[ReadResult], Any]:
    """What makes a frame of type `wanted`; raises `InvalidChoice` for a type that bars do not come in."""
    if wanted is Any:
        return ReadResult.to_pandas
    options = [part for part in get_args(wanted) if part is not NoneType]
    kind = options[0] if len(options) == 1 and NoneType in get_args(wanted) else wanted
    name = _OWN.get(kind) or _polars_name(kind) if isinstance(kind, type) else None
    if name is None:
        shown = getattr(wanted, "__name__", None) or str(wanted)
        raise InvalidChoice(
            f"bars do not come as {shown}; annotate the input with {' or '.join(CHOICES)}",
            value=shown,
            choices=CHOICES,
        )
    return _MAKERS[name]


def _polars_name(kind: type) -> str | None:
    # Polars is optional, so its types are known by their names.
    name = f"polars.{kind.__name__}"
    return name if kind.__module__.partition(".")[0] == "polars" and name in _MAKERS else None
