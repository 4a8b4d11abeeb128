"""Signed webhooks of sessions on real pipelines, a real receiver, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.killing import in_a_child
from support.receiver import SECRET, Receiver, serving

import seamless_assets as sa
from seamless_assets.adapters.machine import file as machine_file
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.machine.outbox import MachineOutbox
from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.adapters.sqlite.file import Database, open_database
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.worlds.session import SessionKey, observe
from seamless_assets.core.worlds.webhook import WebhookMessage
from seamless_assets.errors import ConfigError, InvalidInput
from seamless_assets.flows.worlds.webhooks import WebhookDispatcher
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, RecordingObserver

NODE = "ohlcv:binance:BTC/USDT:1h"
WINDOW = (START, START + DAY)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as running:
        yield running


@pytest.fixture
def settings(exchange: Sandbox, receiver: Receiver, tmp_path: Path) -> Settings:
    declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": START}
    return settings_from_mapping(
        {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
                "partitions": {"1h": "day"},
            },
            "exchanges": {"binance": declared},
            "environment": {"world_webhook_url": receiver.url, "world_webhook_secret": SECRET},
        },
        base=tmp_path,
        environ={},
    )


def held(pipeline: sa.Seamless, world: str) -> str:
    """A read that is too old for live."""
    context = sa.ComputeContext(world_id=world, domain="live", max_lag=1)
    return pipeline.read(
        NODE, *WINDOW, context=context, strategy="FAIL_FAST", sla="baseline"
    ).metadata.verdict


def test_a_downgrade_a_return_and_a_pin_reach_the_receiver_signed_and_in_order(
    settings: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with sa.connect(settings) as pipeline:
        first = pipeline.materialize(NODE, *WINDOW).as_of
        assert held(pipeline, "a world/é") == "HOLD"
        world = pipeline.session(world_id="a world/é", max_lag=1e12, sla="baseline")
        assert world.read(NODE, *WINDOW, strategy="FAIL_FAST").metadata.verdict == "PASS"
        world.pin(NODE, first, reason="a doubt")
        world.unpin(NODE)
        assert receiver.took_one.wait(120)
    kinds = [message["type"] for message in receiver.messages]
    assert kinds == [f"session.{kind}" for kind in ("downgraded", "restored", "pinned", "unpinned")]
    fall = receiver.messages[0]["data"]
    newest = sa.connect(settings).releases(NODE)[-1]
    assert (fall["world_id"], fall["before"], fall["after"]) == ("a world/é", "ACTIVE", "HOLD")
    assert (fall["as_of"], fall["dataset_fingerprint"]) == (newest.as_of, newest.dataset_fingerprint)
    assert fall["reasons"][0].startswith("lag_exceeded: ")
    assert [message["data"]["sequence"] for message in receiver.messages] == [1, 2, 3, 4]
    assert not receiver.forged
    ours = [record for record in caplog.records if record.name != "aiohttp.access"]
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in ours)
    assert (
        SECRET not in logged and SECRET.removeprefix("whsec_") not in logged and "secret-path" not in logged
    )


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503, 302])
def test_whatever_is_no_2xx_is_sent_again_under_the_same_id(
    settings: Settings, receiver: Receiver, status: int
) -> None:
    receiver.statuses, receiver.headers = [status], {"Retry-After": "0", "Location": "http://127.0.0.1:1/"}
    with sa.connect(settings) as pipeline:
        held(pipeline, "w1")
        while pipeline.deliver_webhooks():
            receiver.took_one.wait(0.05)
    assert len(receiver.seen) == 2 and len(receiver.messages) == 1
    assert receiver.seen[0] == receiver.seen[1]


def test_what_a_dead_process_left_is_sent_by_the_next_pipeline_whatever_it_does(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    child = in_a_child(hold_and_die, settings, "w1")
    child.join(120)
    assert child.exitcode == -signal.SIGKILL and not receiver.seen
    with sa.connect(settings) as other:
        other.releases(NODE)
        assert receiver.took_one.wait(120)
    assert [message["data"]["after"] for message in receiver.messages] == ["HOLD"]


def hold_and_die(settings: Settings, world: str) -> None:
    """Hold a session, and get killed before anything is sent."""

    def die(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    WebhookDispatcher.wake = die  # type: ignore[method-assign]
    pipeline = sa.connect(settings)
    held(pipeline, world)
    pipeline.close()


VERDICTS = ("HOLD", "PASS", "PARTIAL")


class FileReceiver:
    """Takes messages into a file, each in one write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, message: WebhookMessage, sent_at: int) -> None:
        with self._path.open("a") as file:
            file.write(message.body + "\n")


def work_and_die(folder: Path, before_statement: int) -> None:
    """Go on with the changes and their delivery, and get SIGKILL before that statement."""
    left = before_statement

    def traced(*args: Any) -> Database:
        def count(statement: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        db = open_database(*args)
        db.set_trace_callback(count)
        return db

    machine_file.open_database = traced  # type: ignore[assignment]
    asyncio.run(go_on(folder))


async def go_on(folder: Path) -> None:
    store = MachineSessions(folder / "sessions.sqlite", on_message=lambda: None)
    # Under one name: a holder goes on with what it held before it died.
    dispatcher = WebhookDispatcher(
        store.outbox, FileReceiver(folder / "taken"), SystemClock(), Random(1), RecordingObserver(), "worker"
    )
    key = SessionKey("w1", "live", NODE)
    done = len((await store.load(key)).verdicts)
    for at, verdict in list(enumerate(VERDICTS))[done:]:
        judged = Judgement(verdict, (f"because: {at}",))  # type: ignore[arg-type]
        await store.update(key, lambda record, judged=judged, at=at: observe(record, judged, at, None, None))
        await dispatcher.deliver_due()
    await dispatcher.deliver_due()
    await store.close()


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.deep)])
def test_no_kill_between_two_statements_parts_a_change_from_its_message(tmp_path: Path, step: int) -> None:
    statement, codes = 0, set()
    while 0 not in codes:
        child = in_a_child(work_and_die, tmp_path, statement)
        child.join(120)
        codes.add(child.exitcode)
        statement += step
    assert codes == {0, -signal.SIGKILL}
    taken = [json.loads(line) for line in (tmp_path / "taken").read_text().splitlines()]
    first = {message["id"]: message["data"] for message in reversed(taken)}
    known = [data for message, data in sorted(first.items())]
    assert [data["after"] for data in known] == ["HOLD", "ACTIVE", "PARTIAL"]
    assert [message["data"]["sequence"] for message in taken] == sorted(
        message["data"]["sequence"] for message in taken
    )


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"world_webhook_url": "http://127.0.0.1:1/"}, "world_webhook_secret"),
        ({"world_webhook_secret": SECRET}, "without world_webhook_url"),
        ({"world_webhook_url": "ftp://x/", "world_webhook_secret": SECRET}, "world_webhook_url"),
        ({"world_webhook_url": "http://127.0.0.1:1/", "world_webhook_secret": "hunter2-pw"}, "10 bytes"),
        ({"world_webhook_url": "http://127.0.0.1:1/", "world_webhook_secret": "whsec_hunter2?"}, "base64"),
    ],
)
def test_half_a_webhook_is_refused_and_no_secret_shown(environment: dict[str, str], line: str) -> None:
    mapping = {
        "seamless": {"artifact": {"object_store_uri": "./a"}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
        "environment": environment,
    }
    with pytest.raises(ConfigError, match=line) as refused:
        settings_from_mapping(mapping, base="/base", environ={})
    assert "hunter2" not in str(refused.value) and SECRET not in str(refused.value)


def test_without_a_webhook_there_is_nothing_to_deliver(
    exchange: Sandbox, settings_for: Callable[..., Settings]
) -> None:
    declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": START}
    with (
        sa.connect(settings_for({"binance": declared})) as pipeline,
        pytest.raises(InvalidInput, match="world_webhook_url"),
    ):
        pipeline.deliver_webhooks()


def test_an_error_that_ends_the_delivery_is_logged(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: object, holder: str, now: float) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(MachineOutbox, "claim", broken)
    with sa.connect(settings) as pipeline, pytest.raises(KeyError):
        pipeline.deliver_webhooks()
    (logged,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "the delivery of webhooks" in logged.message and "a bug" in str(logged.exc_info)
