"""Exported files with their sidecar, in a folder of the user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from uuid import uuid4

from seamless_assets.core.exports.sidecar import ENDING, Sidecar, prove, read_sidecar
from seamless_assets.errors import ExportCorrupt, InvalidInput

MAX_SIDECAR_BYTES = 200_000_000


def write_export(
    sidecar_path: Path,
    sidecar: Sidecar,
    files: Mapping[str, bytes],
    *,
    overwrite: bool,
    overlap: Callable[[str, str], bool] | None = None,
) -> None:
    """Write the files, and the sidecar after them: without one they are not whole.

    Raises `InvalidInput` where one is there already and is not to be overwritten, where another one is there
    that does `overlap` one of them, or where the folder cannot be written to.
    """
    folder = sidecar_path.parent
    targets = {folder / path: held for path, held in files.items()}
    try:
        there = [str(path) for path in (*targets, sidecar_path) if path.exists()]
        if there and not overwrite:
            raise InvalidInput(
                f"{there[0]} is there already; name another file, or say overwrite", path=there[0]
            )
        if overlap is not None:
            _refuse_overlaps(targets, overlap)
        sidecar_path.unlink(missing_ok=True)
        for path, held in targets.items():
            _write(path, held)
        _write(sidecar_path, sidecar.to_bytes())
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or folder} cannot be written: {error.strerror}", path=folder
        ) from error


def _refuse_overlaps(targets: Iterable[Path], overlap: Callable[[str, str], bool]) -> None:
    for path in targets:
        for other in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
            if other.name != path.name and overlap(path.name, other.name):
                raise InvalidInput(
                    f"{other} is about some of the time of {path.name}, whose bars would be read twice; take "
                    "it away, or export another time",
                    path=str(other),
                )


def verify_files(path: Path) -> Sidecar:
    """Prove exported files by their sidecar, which is named or stands beside the named file.

    Raises `ExportCorrupt`, and `InvalidInput` where there is no sidecar.
    """
    where = path if path.name.endswith(ENDING) else path.with_name(path.name + ENDING)
    if not where.is_file():
        raise InvalidInput(
            f"{path} has no sidecar {where.name}; name an exported file or its sidecar", path=str(path)
        )
    sidecar = read_sidecar(_read(where, None), str(where))
    files = {file.path: _read(where.parent / file.path, file.bytes) for file in sidecar.files}
    prove(sidecar, files, str(where))
    return sidecar


def _read(path: Path, size: int | None) -> bytes:
    """The bytes of a regular file of that size."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ExportCorrupt(f"{path} is no file", path=str(path))
        if found.st_size > MAX_SIDECAR_BYTES if size is None else found.st_size != size:
            raise ExportCorrupt(
                f"{path} is not the file that was exported: it has {found.st_size} bytes", path=str(path)
            )
        return path.read_bytes()
    except OSError as error:
        raise ExportCorrupt(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def _write(path: Path, payload: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
