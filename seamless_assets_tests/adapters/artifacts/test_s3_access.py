"""A bucket is reached as the settings say, as boto3 would, or as dagster-aws's resource says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from dagster import materialize
from dagster_aws.s3 import S3Resource
from support.object_stores import BUCKET, KEY, REGION, SECRET, Place, S3Server, access

import seamless_assets as sa
from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.node import NodeId
from seamless_assets.defs.build import build_definitions
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError
from seamless_assets.sandbox.server import Sandbox

NODE = "ohlcv:binance:BTC/USDT:1m"


def settings(exchange: Sandbox, folder: Path, root: str, copies_mb: int = 100, **s3: Any) -> Settings:
    return settings_from_mapping(
        {
            "seamless": {
                "artifact": {"object_store_uri": root, "s3": s3},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
            },
            "cache": {"max_segment_mb": copies_mb},
            "exchanges": {"binance": {"base_url": exchange.url, "symbols": ["BTC/USDT"]}},
        },
        base=folder,
        environ={},
    )


OPTIONS = {"region": REGION, "access_key_id": KEY, "secret_access_key": SECRET}


def test_the_settings_say_how(moto: S3Server, exchange: Sandbox, tmp_path: Path) -> None:
    place = Place.in_bucket(moto)
    read_settings = settings(exchange, tmp_path, place.root, endpoint_url=moto.endpoint, **OPTIONS)
    assert SECRET not in repr(read_settings)
    with sa.connect(read_settings) as s:
        report = s.materialize(NODE, "2025-01-01", "2025-01-02")
        assert report.released and s.snapshot_files(NODE)[0].startswith(f"s3://{BUCKET}/")
        frame = s.read(NODE, "2025-01-01", "2025-01-02", context=sa.ComputeContext(as_of=report.as_of))
        assert frame.metadata.rows > 1000 and s.verify(NODE).is_sound


@pytest.mark.parametrize(("copies_mb", "copies"), [(100, 2), (0, 0)])
def test_what_was_published_has_local_copies_unless_none_are_wanted(
    moto: S3Server, exchange: Sandbox, tmp_path: Path, copies_mb: int, copies: int
) -> None:
    root = Place.in_bucket(moto).root
    declared = settings(exchange, tmp_path, root, copies_mb, endpoint_url=moto.endpoint, **OPTIONS)
    with sa.connect(declared) as s:
        report = s.materialize(NODE, "2025-01-01", "2025-01-02")
    assert len(list((tmp_path / "state" / "segments").glob("*"))) == copies
    with sa.connect(declared) as s:
        context = sa.ComputeContext(as_of=report.as_of)
        assert s.read(NODE, "2025-01-01", "2025-01-02", context=context).metadata.rows > 1000


def test_the_usual_environment_says_how(
    moto: S3Server, exchange: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": moto.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    with sa.connect(settings(exchange, tmp_path, Place.in_bucket(moto).root)) as s:
        assert s.materialize(NODE, "2025-01-01", "2025-01-02").released


def test_without_credentials_the_error_says_what_to_set(
    exchange: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ArtifactStoreError, match="AWS_ACCESS_KEY_ID"):
        client_options(S3Access())
    with (
        sa.connect(settings(exchange, tmp_path, f"s3://{BUCKET}")) as s,
        pytest.raises(ArtifactStoreError, match="no AWS credentials"),
    ):
        s.releases(NODE)
    assert client_options(S3Access(is_unsigned=True))["skip_signature"]
    assert SECRET not in repr(access("http://127.0.0.1"))


def test_a_dagster_user_configures_one_resource(moto: S3Server, exchange: Sandbox, tmp_path: Path) -> None:
    place = Place.in_bucket(moto)
    resource = S3Resource(
        endpoint_url=moto.endpoint,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    file = tmp_path / "seamless.yaml"
    file.write_text(
        f"seamless:\n  artifact: {{object_store_uri: '{place.root}'}}\n"
        "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
        f"exchanges:\n  binance: {{base_url: '{exchange.url}', symbols: [BTC/USDT], start: 2025-01-01}}\n"
    )
    read_settings = sa.load_settings(file)
    built = build_definitions(read_settings, str(file), s3=resource)
    resources = dict(built.resources or {})
    done = materialize(list(built.assets or []), resources=resources, partition_key="2025-01-01")  # type: ignore[arg-type]
    assert done.success
    with sa.connect(read_settings, s3=access(moto.endpoint)) as s:
        assert [entry.seq for entry in s.releases(NODE)] == [1]


@pytest.mark.parametrize("kind", ["moto", "versitygw"])
def test_a_bucket_that_goes_away_is_reported_and_nothing_is_served_as_the_newest(
    kind: str, request: pytest.FixtureRequest, exchange: Sandbox, tmp_path: Path
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    client, bucket = server.client(), f"gone-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    with sa.connect(settings(exchange, tmp_path, f"s3://{bucket}/here"), s3=access(server.endpoint)) as s:
        assert s.materialize(NODE, "2025-01-01", "2025-01-02").released
        for listed in client.list_objects_v2(Bucket=bucket)["Contents"]:
            client.delete_object(Bucket=bucket, Key=listed["Key"])
        client.delete_bucket(Bucket=bucket)
        for call in (
            lambda: s.releases(NODE),
            lambda: s.read(NODE, "2025-01-01", "2025-01-02", context=sa.ComputeContext(as_of="2030-01-01")),
            lambda: s.materialize(NODE, "2025-01-02", "2025-01-03"),
        ):
            with pytest.raises(ArtifactStoreError, match="check the bucket's name"):
                call()
        found = {finding.part: finding for finding in s.diagnose()}["artifact store"]
        assert not found.is_well and "check the bucket's name" in found.advice


@pytest.mark.parametrize("who", [{"access_key_id": "nobody"}, {"secret_access_key": "another"}])
async def test_credentials_that_the_bucket_does_not_know_are_reported(
    versitygw: S3Server, who: dict[str, str]
) -> None:
    place = Place.in_bucket(versitygw)
    known = access(versitygw.endpoint)
    stranger = ArtifactStore(place.root, **client_options(replace(known, **who)))
    path = "exchange=binance/file"
    assert await place.open()._files.create(path, b"something")
    for call in (
        lambda: stranger.status(),
        lambda: stranger.list_releases(NodeId.parse(NODE)),
        lambda: stranger._files.create("another", b"something"),
        lambda: stranger._files.exists("another", path),
        lambda: stranger._files.remove([path]),
    ):
        with pytest.raises(ArtifactStoreError, match="endpoint and credentials") as refused:
            await call()
        assert not isinstance(refused.value, ArtifactMissing)
        assert "Debug source" not in str(refused.value)
