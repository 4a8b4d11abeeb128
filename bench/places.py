"""Where things lie, and the modules beside the package that a bench stands on."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.ending import ENDING

ROOT = Path(__file__).resolve().parent.parent
OURS = Path(sys.executable)
"""The interpreter that runs the project."""


def takes_file(path: Path) -> bool:
    """Whether there may be such a file once there is something to write into it: it is tried."""
    try:
        if path.is_file():
            path.open("ab").close()
        elif path.exists():
            return not path.is_dir() and os.access(path, os.W_OK)
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError:
        return False
    return True


def takes_folder(path: Path) -> bool:
    """Whether there may be such a folder, with files in it: it is tried in the nearest that is there."""
    try:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError:
        return False
    return True


@contextmanager
def passing_folder(*, prefix: str | None = None, within: Path | None = None) -> Iterator[Path]:
    """A new folder, which is gone afterwards, be it that a signal came while it was made or removed."""
    with ExitStack() as made:
        with ENDING.put_off():
            folder = tempfile.TemporaryDirectory(prefix=prefix, dir=within)
            made.callback(_remove, folder)
        yield Path(folder.name)


def _remove(folder: tempfile.TemporaryDirectory[str]) -> None:
    with ENDING.put_off():
        folder.cleanup()


def reach_support() -> None:
    """Make the servers and makers of the tests, and the set-up script, importable."""
    for folder in (ROOT / "seamless_assets_tests", ROOT / "ops"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def child_environment() -> dict[str, str]:
    """The environment of a process that finds the bench and the project, its bytecode kept.

    ccxt would be compiled anew in each process, which takes seconds.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT)}
