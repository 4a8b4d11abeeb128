"""The terminal: the one place where commands write.

Whatever it is (no UTF-8, a pipe that nobody reads any more, closed), a command does its work and ends in
order; and what stands in a message is shown, never obeyed: escapes and control characters are written out.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamless_assets.core.wire.problems import plain

NO_WRAP_WIDTH = 10_000
"""The width of an output that is no terminal: what is said of a thing stays on one line."""
PATIENCE_S = 2.0
"""A command that waits longer says for what."""
GAP = 2
"""Characters between two columns."""
FEWEST_FOLDED = 6
"""Characters of a column whose cells may be broken, at least, if it has as many."""
_DANGEROUS = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that a terminal may obey, or that change how others are shown."""


def open_streams() -> None:
    """Let every text be written on what standard output and error are, closed ones included."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class Unwritten(Exception):
    """The output takes no more; `reason` says why, and is empty where its reader is gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.reason = "" if isinstance(error, BrokenPipeError) else error.strerror


def close_streams() -> None:
    """Write what is still to be written. Raises `Unwritten`."""
    for stream in (sys.stdout, sys.stderr):
        _write("", stream)


def discard_output() -> None:
    """Let what is written from here on go nowhere, so that the end of the process finds nothing to write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def shown(text: str) -> str:
    """The text with all that a terminal would obey written out: `\\x1b` for an escape."""
    return "".join(_written_out(char) if _is_dangerous(char) else char for char in text)


def say(text: str = "", *, err: bool = False) -> None:
    """Write lines. Raises `Unwritten`."""
    _write(f"{shown(text)}\n", sys.stderr if err else sys.stdout)


def warn(text: str) -> None:
    """Write lines to standard error. That nobody can read them ends no work."""
    try:
        say(text, err=True)
    except Unwritten:
        return


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every terminal and encoding takes."""
    return json.dumps(plain(value), indent=indent)


def say_json(value: Any) -> None:
    """Write a value as JSON. Raises `Unwritten`."""
    _write(f"{json_text(value, indent=2)}\n", sys.stdout)


def write_bytes(payload: bytes) -> None:
    """Write bytes to standard output, which is no terminal. Raises `Unwritten`."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise Unwritten(error) from error


def say_table(table: Table) -> None:
    """Write a table, or on a terminal too narrow for it each row as lines of its own. Raises `Unwritten`."""
    screen = _screen()
    try:
        with screen.capture() as captured:
            if _least_width(table) <= screen.width:
                screen.print(table)
            else:
                _print_rows(table, screen)
    except OSError as error:
        # A capture ends with a write of nothing, which a full device refuses too.
        raise Unwritten(error) from error
    _write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), sys.stdout)


def _least_width(table: Table) -> int:
    """Characters of a line that a table needs to show all of its whole columns, and some of the others."""
    least = GAP * (len(table.columns) - 1)
    for column in table.columns:
        widest = max(cell_len(str(text)) for text in (column.header, *column.cells))
        least += widest if column.no_wrap else min(widest, FEWEST_FOLDED)
    return least


def _print_rows(table: Table, screen: Console) -> None:
    """Each cell that is not empty on a line, after the name of its column."""
    names = [str(column.header) for column in table.columns]
    length = max(map(cell_len, names))
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number:
            screen.print()
        for name, value in zip(names, row, strict=True):
            if str(value):
                screen.print(Text.assemble(f"{name:<{length}}  ", value), soft_wrap=True)


def table(*names: str, whole: Iterable[str] = ()) -> Table:
    """A table without lines; columns that are `whole` are never broken."""
    made = Table(box=None, pad_edge=False)
    for name in names:
        made.add_column(name, overflow="fold", no_wrap=name in whole)
    return made


def cell(text: str, style: str = "") -> Text:
    """A cell of a table."""
    return Text(shown(text).replace("\n", " "), style)


def width() -> int:
    """Characters of a line of standard output; very many where it is no terminal."""
    return _screen().width


def can_write(text: str) -> bool:
    """Whether standard output has the characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def progress_console() -> Console:
    """Where a bar of progress moves: on standard error, and only where that is a terminal."""
    return Console(stderr=True)


@contextmanager
def waiting_for(*what: str, describe: Callable[[], str] | None = None) -> Iterator[None]:
    """Say what is waited for, once that takes longer than anybody expects; `describe` is asked then."""

    def tell() -> None:
        warn(f"waiting for {describe() if describe else ', '.join(what)}")

    timer = Timer(PATIENCE_S, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _write(text: str, stream: TextIO) -> None:
    # Not by click, which writes UTF-8 where it finds ASCII.
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        raise Unwritten(error) from error


def _screen() -> Console:
    screen = Console(highlight=False)
    if not screen.is_terminal:
        screen.width = NO_WRAP_WIDTH
    return screen


def _is_dangerous(char: str) -> bool:
    return char not in "\n\t" and unicodedata.category(char) in _DANGEROUS


def _written_out(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
