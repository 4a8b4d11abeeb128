"""The pipeline as a Dagster resource: opened once per process, closed with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from seamless_assets.config import Settings, load_settings
from seamless_assets.seamless import Seamless, connect


class SeamlessResource(ConfigurableResource[Seamless]):
    """`config` is the path of a `seamless.yaml`; empty means the usual place."""

    config: str = ""
    _pipeline: Seamless | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["SeamlessResource"]:  # type: ignore[override]
        with connect(self.settings()) as pipeline:
            self._pipeline = pipeline
            try:
                yield self
            finally:
                self._pipeline = None

    def settings(self) -> Settings:
        """The settings it opens."""
        return load_settings(self.config or None)

    @property
    def pipeline(self) -> Seamless:
        """The open pipeline, while a run lasts."""
        if self._pipeline is None:
            raise RuntimeError("the pipeline is open only while a run lasts; use it inside an asset or op")
        return self._pipeline
