"""Every argument of every method that people call is used or refused: what it cannot be is a typed error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.seamless import WorldSession
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE = "ohlcv:binance:BTC/USDT:1h"
FACES: dict[str, type] = {"pipeline": sa.Seamless, "session": WorldSession}
ARGUMENTS = [
    (face, method, parameter.name)
    for face, kind in FACES.items()
    for method, function in inspect.getmembers(kind, inspect.isfunction)
    if not method.startswith("_")
    for parameter in list(inspect.signature(function).parameters.values())[1:]
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What has the methods, and an argument that each parameter takes which has no default."""
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + 3 * DAY, 3_600)})
    with connect_in_memory(exchange, {"partitions": {"1h": "day"}}) as pipeline:
        as_of = pipeline.materialize(NODE, START, START + DAY).as_of
        given = {
            "node": NODE,
            "nodes": [NODE],
            "start": START,
            "end": START + DAY,
            "since": START,
            "until": START + DAY,
            "before": as_of,
            "as_of": as_of,
            "reason": "a doubt",
            "partition": "2025-01-01",
            "ref": pipeline.snapshot(NODE).artifacts[0],
            "path": Path(tmp_path_factory.mktemp("exports")) / "bars.parquet",
            "data": pipeline.read(NODE).to_pandas(),
        }
        yield {"pipeline": pipeline, "session": pipeline.session()}, given


def call(method: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call it, and ask a stream for its first event."""
    outcome = method(**arguments)
    if hasattr(outcome, "__next__"):
        next(outcome, None)


@pytest.mark.parametrize(("face", "method", "argument"), ARGUMENTS)
def test_what_an_argument_cannot_be_is_refused_by_name(
    faces: tuple[dict[str, Any], dict[str, Any]], face: str, method: str, argument: str
) -> None:
    known, given = faces
    called = getattr(known[face], method)
    parameters = inspect.signature(getattr(FACES[face], method)).parameters.values()
    wanted = {p.name: given[p.name] for p in list(parameters)[1:] if p.default is p.empty}
    if method == "declare":
        wanted["reason"] = "outage"
    for impossible in (object(), b"\xff"):
        with pytest.raises(InvalidInput):
            call(called, {**wanted, argument: impossible})
