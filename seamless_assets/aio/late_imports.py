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

_one_at_a_time = threading.RLock()


@contextmanager
def late_imports(*packages: str) -> Iterator[None]:
    """A block for import statements; `packages` are imported whole before it is entered."""
    with _one_at_a_time:
        for package in packages:
            import_module(package)
        yield
