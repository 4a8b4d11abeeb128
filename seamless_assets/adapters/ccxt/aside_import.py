"""A package that is imported while other work waits for something else."""

from __future__ import annotations

import asyncio
from importlib import import_module
from threading import Thread


class AsideImport:
    """A package that a thread of its own imports; whoever needs it waits without holding the event loop."""

    def __init__(self, package: str) -> None:
        self._thread = Thread(target=import_module, args=(package,), name=f"import {package}", daemon=True)
        self._thread.start()
        self._ending: asyncio.Task[None] | None = None

    async def ended(self) -> None:
        """Return once the import has ended. Where it failed, that is raised where the package is used."""
        if not self._thread.is_alive():
            return
        if self._ending is None:
            # One thread for all who wait.
            self._ending = asyncio.create_task(asyncio.to_thread(self._thread.join))
        await asyncio.shield(self._ending)
