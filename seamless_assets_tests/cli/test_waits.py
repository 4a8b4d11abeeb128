"""What is waited for stands in plain words, by the events of the pipeline itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cli.conftest import NODE, Typed

import seamless_assets as sa
from seamless_assets.adapters.machine.log import LogEvents
from seamless_assets.cli.operating import doctor
from seamless_assets.cli.series.reading import awaited
from seamless_assets.cli.series.waits import Waits, exchange_of, heard
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import Event, ExchangeWait, LeaseWait
from seamless_assets.pipeline.wiring.log import LOGGER

LEASE = LeaseWait(f"{NODE}@0-60", "w", 2.5)
EXCHANGE = ExchangeWait("binance", 1, 5, 0.25, "it answers 503")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (LEASE, f"waiting for the lease of {NODE}@0-60, which another worker holds"),
        (EXCHANGE, "waiting for binance, asked again in 0.2 s, try 2 of 5: it answers 503"),
        (
            replace(EXCHANGE, reason="\x1b[2J"),
            r"waiting for binance, asked again in 0.2 s, try 2 of 5: \x1b[2J",
        ),
    ],
)
def test_a_wait_is_one_line_and_nobody_hears_of_it_afterwards(
    capsys: pytest.CaptureFixture[str], event: Event, line: str
) -> None:
    log = logging.getLogger(LOGGER)
    before = log.level, log.propagate, tuple(log.handlers)
    with heard(Waits()):
        LogEvents().notify(event)
    assert capsys.readouterr().err == f"{line}\n"
    assert (log.level, log.propagate, tuple(log.handlers)) == before


def test_a_read_waits_for_an_exchange_where_it_may_fill_alone(project: Path) -> None:
    with sa.connect(project / "seamless.yaml") as pipeline:
        exchange = exchange_of(pipeline, NodeId.parse(NODE))
        assert exchange.startswith("binance at http://127.0.0.1:")
        for strategy, asks in (
            (None, False),
            ("FAIL_FAST", False),
            ("SEAMLESS", True),
            ("AUTO_BACKFILL", True),
        ):
            assert (exchange in awaited(pipeline, NODE, strategy)) is asks
            assert "the artifact store" in awaited(pipeline, NODE, strategy)[-1]


def test_doctor_names_what_it_waits_for_from_the_first_moment_to_the_last(
    project: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    @contextmanager
    def waiting(describe: Callable[[], str]) -> Iterator[None]:
        told.append(describe())
        monkeypatch.setattr(doctor, "opened", partial(open_and_ask, describe))
        yield
        told.append(describe())

    @contextmanager
    def open_and_ask(describe: Callable[[], str], settings: sa.Settings) -> Iterator[sa.Seamless]:
        with sa.connect(settings) as pipeline:
            yield pipeline
            told.append(describe())

    monkeypatch.setattr(doctor, "waiting_for", waiting)
    assert typed("doctor").status == 0
    assert told == ["the stores to open", "the stores to close", "certificates"]
