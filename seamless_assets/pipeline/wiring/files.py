"""Where a read becomes the files of another program, and files of others become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from seamless_assets.adapters.files.exported import verify_files, write_export
from seamless_assets.adapters.files.imported import find_files, read_files
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.exports.forms import FORMS
from seamless_assets.core.exports.options import ExportOptions
from seamless_assets.core.exports.sidecar import ENDING, Sidecar, sidecar_of
from seamless_assets.core.imports.columns import Layout
from seamless_assets.core.imports.files import tables_of
from seamless_assets.core.imports.rows import Rows, Source
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadResult

__all__ = ["ExportReport", "read_rows", "verify_files", "write_files"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported: the files, their sidecar, and what it says."""

    files: tuple[Path, ...]
    sidecar_path: Path
    sidecar: Sidecar


def write_files(
    node: NodeId,
    read: ReadResult,
    form: str,
    target: Path,
    overwrite: bool,
    options: ExportOptions,
) -> ExportReport:
    """Write the bars of a read in a form, to `target`: a file, or the folder of the other program.

    Raises `InvalidInput`. The form has to take the options that are given.
    """
    written = FORMS[form]
    folder = target if written.suffix is None else target.parent
    encoded = written.encode(node, read.bars, **options.given())
    files = {path or target.name: held for path, held in encoded}
    name = next(iter(files)) if len(files) == 1 else _window_name(node, read)
    sidecar_path = folder / f"{name}{ENDING}"
    local = {str(Path(path).relative_to(Path(name).parent)): held for path, held in files.items()}
    sidecar = sidecar_of(read, form, local)
    write_export(sidecar_path, sidecar, local, overwrite=overwrite, overlap=written.overlap)
    return ExportReport(tuple(sidecar_path.parent / path for path in local), sidecar_path, sidecar)


def read_rows(named: Sequence[str | PathLike[str]], layout: Layout, rename: Mapping[Any, str]) -> list[Rows]:
    """The rows of all files that are named, by their names or by patterns.

    Raises `InvalidInput` where one is not there, `ImportRefused` for what is in it.
    """
    rows: list[Rows] = []
    for path, payload in read_files(find_files(named)):
        source = Source(path.name, sha256_text(payload), len(payload))
        rows += [Rows(source, where, table) for where, table in tables_of(path.name, payload, layout, rename)]
        # Decoding takes as much again as what comes of it, and a pool keeps that.
        pa.default_memory_pool().release_unused()
    return rows


def _window_name(node: NodeId, read: ReadResult) -> str:
    """The name of many files: another window of the node has another, so that one takes no other's place."""
    days = (seconds_text(at)[:10] for at in (read.metadata.start, read.metadata.end))
    return "-".join((*node.asset_key, *days))
