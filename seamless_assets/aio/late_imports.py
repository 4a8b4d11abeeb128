"""Imports that wait for their first use, safe from several threads.

Where two threads enter a package at different modules, each can hold the one that the other waits for, and
Python ends the tie with an error in one of them. Here one thread imports at a time, and whole packages
before the modules inside them, so that other threads of a process that import a package wait for it too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from seamless_assets.errors import MissingPackage

_one_at_a_time = threading.RLock()


@contextmanager
def late_imports(*packages: str) -> Iterator[None]:
    """A block for import statements; `packages` are imported whole before it is entered.

    Raises `MissingPackage` for one that is not installed.
    """
    with _one_at_a_time:
        for package in packages:
            try:
                import_module(package)
            except ModuleNotFoundError as error:
                if error.name != package.partition(".")[0]:
                    raise
                raise MissingPackage(
                    f"{error.name} is not installed, and this needs it; pip install {error.name}",
                    package=error.name,
                ) from error
        yield
