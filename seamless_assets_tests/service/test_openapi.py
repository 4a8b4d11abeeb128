"""The service keeps to its own OpenAPI document, whatever it is asked: no failure, no undescribed answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import positive_data_acceptance
from service.conftest import NODE, Client

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.service.app import service_app

HEADERS = {"Host": "127.0.0.1"}
# What a document cannot say (that a window begins before it ends) is refused with 422 all the same.
BEYOND_A_DOCUMENT = [positive_data_acceptance]
FEW, MANY = 6, 400


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
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)


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
    asked: Counter[int] = Counter()
    for found in schema.get_all_operations():

        @given(case=found.ok().as_strategy())
        @examples(number)
        def ask(case: Any) -> None:
            answer = case.call_and_validate(headers=HEADERS, excluded_checks=BEYOND_A_DOCUMENT)
            asked[answer.status_code] += 1

        ask()
    assert {200, 404, 409, 422} <= set(asked) and max(asked) < 500


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
