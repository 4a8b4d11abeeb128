"""The forms of files: which there are, what their files are called, and bars as their bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.exports import freqtrade, lean, nautilus, tables
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import choose
from seamless_assets.errors import InvalidChoice, InvalidInput

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Form:
    """One form. `suffix` is that of its single file; None where a folder is filled with files of set names.

    `encode` gives the files of bars, each with its path in that folder ("" for the single file), and
    `decode` the bars of such files, in ascending order of their paths. Both raise `InvalidInput` for what
    the form cannot hold, `decode` also `ValueError` for what is not of the form. `overlap` says which two
    files of one folder must not both be there. `options` names those of `ExportOptions` that `encode` takes.
    `held` gives bars as its files hold them, where that may be by other values.
    """

    suffix: str | None
    encode: Callable[..., Files]
    decode: Callable[[NodeId, Mapping[str, bytes]], pa.Table]
    overlap: Callable[[str, str], bool] | None = None
    options: tuple[str, ...] = ()
    held: Callable[[NodeId, pa.Table], pa.Table] | None = None


FORMS: dict[str, Form] = {
    "csv": Form(".csv", tables.encode_csv, tables.decode_csv),
    "parquet": Form(
        ".parquet", tables.encode_parquet, tables.decode_parquet, options=("compression", "encodings")
    ),
    "feather": Form(".feather", tables.encode_feather, tables.decode_feather),
    "freqtrade": Form(None, freqtrade.encode, freqtrade.decode),
    "backtesting": Form(".csv", tables.encode_backtesting, tables.decode_backtesting),
    "lean": Form(None, lean.encode, lean.decode),
    "nautilus": Form(
        None, nautilus.encode, nautilus.decode, nautilus.overlap, options=("decimals",), held=nautilus.held
    ),
}


def refuse_other_options(form: str, given: Iterable[str]) -> None:
    """Raise `InvalidInput` for an option that the form does not take."""
    if others := [name for name in given if name not in FORMS[form].options]:
        takers = [name for name, other in FORMS.items() if others[0] in other.options]
        raise InvalidInput(
            f"the option {others[0]} is for the form {', '.join(takers)}; {form} takes none such"
        )


def choose_form(name: str | None, file_name: str) -> str:
    """The form that was named, or that of the file's ending. Raises `InvalidChoice`."""
    if name is None:
        endings = {form.suffix: known for known, form in reversed(FORMS.items()) if form.suffix}
        stem, dot, last = file_name.rpartition(".")
        ending = f".{last}" if stem and dot else ""
        if ending not in endings:
            known = tuple(sorted(endings))
            raise InvalidChoice(
                f"the ending of the file {file_name} says no form; end it with {', '.join(known)}, as "
                f"{stem or file_name}.csv does, or name a form: {', '.join(FORMS)}",
                value=ending,
                choices=known,
            )
        return endings[ending]
    return choose(name, tuple(FORMS), "form")
