"""The process that we live in: it stays as it was, and its pipelines can be sent to others."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import process_state

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.errors import NothingReleased, NotPicklable
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing.bars import START

DAY = 86_400
NODE = process_state.NODE
WINDOW = (START, START + DAY)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    young = Market("ADA/BTC", 0.00001, 0.14, listed=START - 30 * DAY)
    with Sandbox(now=START + 5 * DAY, markets=[young]).running() as sandbox:
        yield sandbox


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(
        {"binance": {"base_url": exchange.url, "symbols": ["ADA/BTC"], "timeframes": ["1h"], "start": START}}
    )


def test_no_import_and_no_call_changes_the_process(exchange: Sandbox, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, process_state.__file__, exchange.url, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


def test_a_pickled_pipeline_connects_anew_where_it_is_loaded(settings: Settings) -> None:
    access = sa.S3Access(region="eu-central-1")
    with sa.connect(settings, s3=access) as s:
        assert s.materialize(NODE, *WINDOW).released
        for twin in (pickle.loads(pickle.dumps(s)), copy.deepcopy(s), copy.copy(s)):
            assert twin.settings == s.settings and twin.aio.portal is not s.aio.portal
            assert twin.aio.__reduce__() == s.aio.__reduce__()
            with twin:
                assert twin.read(NODE, *WINDOW).to_arrow() == s.read(NODE, *WINDOW).to_arrow()
        again = pickle.loads(pickle.dumps(s.aio))
        assert type(again) is type(s.aio) and again.settings == s.settings
        again.portal.stop()


def test_a_pickled_method_is_that_of_a_pipeline_that_connects_anew(settings: Settings) -> None:
    with sa.connect(settings) as s:
        read = pickle.loads(pickle.dumps(s.read))
        with read.__self__ as twin, pytest.raises(NothingReleased):
            read(NODE, *WINDOW)
        assert twin is not s


PARTS: dict[str, Callable[[sa.Seamless], Any]] = {
    "worker": lambda s: s.aio.portal,
    "ports": lambda s: s.aio.ports,
    "stream": lambda s: s.aio.materialize_each(NODE, *WINDOW),
    "session": lambda s: s.session("w"),
    "async session": lambda s: s.aio.session("w"),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_lives_in_this_process_says_what_to_pickle_instead(settings: Settings, part: str) -> None:
    with sa.connect(settings) as s:
        with pytest.raises(NotPicklable, match="anew") as caught:
            pickle.dumps(PARTS[part](s))
        assert isinstance(caught.value, pickle.PicklingError)


def test_all_that_calls_return_and_raise_can_be_pickled(settings: Settings) -> None:
    with sa.connect(settings) as s:
        report = s.materialize(NODE, *WINDOW)
        snapshot = s.snapshot(NODE)
        with pytest.raises(sa.SeamlessError) as caught:
            s.read(NODE, START - DAY, START)
        returned = [
            report,
            s.read(NODE, *WINDOW),
            snapshot,
            s.manifest(NODE, snapshot.artifacts[0]),
            s.coverage(NODE, *WINDOW),
            s.ledger(NODE, *WINDOW),
            s.backfill(NODE, *WINDOW),
            s.releases(NODE),
            s.diff(NODE, report.as_of),
            s.verify(NODE),
            s.compact(NODE),
            s.gc(),
            s.diagnose(),
            s.session("w").verdicts(NODE),
            settings,
        ]
    for thing in returned:
        assert pickle.loads(pickle.dumps(thing)) == thing, type(thing)
    raised = pickle.loads(pickle.dumps(caught.value))
    assert (type(raised), str(raised), raised.facts) == (
        type(caught.value),
        str(caught.value),
        caught.value.facts,
    )


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_other_processes_read_with_a_pipeline_that_they_are_sent(settings: Settings, how: str) -> None:
    with sa.connect(settings) as s:
        assert s.materialize(NODE, *WINDOW).released
        with ProcessPoolExecutor(1, multiprocessing.get_context(how)) as pool:
            there = pool.submit(process_state.closes, s, WINDOW).result(120)
        assert there == s.read(NODE, *WINDOW).to_pandas()["close"].tolist()
