"""The forms of files: which there are, what their files are called, and bars as their bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.exports import freqtrade, lean, nautilus, tables
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import choose

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Form:
    """One form. `suffix` is that of its single file; None where a folder is filled with files of set names.

    `encode` gives the files of bars, each with its path in that folder ("" for the single file), and
    `decode` the bars of such files, in ascending order of their paths. Both raise `InvalidInput` for what
    the form cannot hold, `decode` also `ValueError` for what is not of the form. `overlap` says which two
    files of one folder must not both be there. Where it `takes_decimals`, `encode` does: how many prices and
    volumes are written with. `held` gives bars as its files hold them, where that may be by other values.
    """

    suffix: str | None
    encode: Callable[..., Files]
    decode: Callable[[NodeId, Mapping[str, bytes]], pa.Table]
    overlap: Callable[[str, str], bool] | None = None
    takes_decimals: bool = False
    held: Callable[[NodeId, pa.Table], pa.Table] | None = None


FORMS: dict[str, Form] = {
    "csv": Form(".csv", tables.encode_csv, tables.decode_csv),
    "parquet": Form(".parquet", tables.encode_parquet, tables.decode_parquet),
    "feather": Form(".feather", tables.encode_feather, tables.decode_feather),
    "freqtrade": Form(None, freqtrade.encode, freqtrade.decode),
    "backtesting": Form(".csv", tables.encode_backtesting, tables.decode_backtesting),
    "lean": Form(None, lean.encode, lean.decode),
    "nautilus": Form(
        None, nautilus.encode, nautilus.decode, nautilus.overlap, takes_decimals=True, held=nautilus.held
    ),
}


def choose_form(name: str | None, file_name: str) -> str:
    """The form that was named, or that of the file's ending. Raises `InvalidChoice`."""
    if name is None:
        endings = {form.suffix: known for known, form in reversed(FORMS.items()) if form.suffix}
        ending = "." + file_name.rpartition(".")[2]
        return endings[choose(ending, tuple(endings), "the ending of the file (or name a form)")]
    return choose(name, tuple(FORMS), "form")
