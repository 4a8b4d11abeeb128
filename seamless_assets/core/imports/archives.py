"""Files within files: members of zips, and what gzip holds, never more than is asked for."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from seamless_assets.errors import ImportRefused

MAX_BYTES = 2 * 2**30
"""Of one file, unpacked."""
MAX_MEMBERS = 1_000
MAX_RATIO = 200
"""Texts of numbers are packed to a fifth or a tenth; what is packed a thousandfold is no market data."""
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of members packed otherwise `zipfile` unpacks a whole block before it can be told to stop."""
_SMALL = 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)


def zip_members(payload: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    """The files of a zip by their names, in its order; nothing is written anywhere.

    Raises `ImportRefused` for what is no whole zip, for names that lead out of it, links, passwords, other
    packing than deflate, and for more than any file of bars would be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _refuse_hostile(members, where)
            left = MAX_BYTES
            for member in members:
                with archive.open(member) as packed:
                    held = packed.read(min(left, _allowed(member.compress_size)) + 1)
                if len(held) > min(left, _allowed(member.compress_size)):
                    raise _too_large(f"{where}: {member.filename}")
                left -= len(held)
                yield member.filename, held
    except ImportRefused:
        raise
    except _UNREADABLE as error:
        raise ImportRefused(f"{where} is no whole zip: {error}", path=where) from error


def gzip_content(payload: bytes, where: str) -> bytes:
    """What a gzip file holds, in one member or in several. Raises `ImportRefused`."""
    allowed = _allowed(len(payload))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(payload)) as packed:
            held = packed.read(allowed + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ImportRefused(f"{where} is no whole gzip file: {error}", path=where) from error
    if not payload:
        raise ImportRefused(f"{where} is no whole gzip file: it is empty", path=where)
    if len(held) > allowed:
        raise _too_large(where)
    return held


def _refuse_hostile(members: list[zipfile.ZipInfo], where: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise ImportRefused(f"{where} holds {len(members)} files; {MAX_MEMBERS} are the most", path=where)
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise ImportRefused(f"{where} holds two files of one name", path=where)
    for member in members:
        name = member.filename
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.parts:
            raise ImportRefused(f"{where}: {name!r} names no file", path=where)
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ImportRefused(f"{where}: {name!r} would lie outside of the archive", path=where)
        if member.compress_type not in _BOUNDED:
            raise ImportRefused(
                f"{where}: {name!r} is packed otherwise than by deflate; unpack it first",
                path=where,
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ImportRefused(f"{where}: {name!r} is a link", path=where)
        if member.flag_bits & 1:
            raise ImportRefused(f"{where}: {name!r} wants a password; unpack it first", path=where)
        if member.file_size > _allowed(member.compress_size):
            raise _too_large(f"{where}: {name!r}")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise _too_large(where)


def _allowed(packed: int) -> int:
    return min(MAX_BYTES, max(_SMALL, packed * MAX_RATIO))


def _too_large(where: str) -> ImportRefused:
    return ImportRefused(
        f"{where} would unpack to more than a file of market data does; import files of shorter times",
        path=where,
    )
