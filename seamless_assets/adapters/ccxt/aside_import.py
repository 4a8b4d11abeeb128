"""A package that is imported while other work waits for something else."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from importlib import import_module
from threading import Thread


class AsideImport:
    """A package that a thread of its own imports; whoever needs it waits without holding the event loop."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._ended = Future[None]()
        # Nobody who gives up waiting ends it.
        self._ended.set_running_or_notify_cancel()
        Thread(target=self._import, name=f"import {package}", daemon=True).start()

    async def ended(self) -> None:
        """Return once the import has ended. Where it failed, that is raised where the package is used."""
        if not self._ended.done():
            await asyncio.wrap_future(self._ended)

    def _import(self) -> None:
        try:
            import_module(self._package)
        finally:
            self._ended.set_result(None)
