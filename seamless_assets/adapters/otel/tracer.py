"""Spans of OpenTelemetry, for whatever exports them in this process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version

from opentelemetry import trace

NAME = "seamless_assets"


class OtelTracer:
    """A `Tracer` of a provider; without one, of the process's own as it is at the first span.

    A span whose block an error leaves has its name and message, and the status ERROR.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(NAME, version("seamless-assets"), provider)

    def span(self, name: str, facts: Mapping[str, str | int | float]) -> AbstractContextManager[object]:
        """A block that is a span, inside the one that is current."""
        return self._tracer.start_as_current_span(name, attributes=facts)
