"""Rules between values: what each value alone cannot show to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from urllib.parse import urlsplit

from seamless_assets.config import checks
from seamless_assets.config.models import Settings
from seamless_assets.config.yaml_places import Document, Place, key_text
from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import symbol_word

Finding = tuple[str, Place, *tuple[Place, ...]]
"""A message, the place it is about, and other places it rests on."""

_DAY = 86_400
_UNIT_SECONDS: dict[PartitionUnit, int] = {"day": _DAY, "month": 31 * _DAY, "year": 366 * _DAY}
_ARTIFACT: Place = ("seamless", "artifact")
_RATE_LIMIT: Place = ("seamless", "rate_limit")
_SLA: Place = ("seamless", "sla")


def judge(settings: Settings, document: Document) -> None:
    """Add to `document` every problem between values, save those that rest on a broken value."""
    findings = chain(_exchanges(document), *(rule(settings) for rule in _RULES))
    for message, place, *others in findings:
        if not any(document.is_broken(known) for known in (place, *others)):
            document.report(place, message)


def _exchanges(document: Document) -> Iterator[Finding]:
    written = document.get("exchanges") or {}
    if not written:
        yield "names no exchange; add one with its symbols", ("exchanges",)
    for name, section in written.items() if isinstance(written, dict) else ():
        place: Place = ("exchanges", name)
        if fault := checks.unknown_exchange(name):
            yield fault, place
        if section is None or isinstance(section, dict):
            yield from _series(section or {}, place, document)


def _series(section: dict[str, object], place: Place, document: Document) -> Iterator[Finding]:
    if not section.get("symbols"):
        yield "names no symbol; add one such as BTC/USDT", (*place, "symbols")
    if section.get("timeframes") == []:
        yield "names no timeframe; add one such as 1m", (*place, "timeframes")
    for key in ("symbols", "timeframes"):
        items = section.get(key)
        yield from _twins(items if isinstance(items, list) else [], (*place, key), document)


def _twins(items: list[object], place: Place, document: Document) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, str):
            continue
        # Nodes are told apart by the words of their asset keys.
        before = first.setdefault(symbol_word(item), index)
        if before != index:
            line = document.line((*place, before))
            where = key_text((*place, before)) + (f" on line {line}" if line else "")
            yield f"{item} makes the same node as {where}; remove one", (*place, index)


def _accounts(settings: Settings) -> Iterator[Finding]:
    template: Place = (*_RATE_LIMIT, "key_template")
    if "{account}" not in settings.seamless.rate_limit.key_template:
        return
    for name, exchange in settings.exchanges.items():
        if exchange.account is None:
            account: Place = ("exchanges", name, "account")
            yield f"{{account}} has no value for {name}; write {{account?}}, or name one", template, account


def _sla(settings: Settings) -> Iterator[Finding]:
    sla = settings.seamless.sla
    if sla.total_deadline_ms < sla.max_wait_storage_ms:
        message = (
            f"{sla.total_deadline_ms} ms ends before storage may answer (max_wait_storage_ms is "
            f"{sla.max_wait_storage_ms}); nothing useful fits, so raise it or lower that one"
        )
        yield message, (*_SLA, "total_deadline_ms"), (*_SLA, "max_wait_storage_ms")


def _burst(settings: Settings) -> Iterator[Finding]:
    given = settings.seamless.rate_limit.model_fields_set
    if given & {"tokens_per_interval", "interval_ms"} and "burst_tokens" not in given:
        message = "is required beside tokens_per_interval and interval_ms; 200 goes with 1200 a minute"
        yield message, (*_RATE_LIMIT, "burst_tokens")


def _backtest(settings: Settings) -> Iterator[Finding]:
    artifact = settings.seamless.artifact
    if artifact.object_store_uri is None:
        message = "backtests read artifacts only; name a folder or s3://bucket/prefix"
        yield message, (*_ARTIFACT, "object_store_uri")
    if not artifact.publish_fingerprint:
        message = (
            "must stay true: domains.backtest.source is artifact_only, and only sealed artifacts are read"
        )
        yield message, (*_ARTIFACT, "publish_fingerprint")
    if not settings.domains.backtest.require_as_of:
        message = "must stay true: a backtest without as_of cannot be repeated"
        yield message, ("domains", "backtest", "require_as_of")


def _partitions(settings: Settings) -> Iterator[Finding]:
    for name, unit in settings.seamless.partitions.items():
        if Timeframe(name).approximate_seconds > _UNIT_SECONDS[unit]:
            message = (
                f"a bar of {name} is longer than a {unit}; choose a longer partition or remove this line"
            )
            yield message, ("seamless", "partitions", name)


def _hot_store(settings: Settings) -> Iterator[Finding]:
    told = settings.seamless.hot_store
    place: Place = ("seamless", "hot_store")
    for name in sorted(_OF_A_SERVER & told.model_fields_set if told.path else ()):
        yield "is for questdb:// only; remove it, or name a server in dsn", (*place, name)
    if told.path:
        return
    for name in sorted({"tls_ca", "tls_verify"} & told.model_fields_set if not told.tls else ()):
        yield "means nothing without tls: true", (*place, name), (*place, "tls")
    if told.tls and told.tls_ca is not None and not told.tls_ca.is_file():
        yield f"{told.tls_ca} is not a file of PEM certificates", (*place, "tls_ca")
    if told.token is not None and urlsplit(told.dsn).username:
        yield "contradicts the user in dsn; keep one of them", (*place, "token"), (*place, "dsn")


_OF_A_SERVER = {"pg_port", "pg_user", "pg_password", "token", "tls", "tls_ca", "tls_verify"}
_RULES: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _accounts,
    _sla,
    _burst,
    _backtest,
    _partitions,
    _hot_store,
)
