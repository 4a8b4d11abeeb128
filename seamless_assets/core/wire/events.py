"""Events of a stream as JSON, and back. Where a stream stands goes beside them, as a cursor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode

from seamless_assets.core.live import events
from seamless_assets.core.live.cursor import WrittenPlace, read_cursor
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.panel import Tick

EVENTS_TYPE = "text/event-stream"
BEGIN, END, PROBLEM = "Begin", "End", "Problem"
"""What a stream tells first, with the place where it begins, and last: that it ends, or cannot go on."""
Value = float | None
"""None where it is not known (NaN)."""
Told = Event | Tick


class _Form(Struct, tag_field="event", tag=lambda name: name.removesuffix("Form")):
    pass


class BeginForm(_Form, omit_defaults=True):
    """Where a stream begins stands in its id.

    `max_lag`: seconds after its close when a bar is overdue. `as_of`: of what is known then a replay tells.
    """

    max_lag: float | None = None
    as_of: str | None = None


class _ValuedForm(_Form):
    node_id: str
    ts: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: Value
    source: events.Source
    evidence: str


class BarForm(_ValuedForm):
    """A closed bar, which covers `[ts, end)` in epoch seconds."""


class FilledForm(_ValuedForm):
    """A bar that came after all, in a range that a `Gap` was told of."""


class RevisedForm(_ValuedForm):
    """Other values of a bar that was told before: `before` are open, high, low, close and volume it had."""

    before: tuple[float, float, float, float, Value]
    recorded_at: float


class GapForm(_Form):
    """No bars in `[start, end)`, for `reason`."""

    node_id: str
    start: int
    end: int
    reason: str
    evidence: str


class CaughtUpForm(_Form):
    """All that has closed until `end` was told."""

    node_id: str
    end: int
    at: float


class StaleForm(_Form):
    """The bar that opened at `end` closed `lag` seconds ago, and was not told yet."""

    node_id: str
    end: int
    lag: float
    at: float
    evidence: str


EventForm = BarForm | FilledForm | RevisedForm | GapForm | CaughtUpForm | StaleForm


class TickForm(_Form):
    """The bars of all nodes of a panel in `[ts, end)`, those that are missing, and what came late."""

    ts: int
    end: int
    bars: dict[str, BarForm]
    missing: dict[str, str]
    late: list[EventForm]


FORMS: tuple[type[_Form], ...] = (
    *(BarForm, FilledForm, RevisedForm, GapForm, CaughtUpForm, StaleForm),
    *(TickForm, BeginForm),
)
_FORM_OF = {form.__name__.removesuffix("Form"): form for form in FORMS}
_KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (events.Bar, events.Filled, events.Revised, events.Gap, events.CaughtUp, events.Stale)
}


def write_begin(begin: BeginForm) -> bytes:
    """What a stream tells first, as JSON."""
    return encode(begin)


def read_begin(payload: bytes) -> BeginForm:
    """What a stream tells first. Raises `ValueError`."""
    try:
        begin = decode(payload, type=BeginForm)
    except MsgspecError as error:
        raise ValueError(str(error)) from error
    if begin.max_lag is None and begin.as_of is None:
        raise ValueError("it names neither max_lag nor as_of")
    return begin


def write_event(told: Told) -> bytes:
    """An event or a tick as JSON; `event` names its kind."""
    return encode(_form(told))


def read_event(payload: bytes, cursor: str, nodes: Iterable[str]) -> Told:
    """The event of a stream of `nodes` that stands at `cursor` after it. Raises `ValueError`."""
    names = tuple(nodes)
    try:
        form = decode(payload, type=EventForm | TickForm)
    except (MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if isinstance(form, TickForm):
        return Tick(
            ts=form.ts,
            end=form.end,
            bars={name: _event(bar, cursor, names) for name, bar in form.bars.items()},  # type: ignore[misc]
            missing=form.missing,
            late=tuple(_event(late, cursor, names) for late in form.late),
            positions=read_cursor(cursor, names),
        )
    if form.node_id not in names:
        raise ValueError(f"{form.node_id[:100]!r} was not asked for")
    return _event(form, cursor, names)


def _form(told: Told) -> _Form:
    if isinstance(told, Tick):
        bars = {name: _form(bar) for name, bar in told.bars.items()}
        late = [_form(event) for event in told.late]
        return TickForm(told.ts, told.end, bars, dict(told.missing), late)  # type: ignore[arg-type]
    kind = _FORM_OF[type(told).__name__]
    return kind(**{name: getattr(told, name) for name in kind.__struct_fields__})


def _event(form: EventForm, cursor: str, nodes: tuple[str, ...]) -> Event:
    kind = _KINDS[type(form).__name__.removesuffix("Form")]
    values: dict[str, Any] = {
        field.name: getattr(form, field.name) for field in fields(kind) if field.name != "place"
    }
    if values.get("volume", 0.0) is None:
        values["volume"] = math.nan
    if isinstance(form, RevisedForm) and form.before[-1] is None:
        values["before"] = (*form.before[:-1], math.nan)
    return kind(**values, place=WrittenPlace(cursor, nodes, form.node_id))
