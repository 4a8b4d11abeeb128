"""The service keeps to its own OpenAPI document, whatever it is asked: no failure, no undescribed answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import positive_data_acceptance
from service.conftest import NODE, THIN, Client

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.service.app import service_app
from seamless_assets.testing import START

HEADERS = {"Host": "127.0.0.1"}
# What a document cannot say (that a window begins before it ends) is refused with 422 all the same.
BEYOND_A_DOCUMENT = [positive_data_acceptance]
FEW, MANY = 6, 400
TIMES = {"start", "end", "since", "before", "after", "as_of"}
WITHIN = ("2025-01-01", str(START + 7_200), "2025-01-01T18:00:00Z", "2025-01-02T00:00:00+00:00")
UNTIL = "2025-01-02"
STREAMS = ("/v1/events", "/v1/replay")


class Renewed:
    """Leases that are begun anew by `begin_anew`."""

    def __init__(self, make: Callable[[], MachineLeases]) -> None:
        self._make, self._leases = make, make()

    def begin_anew(self) -> None:
        self._leases = self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)


@pytest.fixture(scope="module")
def renewed(make_leases: Callable[[], MachineLeases]) -> Renewed:
    return Renewed(make_leases)


@pytest.fixture(scope="module")
def schema(pipeline: Seamless, renewed: Any) -> Any:
    """The document of an application without tokens, as schemathesis reads it."""

    async def scrape() -> str:
        return ""

    app: FastAPI = service_app(pipeline, renewed, scrape)
    document = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)

    @document.hook
    def map_query(_: Any, query: Any) -> Any:
        return about_what_is_there(query)

    @document.hook
    def map_body(_: Any, body: Any) -> Any:
        return about_what_is_there(body)

    return document


def about_what_is_there(asked: Any) -> Any:
    """What is asked, in two of three cases about series and times that there are: chance finds none of them.

    A stream of events has an end.
    """
    if not isinstance(asked, dict):
        return asked

    def chosen(name: str, *choices: Any) -> Any:
        # The same whenever the same is asked, so that a failure is found again.
        return choices[crc32(f"{name} {asked!r}".encode(errors="replace")) % len(choices)]

    told = dict(asked)
    if "nodes" in told:
        known = ([NODE], [NODE, THIN]) if isinstance(told["nodes"], list) else (NODE, f"{THIN},{NODE}")
        told["nodes"] = chosen("nodes", *known, told["nodes"])
        told.update({} if "start" in told else {"until": UNTIL})
    if "node" in told:
        told["node"] = chosen("node", NODE, THIN, told["node"])
    if isinstance(told.get("speed"), float):
        # On the clock of this pipeline every wait passes, for ever where it is long enough.
        told["speed"] = max(told["speed"], 1.0)
    for name in TIMES & told.keys():
        told[name] = chosen(name, *WITHIN, told[name])
    return told


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )


@pytest.mark.parametrize("number", [FEW, pytest.param(MANY, marks=pytest.mark.deep)])
def test_every_answer_is_one_that_the_document_describes(schema: Any, number: int) -> None:
    asked: Counter[tuple[str, int]] = Counter()
    for found in schema.get_all_operations():

        @given(case=found.ok().as_strategy())
        @examples(number)
        def ask(case: Any) -> None:
            answer = case.call_and_validate(headers=HEADERS, excluded_checks=BEYOND_A_DOCUMENT)
            asked[case.operation.label, answer.status_code] += 1

        ask()
    assert {200, 404, 409, 422} <= {status for _, status in asked} < set(range(500))
    # Chance alone would find hardly any answer but refusals. Leases that are held and sessions are those of
    # the next test.
    answered = {route for route, status in asked if status == 200}
    reads = {route for route, _ in asked if route.startswith("GET ") or route.endswith(STREAMS)}
    assert number == FEW or reads <= answered


SOON = str(START + 600)  # schemathesis looks at the first twenty messages of a stream
PANEL = {"panel": "true", "deadline": "5"}
STREAMED = [
    ("/v1/events", {"since": str(START), "until": SOON}),
    ("/v1/events", {"since": str(START), "until": SOON, **PANEL}),
    ("/v1/replay", {"start": str(START), "end": SOON}),
    ("/v1/replay", {"start": str(START), "end": SOON, "knowledge": "then"}),
]


@pytest.mark.parametrize(("path", "asked"), STREAMED)
def test_every_message_of_a_stream_has_a_form_that_the_document_knows(
    schema: Any, path: str, asked: dict[str, str]
) -> None:
    body: dict[str, Any] = {**asked, "nodes": [NODE]}
    body.update({"panel": True, "deadline": 5} if "panel" in asked else {})
    cases = (
        schema[path]["GET"].Case(query={**asked, "nodes": NODE}),
        schema[path]["POST"].Case(body=body, media_type="application/json"),
    )
    told = [case.call_and_validate(headers=HEADERS).text for case in cases]
    assert all("event: Begin" in text and "event: End" in text for text in told)
    assert all(("event: Tick" if "panel" in asked else "event: Bar") in text for text in told)


@pytest.mark.parametrize("number", [2, pytest.param(MANY, marks=pytest.mark.deep)])
def test_leases_and_sessions_are_used_one_step_after_the_other(
    schema: Any, renewed: Renewed, pipeline: Seamless, number: int
) -> None:
    machine = schema.as_state_machine()

    class Used(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            # What an earlier case left would decide what this one may do.
            renewed.begin_anew()
            pipeline.aio.ports.sessions.records.clear()  # type: ignore[attr-defined]

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": HEADERS}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, excluded_checks=BEYOND_A_DOCUMENT)

    run_state_machine_as_test(Used, settings=settings(examples(number), stateful_step_count=6))


@pytest.mark.parametrize("path", ["/v1/leases/claim", "/v1/sessions/bind", "/v1/events"])
@pytest.mark.parametrize("body", [b"\xff\x04%", b"{", b"", b"[" * 10_000])
async def test_a_body_that_is_no_json_is_refused_as_what_cannot_mean_anything(
    client: Client, path: str, body: bytes
) -> None:
    async with client() as ask:
        answer = await ask.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["detail"]


def test_every_route_says_what_it_is_for_and_has_an_example(schema: Any) -> None:
    document = schema.raw_schema
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description") or operation["summary"], (method, path)
            assert "200" in operation["responses"], (method, path)
            assert path.startswith("/v1/leases") or path == "/healthz" or "422" in operation["responses"], (
                path
            )
    (node,) = [one for one in document["paths"]["/v1/history"]["get"]["parameters"] if one["name"] == "node"]
    assert node["schema"]["examples"] == [NODE]
