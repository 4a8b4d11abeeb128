"""A QuestDB server that asks who is there, behind TLS: who gets in, and who learns what to mend."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from adapters.conftest import table
from adapters.test_hot_store_faults import NODE, batch, opened
from conftest import require_questdb
from support.services import QuestDbServer
from support.tls import Authority, tls_proxy

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.core.bars.table import Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.errors import HotStoreError
from seamless_assets.testing import DAY, START

SECRETS = {
    "QDB_HTTP_USER": "seamless",
    "QDB_HTTP_PASSWORD": "http secret;=%'",
    "QDB_PG_USER": "reader",
    "QDB_PG_PASSWORD": "pg secret 'quoted'",
}
DAY_ONE, MONTH = Segment(START, START + DAY), Segment(START, START + 30 * DAY)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuestDbServer]:
    """A QuestDB that wants a user and a password on both doors."""
    server = QuestDbServer(require_questdb(), tmp_path_factory.mktemp("guarded") / "questdb", SECRETS)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def address(guarded: QuestDbServer, authority: Authority) -> AsyncIterator[QuestDbAddress]:
    """Where the guarded server is reached through TLS, with all that it asks for."""
    async with (
        tls_proxy(authority, guarded.http_port, postgres=False) as http_port,
        tls_proxy(authority, guarded.pg_port, postgres=True) as pg_port,
    ):
        yield QuestDbAddress(
            "127.0.0.1",
            http_port,
            pg_port,
            tls=True,
            tls_ca=authority.ca,
            user="seamless",
            password=SECRETS["QDB_HTTP_PASSWORD"],
            pg_user="reader",
            pg_password=SECRETS["QDB_PG_PASSWORD"],
            retry_s=20.0,
        )


async def test_bars_and_facts_go_through_tls_with_credentials(
    address: QuestDbAddress, caplog: pytest.LogCaptureFixture
) -> None:
    fact = Fact(START, START + 60, "missing", "not sent", 1.0)
    with caplog.at_level(logging.DEBUG):
        async with opened(address) as store:
            await store.write_bars(NODE, table(batch(0)), [fact], recorded_at=1.0)
            assert await store.load_bars(NODE, DAY_ONE) == table(batch(0))
            assert await store.load_bars(NODE, MONTH) == table(batch(0))
            assert facts_of(await store.load_facts(NODE, DAY_ONE)) == [fact]
            assert (await store.status()).version.startswith("9.")
            assert await store.write_bars(NODE, table(batch(0)), [], recorded_at=2.0) == Written(0, 0)
    assert not any(secret in caplog.text for key, secret in SECRETS.items() if "PASSWORD" in key)


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "guessed"},
        {"user": None, "password": None},
        {"pg_password": "guessed"},
        {"tls_ca": None},
        {"host": "localhost"},
    ],
    ids=lambda wrong: " ".join(wrong),
)
async def test_who_is_not_let_in_learns_at_once_what_to_mend(
    address: QuestDbAddress, wrong: dict[str, object]
) -> None:
    async with opened(address) as store:
        await store.write_bars(NODE, table(batch(0)), [], recorded_at=1.0)
    patient = replace(address, retry_s=600.0, **wrong)  # type: ignore[arg-type]
    async with opened(patient) as store:
        with pytest.raises(HotStoreError, match=r"check user, password.*tls") as refused:
            await store.load_bars(NODE, DAY_ONE)
    shown = repr(refused.value) + repr(refused.value.__cause__)
    assert not any(secret in shown for key, secret in SECRETS.items() if "PASSWORD" in key)


@pytest.mark.parametrize("door", ["http", "export", "sender", "wire"])
async def test_each_door_verifies_the_server(address: QuestDbAddress, door: str) -> None:
    async with opened(address) as good, opened(replace(address, tls_ca=None, retry_s=600.0)) as strict:
        await good.write_bars(NODE, table(batch(0)), [], recorded_at=1.0)
        client = strict._client
        doors = {
            "http": lambda: client.execute("SELECT 1"),
            "export": lambda: client.export("SELECT 1"),
            "sender": lambda: client.ingest("never", table(batch(0)).to_pandas().astype({"ts": "M8[us]"})),
            "wire": lambda: client.rows("SELECT 1", ()),
        }
        with pytest.raises(HotStoreError, match="check user, password"):
            await doors[door]()


async def test_verification_is_left_out_only_where_that_was_asked_for(address: QuestDbAddress) -> None:
    async with opened(replace(address, tls_ca=None, tls_verify=False)) as store:
        await store.write_bars(NODE, table(batch(0)), [], recorded_at=1.0)
        assert await store.load_bars(NODE, DAY_ONE) == table(batch(0))


def test_how_each_door_verifies_is_decided_by_the_address() -> None:
    plain = QuestDbAddress("h")
    assert plain.pg_tls() == {"sslmode": "disable"} and plain.sender_tls() == {}
    verified = replace(plain, tls=True, tls_ca=Path("/ca.pem"))
    assert verified.pg_tls() == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}
    assert verified.sender_tls() == {"tls_roots": "/ca.pem"}
    assert replace(plain, tls=True).pg_tls()["sslmode"] == "verify-full"
    strict = replace(plain, tls=True).tls_context()
    lax = replace(plain, tls=True, tls_verify=False).tls_context()
    assert strict is not None and strict.verify_mode is ssl.CERT_REQUIRED and strict.check_hostname
    assert lax is not None and lax.verify_mode is ssl.CERT_NONE and plain.tls_context() is None
    assert replace(plain, tls=True, tls_verify=False).pg_tls() == {"sslmode": "require"}


def test_a_file_of_no_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("these are none")
    with pytest.raises(HotStoreError, match=r"ca\.pem holds no certificates"):
        QuestDbAddress("h", tls=True, tls_ca=tmp_path / "ca.pem").tls_context()
