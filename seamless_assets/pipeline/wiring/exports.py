"""Where a read becomes the files of another program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seamless_assets.adapters.files.exported import verify_files, write_export
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.exports.forms import FORMS
from seamless_assets.core.exports.sidecar import ENDING, Sidecar, sidecar_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadResult

__all__ = ["ExportReport", "verify_files", "write_files"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported: the files, their sidecar, and what it says."""

    files: tuple[Path, ...]
    sidecar_path: Path
    sidecar: Sidecar


def write_files(node: NodeId, read: ReadResult, form: str, target: Path, overwrite: bool) -> ExportReport:
    """Write the bars of a read in a form, to `target`: a file, or the folder of the other program.

    Raises `InvalidInput`.
    """
    is_folder = FORMS[form].suffix is None
    folder = target if is_folder else target.parent
    files = {path or target.name: held for path, held in FORMS[form].encode(node, read.bars)}
    name = next(iter(files)) if len(files) == 1 else _window_name(node, read)
    sidecar_path = folder / f"{name}{ENDING}"
    local = {str(Path(path).relative_to(Path(name).parent)): held for path, held in files.items()}
    sidecar = sidecar_of(read, form, local)
    write_export(sidecar_path, sidecar, local, overwrite=overwrite)
    return ExportReport(tuple(sidecar_path.parent / path for path in local), sidecar_path, sidecar)


def _window_name(node: NodeId, read: ReadResult) -> str:
    """The name of many files: another window of the node has another, so that one takes no other's place."""
    days = (seconds_text(at)[:10] for at in (read.metadata.start, read.metadata.end))
    return "-".join((*node.asset_key, *days))
