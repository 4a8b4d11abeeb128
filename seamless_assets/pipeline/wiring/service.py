"""A service that stands in for the pipeline's own adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.errors import NotServed
from seamless_assets.flows.diagnose import Question

if TYPE_CHECKING:
    from seamless_assets.adapters.http.service import HttpService

__all__ = ["RemoteAdapters"]


class RemoteAdapters:
    """What a remote pipeline has in the place of stores and exchanges: the client of a service."""

    def __init__(self, url: str, token: str | None) -> None:
        with late_imports("aiohttp"):
            from seamless_assets.adapters.http.service import HttpService

        self.shared: list[tuple[str, Question]] = []
        self.client: HttpService = HttpService(url, token)

    @property
    def ports(self) -> Never:
        """Nothing of the kind is here. Raises `NotServed`."""
        raise NotServed("stores and exchanges are the service's; open a pipeline by its seamless.yaml")

    def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
