"""Imports that wait for their first use, safe from several threads.

Where two threads enter a package at different modules, each can hold the one that the other waits for, and
Python ends the tie with an error in one of them. Here one thread imports at a time, and whole packages
before the modules inside them, so that other threads of a process that import a package wait for it too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from seamless_assets.aio.collector import collector_paused, take_all_for_old
from seamless_assets.errors import MissingPackage

EXTRAS = {"opentelemetry": "otel", "polars": "polars", "pyiceberg": "iceberg"}
"""What this package needs for some of its uses alone, and the extra of its own that brings it."""

_one_at_a_time = threading.RLock()


@contextmanager
def late_imports(*packages: str) -> Iterator[None]:
    """A block for import statements; `packages` are imported whole before it is entered.

    Raises `MissingPackage` for one that is not installed.
    """
    # What imports make is kept, and there is ever more of it.
    with _one_at_a_time, collector_paused():
        before = len(sys.modules)
        for package in packages:
            try:
                import_module(package)
            except ModuleNotFoundError as error:
                if error.name != package.partition(".")[0]:
                    raise
                wanted = f"'seamless-assets[{EXTRAS[package]}]'" if package in EXTRAS else error.name
                raise MissingPackage(
                    f"{error.name} is not installed, and this needs it; pip install {wanted}",
                    package=error.name,
                ) from error
        yield
        if len(sys.modules) > before:
            # Two looks at it, with nothing to find, take as long as a tenth of the imports.
            take_all_for_old()


class LateModule:
    """A package in the place of its name, imported when something of it is first asked for.

    For what takes longer to import than most calls take that never need it.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Any:
        with late_imports(self._package):
            module = import_module(self._package)
        # From now on it is asked for nothing: names are found where they are looked for first.
        self.__dict__.update(module.__dict__)
        return getattr(module, name)
