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
MAX_DEPTH = 6
"""How many folders up the sidecar of many files may stand: LEAN's day of minutes has five above it."""


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
                f"{there[0]} is there already; name another file, or say overwrite (`--overwrite`)",
                path=there[0],
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
    """Prove exported files by their sidecar, which is named or is that of the named file.

    Raises `ExportCorrupt`, and `InvalidInput` where there is no sidecar.
    """
    try:
        where = path if path.name.endswith(ENDING) else _sidecar_of(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be looked for: {error.strerror}", path=str(path)) from error
    sidecar = read_sidecar(_read(where, None), str(where))
    prove(
        sidecar,
        {file.path: _read(where.parent / file.path, file.bytes) for file in sidecar.files},
        str(where),
    )
    return sidecar


def _sidecar_of(path: Path) -> Path:
    """The sidecar that names a file: beside it, or above it where it is one of many.

    Raises `InvalidInput` where there is none or more than one, `ExportCorrupt` where the one beside the file
    is that of others.
    """
    file = Path(os.path.abspath(path))
    beside = path.parent / f"{file.name}{ENDING}"
    if beside.is_file():
        if _is_named(file, beside):
            return beside
        raise ExportCorrupt(f"{beside} is the sidecar of other files than {path.name}", path=str(beside))
    folders = file.parents[:MAX_DEPTH]
    above = [known for folder in folders for known in sorted(folder.glob(f"*{ENDING}"))]
    found = [known for known in above if _names(known, file)]
    if len(found) == 1:
        return found[0]
    many = f"; {len(found)} name it: {', '.join(map(str, found))}" if found else ""
    raise InvalidInput(
        f"{path} has no sidecar {beside.name}; name an exported file or its sidecar{many}", path=str(path)
    )


def _names(sidecar: Path, file: Path) -> bool:
    """Whether a sidecar, which may be a damaged one of others, names the file."""
    try:
        return _is_named(file, sidecar)
    except ExportCorrupt:
        return False


def _is_named(file: Path, sidecar: Path) -> bool:
    said = read_sidecar(_read(sidecar, None), str(sidecar))
    folder = Path(os.path.abspath(sidecar)).parent
    return any(folder / named.path == file for named in said.files)


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
