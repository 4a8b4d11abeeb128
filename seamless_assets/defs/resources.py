"""The pipeline as a Dagster resource: opened once per process, closed with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource, InitResourceContext
from dagster_aws.s3 import S3Resource
from pydantic import PrivateAttr

from seamless_assets.adapters.artifacts.s3_access import S3Access
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.pipeline.connect import Seamless, connect


class SeamlessResource(ConfigurableResource[Seamless]):
    """`config` is the path of a `seamless.yaml`; empty means the usual place.

    `s3` is dagster-aws's resource; where it is given, its region, endpoint and credentials reach the bucket
    of the artifacts too, whatever the file says of them.
    """

    config: str = ""
    s3: S3Resource | None = None
    _pipeline: Seamless | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["SeamlessResource"]:  # type: ignore[override]
        with connect(self.settings(), s3=_access(self.s3)) as pipeline:
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


def _access(s3: S3Resource | None) -> S3Access | None:
    if s3 is None:
        return None
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
