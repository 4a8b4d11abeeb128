"""Files as people have them, by their endings: the rows of candles or trades that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.imports.archives import gzip_content, zip_members
from seamless_assets.core.imports.columns import Layout, chosen
from seamless_assets.core.imports.tables import read_csv, read_feather, read_json, read_parquet
from seamless_assets.errors import ImportRefused

ENDINGS = (".csv", ".txt", ".parquet", ".feather", ".arrow", ".json", ".zip", ".gz")
CHECKSUM = ".CHECKSUM"
"""What a file's name ends with that holds the SHA-256 of the file beside it, as `sha256sum` writes it."""
_CHECKSUM_LINE = re.compile(r"\\?([0-9A-Fa-f]{64}) [ *](.+)")


def tables_of(
    name: str, payload: bytes, layout: Layout, rename: Mapping[Any, str]
) -> Iterator[tuple[str, pa.Table]]:
    """The tables of a file, one for each file in it, with our names of columns, and where each was found.

    Raises `ImportRefused` for what cannot be read, and `InvalidInput` where `rename` does not fit.
    """
    ending = _ending(name)
    if ending == ".zip":
        inside = list(zip_members(payload, name))
        if not inside:
            raise ImportRefused(f"{name} is an empty archive", path=name)
        for member, held in inside:
            if _ending(member) in (".zip", ".gz"):
                raise ImportRefused(f"{name}: {member} is an archive in an archive", path=name)
            yield from tables_of(f"{name}/{member}", held, layout, rename)
    elif ending == ".gz":
        inner = name[: -len(".gz")]
        if _ending(inner) in (".zip", ".gz"):
            raise ImportRefused(f"{name} is an archive in an archive", path=name)
        yield from tables_of(inner, gzip_content(payload, name), layout, rename)
    else:
        yield name, _table(name, ending, payload, layout, rename)


def verify_checksum(name: str, payload: bytes, checksum: bytes) -> None:
    """Prove a file by what the file of checksums beside it says. Raises `ImportRefused`."""
    lines = checksum.decode(errors="replace").splitlines()
    found = [match for line in lines if (match := _CHECKSUM_LINE.fullmatch(line.strip()))]
    said = [match[1].lower() for match in found if PurePosixPath(match[2]).name == name]
    if not said:
        raise ImportRefused(f"{name}{CHECKSUM} says nothing of {name}", path=name)
    held = sha256_text(payload).removeprefix("sha256:")
    if any(digest != held for digest in said):
        raise ImportRefused(
            f"{name} is not what its checksum promises: {held}, not {said[0]}; get it again", path=name
        )


def _table(name: str, ending: str, payload: bytes, layout: Layout, rename: Mapping[Any, str]) -> pa.Table:
    ours: dict[str, str] = {}

    def choose(names: Sequence[str]) -> Sequence[str]:
        ours.update(chosen(layout, names, rename, name))
        return list(ours.values())

    if ending in (".csv", ".txt"):
        # Who renames the columns of lines without a header does so by their places.
        table = read_csv(payload, name, (lambda _: ()) if rename else layout.by_position, choose)
    elif ending == ".parquet":
        table = read_parquet(payload, name, choose)
    elif ending in (".feather", ".arrow"):
        table = read_feather(payload, name, choose)
    elif ending == ".json":
        table = read_json(payload, name, () if rename else layout.places, choose)
    else:
        raise ImportRefused(
            f"{name} has an ending that says nothing; there are {', '.join(ENDINGS)}", path=name
        )
    return pa.table({new: table.column(old) for new, old in ours.items()})


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
