"""How an S3 bucket is reached: what boto3 would use, said once, in the words of the object store's client."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.errors import ArtifactStoreError

LONGEST_REQUEST_S = 300.0
"""Even where a byte comes now and then."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """Where the bucket is and who asks. What is not set comes from boto3's usual places.

    Those are the `AWS_*` environment, `~/.aws`, single sign-on, and the role of a container or machine.
    """

    region: str | None = None
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    is_unsigned: bool = False
    is_verified: bool = True
    timeout_s: float = 10.0
    """How long the bucket may be silent in the middle of an answer; writes have three times as long."""


def client_options(access: S3Access) -> dict[str, Any]:
    """What the object store's client takes. Raises `ArtifactStoreError` where nobody has credentials."""
    given = {"region": access.region, "endpoint": access.endpoint_url}
    # A plain http address is somebody's own choice: nothing leads there by default.
    client = {
        "allow_http": True,
        "allow_invalid_certificates": not access.is_verified,
        "connect_timeout": timedelta(seconds=access.timeout_s),
        "read_timeout": timedelta(seconds=access.timeout_s),
        "timeout": timedelta(seconds=LONGEST_REQUEST_S),
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value}
    options["client_options"] = client
    if access.is_unsigned:
        return {**options, "skip_signature": True}
    if access.access_key_id and access.secret_access_key:
        keys = {"access_key_id": access.access_key_id, "secret_access_key": access.secret_access_key}
        token = {"session_token": access.session_token} if access.session_token else {}
        return {**options, **keys, **token}
    return {**_from_boto(access.profile), **options}


def _from_boto(profile: str | None) -> dict[str, Any]:
    # boto3 takes a third of a second to import; readers of a folder never need it.
    with late_imports("boto3"):
        from boto3.session import Session
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = Session(profile_name=profile)
        if session.get_credentials() is None:
            raise ArtifactStoreError(
                "no AWS credentials are to be found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a "
                "profile, or tell seamless.artifact.s3"
            )
        found = {"region": session.region_name, "endpoint": session.client("s3").meta.endpoint_url}
    except BotoCoreError as error:
        raise ArtifactStoreError(f"AWS settings cannot be read: {error}") from error
    options = {name: value for name, value in found.items() if value}
    return {**options, "credential_provider": Boto3CredentialProvider(session)}
