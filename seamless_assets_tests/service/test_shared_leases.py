"""Leases of the service: for workers with a token, and nowhere where another store keeps them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.served import served

from seamless_assets.adapters.http.leases import HttpLeases
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.errors import LeaseStoreUnavailable
from seamless_assets.pipeline.connect import connect
from seamless_assets.service.app import service_app

MAPPING: dict[str, Any] = {
    "seamless": {"artifact": {"object_store_uri": "store"}, "hot_store": {"dsn": "sqlite:///./hot.sqlite"}},
    "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
}


async def test_a_worker_shows_its_token(make_app: Callable[..., FastAPI]) -> None:
    with served(make_app(tokens=True)) as url:
        for token in (None, "wrong", "r-token"):
            refused = HttpLeases(url, token)
            with pytest.raises(LeaseStoreUnavailable, match="token"):
                await refused.claim("k", "w", 60)
            with pytest.raises(LeaseStoreUnavailable, match="token"):
                await refused.status()
            await refused.close()
        for worker in (HttpLeases(url, "l-token"), HttpLeases(url.replace("//", "//w:l-token@"))):
            lease = await worker.claim("k", "w", 60)
            assert lease is not None and [held.key for held in await worker.held()] == ["k"]
            await worker.complete(lease)
            await worker.close()


async def test_a_look_at_leases_is_a_lease_that_counts_as_no_work(
    make_app: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(make_app()) as url:
        worker = HttpLeases(url)
        lease = await worker.claim("k", "w", 60)
        assert lease is not None
        await worker.fail(lease, "no")
        async with httpx.AsyncClient(base_url=url) as ask:
            before = (await ask.get("/v1/leases")).json()
            assert (await worker.status()).kind == "lease coordinator"
            after = (await ask.get("/v1/leases")).json()
        assert before == after and (after["completed"], after["failed"]) == (0, 1)

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr("seamless_assets.adapters.machine.leases._put", full)
        with pytest.raises(LeaseStoreUnavailable, match="disk is full"):
            await worker.status()
        await worker.close()


def test_the_settings_hold_the_token_of_a_worker(tmp_path: Path) -> None:
    environment = {"coordinator_url": "http://127.0.0.1:1", "service_token": "l-token"}
    settings = settings_from_mapping({**MAPPING, "environment": environment}, tmp_path, {})
    with connect(settings) as pipeline:
        assert "l-token" not in repr(pipeline.settings)
        shared = pipeline.aio.ports.leases._shared  # type: ignore[attr-defined]
        assert shared._authorization == "Bearer l-token"


async def test_no_lease_is_granted_beside_those_of_redis(tmp_path: Path) -> None:
    redis = {"coordinator_url": "redis://user:secret@127.0.0.1:6379/0"}
    settings = settings_from_mapping({**MAPPING, "environment": redis}, tmp_path, {})

    async def scrape() -> str:
        return ""

    with connect(settings) as other:
        leases = MachineLeases(tmp_path / "leases.sqlite")
        with served(service_app(other, MachineLeases(tmp_path / "others.sqlite"), scrape)) as url:
            worker = HttpLeases(url)
            with pytest.raises(LeaseStoreUnavailable, match="leases are kept at"):
                await worker.status()
            await worker.close()
        transport = httpx.ASGITransport(service_app(other, leases, scrape))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            answer = await ask.post("/v1/leases/claim", json={"key": "k", "lease_ms": 1000})
            assert answer.status_code == 404 and answer.json()["error"] == "NotServed"
            assert "redis://" in answer.text and "secret" not in answer.text
            assert (await ask.get("/v1/leases")).json()["leases"] == []
            assert (await ask.get("/healthz")).status_code == 200
        await leases.close()
