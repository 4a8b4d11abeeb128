"""The pipeline as a Dagster resource: opened once per run process, closed with it."""

# Dagster reads the annotations of resources at run time, so they are not postponed here.

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dagster import ConfigurableResource, EnvVar, InitResourceContext, ResourceDependency
from pydantic import PrivateAttr, field_validator

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.condition import Condition
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.connect import S3Access, Seamless, connect
from seamless_assets.pipeline.seamless import WorldSession


class SeamlessResource(ConfigurableResource[Seamless]):
    """Opens the pipeline of settings for a run.

    `config` is the absolute path of a `seamless.yaml`; a relative one starts at the folder in which the
    resource is made, not at the one in which a run starts. `given` are settings that were read already:
    they are opened as they are, and never enter a run's config, so their secrets stay here. Run config that
    names another file goes before them. With neither, a run reads the file of `load_settings()`.

    `s3` is dagster-aws's `S3Resource`; where it is given, its region, endpoint and credentials reach the
    bucket of the artifacts too, whatever the settings say of them.
    """

    config: str = ""
    given: ResourceDependency[Settings | None] = None  # type: ignore[assignment]
    s3: ResourceDependency[Any] = None  # type: ignore[assignment]
    _pipeline: Seamless | None = PrivateAttr(default=None)

    @field_validator("config")
    @classmethod
    def _absolute(cls, config: str) -> str:
        return config if not config or isinstance(config, EnvVar) else os.path.abspath(config)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["SeamlessResource"]:  # type: ignore[override]
        with connect(self.settings, s3=s3_access(self.s3)) as pipeline:
            self._pipeline = pipeline
            try:
                yield self
            finally:
                self._pipeline = None

    @property
    def settings(self) -> Settings:
        """The settings it opens. Raises `ConfigError`."""
        given = self.given
        if isinstance(given, Settings) and self.config in ("", str(given.file)):
            return given
        return load_settings(self.config or None)

    @property
    def pipeline(self) -> Seamless:
        """The open pipeline, while a run lasts. Raises `InvalidInput` at other times."""
        if self._pipeline is None:
            raise InvalidInput("the pipeline is open only while a run lasts; use it inside an asset or op")
        return self._pipeline

    @property
    def read(self) -> Callable[..., ReadResult]:
        """`Seamless.read`, for a step that wants other windows than its inputs have."""
        return self.pipeline.read

    @property
    def session(self) -> Callable[..., WorldSession]:
        """`Seamless.session`: reads that share what their world has seen."""
        return self.pipeline.session

    @property
    def condition(self) -> Callable[..., list[Condition]]:
        """`Seamless.condition`: what a reader may expect of each partition."""
        return self.pipeline.condition


def s3_access(s3: Any) -> S3Access | None:
    """The access of an `S3Resource`. Raises `InvalidInput` for anything else."""
    if s3 is None:
        return None
    # dagster-aws takes longer to import than all else together; only those who give one have it.
    with late_imports("dagster_aws"):
        from dagster_aws.s3 import S3Resource

    if not isinstance(s3, S3Resource):
        raise InvalidInput(f"s3 is {s3!r}; give dagster-aws's S3Resource", value=s3)
    return S3Access(
        region=s3.region_name,
        endpoint_url=s3.endpoint_url,
        access_key_id=s3.aws_access_key_id,
        secret_access_key=s3.aws_secret_access_key,
        session_token=s3.aws_session_token,
        profile=s3.profile_name,
        is_unsigned=s3.use_unsigned_session,
        is_verified=s3.verify is not False,
    )
