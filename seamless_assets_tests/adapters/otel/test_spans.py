"""Spans of OpenTelemetry, with its real SDK: of what they are, how they nest, and when there are none."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.errors import MissingPackage, SeamlessError
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

HOUR = 3_600
NODE = "ohlcv:binance:BTC/USDT:1m"
KINDS = ("seamless.read", "seamless.fill", "seamless.fetch", "seamless.publish")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What the process's provider exports, in memory."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def settings(settings_for: Callable[..., Settings], exchange: Sandbox) -> Callable[[bool], Settings]:
    """Settings of one series, with spans or without."""

    def build(tracing: bool) -> Settings:
        declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "start": START}
        return settings_for({"binance": declared}, observability={"tracing": tracing})

    return build


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """Finished spans by their names."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_each_kind_of_work_is_a_span_inside_the_one_it_belongs_to(
    settings: Callable[[bool], Settings], spans: InMemorySpanExporter
) -> None:
    window = (START, START + 6 * HOUR)
    with sa.connect(settings(True)) as pipeline, trace.get_tracer("a strategy").start_as_current_span("day"):
        pipeline.backfill(NODE, *window)
        pipeline.publish(NODE, *window)
        pipeline.release(NODE, reason="a test")
        pipeline.read(NODE, *window)
    found = by_name(spans)
    assert set(found) == {*KINDS, "day"}
    (day,) = found["day"]
    fills = {span.context.span_id: span for span in found["seamless.fill"]}
    for span in found["seamless.fetch"]:
        assert span.parent is not None and span.parent.span_id in fills
        above = fills[span.parent.span_id]
        assert above.start_time <= span.start_time <= span.end_time <= above.end_time
    for span in (*found["seamless.read"], *fills.values(), *found["seamless.publish"]):
        assert span.context.trace_id == day.context.trace_id
    for span in (span for kind in KINDS for span in found[kind]):
        assert span.attributes is not None and span.attributes["node_id"] == NODE
        # A page may begin before what is missing, so that bars on both sides prove what lies between.
        assert START - HOUR <= span.attributes["start"] < span.attributes["end"] <= START + 24 * HOUR
        assert span.status.is_ok
    assert found["seamless.publish"][0].attributes["partition"] == "2025-01-01"


def test_an_error_is_told_of_the_span_that_it_leaves(
    settings: Callable[[bool], Settings], spans: InMemorySpanExporter
) -> None:
    with sa.connect(settings(True)) as pipeline:
        context = sa.ComputeContext(domain="backtest", as_of="2025-01-05T00:00:00Z")
        with pytest.raises(SeamlessError):
            pipeline.read(NODE, START, START + HOUR, context=context)
    (read,) = by_name(spans)["seamless.read"]
    assert not read.status.is_ok and read.status.description
    assert [event.name for event in read.events] == ["exception"]
    assert read.attributes is not None
    assert (read.attributes["domain"], read.attributes["as_of"]) == (
        "backtest",
        "2025-01-05T00:00:00.000000Z",
    )


def test_without_the_setting_nothing_is_a_span(
    settings: Callable[[bool], Settings], spans: InMemorySpanExporter
) -> None:
    with sa.connect(settings(False)) as pipeline:
        pipeline.backfill(NODE, START, START + HOUR)
    assert spans.get_finished_spans() == ()


def test_the_package_is_named_where_it_is_not_installed(
    settings: Callable[[bool], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingPackage, match="opentelemetry"), sa.connect(settings(True)) as pipeline:
        pipeline.coverage(NODE, START, START + HOUR)


def test_one_file_imports_it_and_nothing_imports_that_file_before_it_is_wanted() -> None:
    package = Path(sa.__file__).parent
    imports = re.compile(r"^\s*(from|import) opentelemetry\b", re.MULTILINE)
    users = [path for path in package.rglob("*.py") if imports.search(path.read_text())]
    assert [path.relative_to(package).as_posix() for path in users] == ["adapters/otel/tracer.py"]
    wiring = ast.parse((package / "pipeline" / "wiring" / "adapters.py").read_text())
    assert "otel" not in "".join(
        ast.unparse(node) for node in wiring.body if isinstance(node, ast.ImportFrom)
    )
