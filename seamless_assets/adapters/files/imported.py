"""Files that a user has: named one by one or by patterns, read whole, proven by checksums beside them."""

from __future__ import annotations

import glob
import stat
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path

from seamless_assets.core.exports.sidecar import ENDING as SIDECAR
from seamless_assets.core.imports.files import CHECKSUM, verify_checksum
from seamless_assets.errors import ImportRefused, InvalidFrame, InvalidInput

MAX_FILE_BYTES = 4 * 2**30


def find_files(named: Sequence[str | PathLike[str]]) -> list[Path]:
    """The files of names and patterns such as `data/*.zip`, each once, those of a pattern in its order.

    Checksums and sidecars are no files of their own. Raises `InvalidInput` where a name or pattern has none,
    and as `InvalidFrame` where nothing is named.
    """
    if not named:
        raise InvalidFrame("no file is named, and no frame given; name files, or a pattern", value=named)
    found: dict[Path, None] = {}
    for name in named:
        text = fspath(name)
        is_pattern = glob.has_magic(text) and not _is_there(text)
        paths = sorted(map(Path, glob.glob(text, recursive=True))) if is_pattern else [Path(text)]
        paths = [path for path in paths if not is_pattern or (path.is_file() and not _is_beside(path))]
        if not paths:
            raise InvalidInput(f"{text} matches no file", path=text)
        found.update(dict.fromkeys(paths))
    return list(found)


def read_files(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    """Each file's bytes.

    Raises `InvalidInput` for what cannot be read, `ImportRefused` for what is not as its checksum says.
    """
    for path in paths:
        payload = _read(path)
        beside = path.with_name(path.name + CHECKSUM)
        if beside.exists():
            verify_checksum(path.name, payload, _read(beside))
        yield path, payload


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_beside(path: Path) -> bool:
    return path.name.endswith((CHECKSUM, SIDECAR))


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(
                f"{path} is no file; name files, or a pattern such as {path}/*", path=str(path)
            )
        if found.st_size > MAX_FILE_BYTES:
            raise ImportRefused(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB", path=str(path))
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ImportRefused | InvalidInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path} cannot be read: {reason}", path=str(path)) from error
