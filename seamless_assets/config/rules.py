"""Rules between values: what each value alone cannot show to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from urllib.parse import urlsplit

from seamless_assets.config import checks
from seamless_assets.config.document.places import Document, Place, key_text
from seamless_assets.config.settings import DerivedSettings, Settings
from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.deriving.recipes import is_made_of
from seamless_assets.core.node import NodeId, symbol_word
from seamless_assets.core.reading.sla import PRESETS

Finding = tuple[str, Place, *tuple[Place, ...]]
"""A message, the place it is about, and other places it rests on."""
Rule = Callable[[Settings], Iterator[Finding]]
"""What judges settings that are sound value by value."""

MAX_NODES = 50_000
_DAY = 86_400
_UNIT_SECONDS: dict[PartitionUnit, int] = {"day": _DAY, "month": 31 * _DAY, "year": 366 * _DAY}
_ARTIFACT: Place = ("seamless", "artifact")
_RATE_LIMIT: Place = ("seamless", "rate_limit")
_SLA: Place = ("seamless", "sla")
_HOT_STORE: Place = ("seamless", "hot_store")
_OF_A_SERVER = frozenset(
    ("pg_password", "pg_port", "pg_user", "retry_ms", "timeout_ms", "tls", "tls_ca", "tls_verify", "token")
)
_STATE_FILES = (
    "exchanges.sqlite",
    "fills.sqlite",
    "leases.sqlite",
    "metrics.sqlite",
    "rate_budget.sqlite",
    "sessions.sqlite",
)


def judge(settings: Settings, document: Document, more: Iterable[Rule] = ()) -> None:
    """Add to `document` every problem between values, by `more` rules too, save those of broken values."""
    reported: set[Place] = set()
    rules = chain(_RULES, more)
    for message, place, *others in chain(_exchanges(document), *(rule(settings) for rule in rules)):
        if document.is_full:
            break
        if place not in reported and not any(document.is_broken(known) for known in (place, *others)):
            reported.add(place)
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
    if not section.get("symbols") and not _is_for_trades(place, document):
        yield "names no symbol; add one such as BTC/USDT", (*place, "symbols")
    if section.get("timeframes") == []:
        yield "names no timeframe; add one such as 1m", (*place, "timeframes")
    for key in ("symbols", "timeframes"):
        items = section.get(key)
        yield from _twins(items if isinstance(items, list) else [], (*place, key), document)


def _is_for_trades(place: Place, document: Document) -> bool:
    """Whether the file declares a node that is made of an exchange's trades, which need no candles."""
    written = document.get("derived")
    entries = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    return any(
        one.get("trades") and str(one.get("node")).startswith(f"ohlcv:{place[-1]}:") for one in entries
    )


def _twins(items: list[object], place: Place, document: Document) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, str) or document.is_broken((*place, index)):
            continue
        # Nodes are told apart by the words of their asset keys.
        before = first.setdefault(symbol_word(item), index)
        if before != index:
            line = document.line((*place, before))
            where = key_text((*place, before)) + (f" on line {line}" if line else "")
            yield f"{item[:60]} makes the same node as {where}; remove one", (*place, index)


def _many(settings: Settings) -> Iterator[Finding]:
    nodes = 0
    for name, exchange in settings.exchanges.items():
        nodes += len(exchange.symbols) * len(exchange.timeframes)
        if nodes > MAX_NODES:
            yield f"brings the series to {nodes}, more than {MAX_NODES}; split them", ("exchanges", name)
            return


def _aliases(settings: Settings) -> Iterator[Finding]:
    for name, exchange in settings.exchanges.items():
        for symbol, aliases in exchange.aliases.items():
            place: Place = ("exchanges", name, "aliases", symbol)
            if symbol not in exchange.symbols:
                yield f"{symbol} is not among the symbols of {name}; add it there", place
            timeframes = [*exchange.timeframes, *_made_of_trades(settings, name, symbol)]
            for number, alias in enumerate(aliases):
                here: Place = (*place, number)
                if (":" in alias.symbol) != (":" in symbol):
                    yield f"{alias.symbol} is another kind of market than {symbol}", (*here, "symbol")
                if alias.symbol in {symbol, *(other.symbol for other in aliases[:number])}:
                    yield f"{alias.symbol} is named twice; each symbol has its time once", (*here, "symbol")
                if number and alias.to <= aliases[number - 1].to:
                    yield "must be later than that of the alias before it", (*here, "to")
                for timeframe in timeframes:
                    if timeframe.floor(alias.to) != alias.to:
                        yield (
                            f"lies inside a bar of {timeframe}, which would be of two symbols",
                            (*here, "to"),
                        )


def _made_of_trades(settings: Settings, exchange: str, symbol: str) -> list[Timeframe]:
    nodes = [one.node for one in settings.derived if one.trades]
    return [node.timeframe for node in nodes if (node.exchange, node.symbol) == (exchange, symbol)]


def _derived(settings: Settings) -> Iterator[Finding]:
    known = [
        NodeId(name, symbol, timeframe)
        for name, exchange in settings.exchanges.items()
        # One that is none is told of already, and no id has its name.
        if settings.derived and not checks.unknown_exchange(name)
        for symbol in exchange.symbols
        for timeframe in exchange.timeframes
    ]
    by_trades = {one.node for one in settings.derived if one.trades}
    candles = frozenset(known)
    # What is made of trades has no sources, so it may stand anywhere.
    known += sorted(by_trades - candles)
    done: set[NodeId] = set()
    for number, one in enumerate(settings.derived):
        if one.trades and one.node not in done:
            found = _faults_of_trades(one, settings, candles)
        else:
            found = _faults_of(one, tuple(known), settings)
            known.append(one.node)
        for message, place in found:
            yield message, ("derived", number, *place)
        done.add(one.node)


def _faults_of_trades(
    one: DerivedSettings, settings: Settings, candles: frozenset[NodeId]
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What is wrong with a node that is made of trades, or repaired by them, and at which key."""
    ways = _ways(one)
    if len(ways) != 1:
        yield f"{one.node} is made by one of resample, synthetic and trades, and has {' and '.join(ways)}", ()
    elif one.node.exchange not in settings.exchanges:
        yield f"{one.node} wants trades of {one.node.exchange}, which is not under `exchanges`", ("node",)
    elif ":" in one.node.symbol:
        yield (
            f"{one.node} is no spot market, and what amounts of its trades count is not known; resample it",
            ("node",),
        )
    elif other := next((n for n in candles if n.asset_key == one.node.asset_key and n != one.node), None):
        yield f"{one.node} has the asset key of {other}; declare one of them", ("node",)


def _ways(one: DerivedSettings) -> list[str]:
    ways = [name for name in ("resample", "synthetic") if getattr(one, name) is not None]
    return ways + (["trades"] if one.trades else [])


def _faults_of(
    one: DerivedSettings, known: Iterable[NodeId], settings: Settings
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What is wrong with a derived node beside the nodes that are known before it, and at which key."""
    before = {node.asset_key: node for node in known}
    if (other := before.get(one.node.asset_key)) is not None:
        what = "declared" if other == one.node else str(other)
        yield f"{one.node} is {what} already; give it an exchange of its own, such as derived", ("node",)
    ways = _ways(one)
    if len(ways) != 1:
        named = " and ".join(ways) or "none"
        yield f"{one.node} wants one of resample, synthetic and trades, and has {named}", ()
        return
    if one.trades:
        return
    for source in one.recipe.sources:
        place = ("resample",) if one.resample is not None else ("synthetic", "legs", str(source))
        if before.get(source.asset_key) != source:
            yield f"{source} is no node of the exchanges, nor derived before {one.node}; declare it", place
        elif one.resample is not None and _is_misnamed(one.node, source, settings):
            yield f"{source} is another series; call {one.node} by an exchange of its own", place
        elif one.resample is not None and not is_made_of(one.node.timeframe, source.timeframe):
            yield f"bars of {one.node.timeframe} are not made of whole bars of {source.timeframe}", place
        elif one.resample is None and source.timeframe != one.node.timeframe:
            yield f"{source} has other bars than {one.node}, which takes those of {one.node.timeframe}", place


def _is_misnamed(node: NodeId, source: NodeId, settings: Settings) -> bool:
    """Whether a resampled node has the name of a series that its exchange has, and is made of another."""
    is_another = (node.exchange, node.symbol) != (source.exchange, source.symbol)
    return node.exchange in settings.exchanges and is_another


def _accounts(settings: Settings) -> Iterator[Finding]:
    template: Place = (*_RATE_LIMIT, "key_template")
    written = settings.seamless.rate_limit.key_template
    for name, exchange in settings.exchanges.items():
        account: Place = ("exchanges", name, "account")
        if "{account}" in written and exchange.account is None:
            yield f"{{account}} has no value for {name}; write {{account?}}, or name one", template, account
        if "{account" not in written and exchange.account is not None:
            yield "is used by rate_limit.key_template alone, which has no {account?}", account, template


def _sla(settings: Settings) -> Iterator[Finding]:
    sla = settings.seamless.sla
    if sla.total_deadline_ms < sla.max_wait_storage_ms:
        message = (
            f"{sla.total_deadline_ms} ms ends before storage may answer (max_wait_storage_ms is "
            f"{sla.max_wait_storage_ms}); nothing useful fits, so raise it or lower that one"
        )
        yield message, (*_SLA, "total_deadline_ms"), (*_SLA, "max_wait_storage_ms")


def _sla_presets(settings: Settings) -> Iterator[Finding]:
    usual = settings.seamless.sla
    for name, preset in settings.seamless.sla_presets.items():
        place: Place = ("seamless", "sla_presets", name)
        if name in PRESETS:
            yield f"{name} is there already, and stays what it is; take another name", place
        given = {**usual.model_dump(), **preset.model_dump(exclude_unset=True)}
        if given["total_deadline_ms"] < given["max_wait_storage_ms"]:
            message = (
                f"its total_deadline_ms of {given['total_deadline_ms']} ends before storage may answer "
                f"(max_wait_storage_ms is {given['max_wait_storage_ms']}); raise it or lower that one"
            )
            yield message, place


def _burst(settings: Settings) -> Iterator[Finding]:
    given = settings.seamless.rate_limit.model_fields_set
    if given & {"tokens_per_interval", "interval_ms"} and "burst_tokens" not in given:
        message = "is required beside tokens_per_interval and interval_ms; 200 goes with 1200 a minute"
        yield message, (*_RATE_LIMIT, "burst_tokens")


def _domains(settings: Settings) -> Iterator[Finding]:
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
    if not settings.domains.dryrun.require_as_of:
        message = "must stay true: a dry run without as_of cannot be repeated"
        yield message, ("domains", "dryrun", "require_as_of")
    if not settings.domains.live.monotonic_as_of:
        message = "must stay true: the as_of of a live session never goes back, but for a pin"
        yield message, ("domains", "live", "monotonic_as_of")


def _s3(settings: Settings) -> Iterator[Finding]:
    s3, uri = settings.seamless.artifact.s3, settings.seamless.artifact.object_store_uri or ""
    place: Place = (*_ARTIFACT, "s3")
    if (s3.access_key_id is None) != (s3.secret_access_key is None):
        yield "access_key_id and secret_access_key go together; tell both or neither", place
    elif s3.session_token is not None and s3.access_key_id is None:
        yield "means nothing without access_key_id and secret_access_key", (*place, "session_token")
    elif s3.profile is not None and s3.access_key_id is not None:
        yield "contradicts access_key_id; keep one of them", (*place, "profile"), (*place, "access_key_id")
    if s3.model_fields_set and uri and not uri.startswith("s3://"):
        yield "is for s3:// only; remove it, or name a bucket in object_store_uri", place


def _catalog(settings: Settings) -> Iterator[Finding]:
    artifact = settings.seamless.artifact
    catalog, place = artifact.catalog, (*_ARTIFACT, "catalog")
    if catalog.model_fields_set and artifact.mirror is None:
        yield "is for mirrors only; remove it, or add mirror: iceberg", place
    elif catalog.model_fields_set and catalog.uri is None:
        yield "names no uri; name the address of a REST catalog, or remove it", place
    if catalog.token is not None and catalog.credential is not None:
        yield "contradicts credential; keep one of them", (*place, "token"), (*place, "credential")
    for name in ("oauth2_server_uri", "scope"):
        if getattr(catalog, name) is not None and catalog.credential is None:
            yield "means nothing without credential", (*place, name)


def _partitions(settings: Settings) -> Iterator[Finding]:
    for name, unit in settings.seamless.partitions.items():
        if Timeframe(name).approximate_seconds > _UNIT_SECONDS[unit]:
            message = (
                f"a bar of {name} is longer than a {unit}; choose a longer partition or remove this line"
            )
            yield message, ("seamless", "partitions", name)


def _hot_file(settings: Settings) -> Iterator[Finding]:
    hot = settings.seamless.hot_store
    if hot.path is None:
        return
    for name in sorted(_OF_A_SERVER & hot.model_fields_set):
        yield "is for questdb:// only; remove it, or name a server in dsn", (*_HOT_STORE, name)
    if hot.path in {settings.seamless.state_dir / name for name in _STATE_FILES}:
        yield "names a file of state_dir that holds other things; name another", (*_HOT_STORE, "dsn")


def _hot_server(settings: Settings) -> Iterator[Finding]:
    hot = settings.seamless.hot_store
    if hot.path is not None:
        return
    for name in sorted({"tls_ca", "tls_verify"} & hot.model_fields_set if not hot.tls else ()):
        yield "means nothing without tls: true", (*_HOT_STORE, name), (*_HOT_STORE, "tls")
    if hot.tls and hot.tls_ca is not None and not hot.tls_ca.is_file():
        yield f"{hot.tls_ca} is not a file of PEM certificates", (*_HOT_STORE, "tls_ca")
    if hot.token is not None and urlsplit(hot.dsn).username:
        yield "contradicts the user in dsn; keep one of them", (*_HOT_STORE, "token"), (*_HOT_STORE, "dsn")


def _webhook(settings: Settings) -> Iterator[Finding]:
    environment, place = settings.environment, ("environment",)
    url, secret = (*place, "world_webhook_url"), (*place, "world_webhook_secret")
    if environment.world_webhook_url is not None and environment.world_webhook_secret is None:
        yield "needs world_webhook_secret beside it: a message that nobody signed proves nothing", url, secret
    if environment.world_webhook_secret is not None and environment.world_webhook_url is None:
        yield "means nothing without world_webhook_url", secret, url


def _service_token(settings: Settings) -> Iterator[Finding]:
    token, url = settings.environment.service_token, settings.environment.coordinator_url
    if token is not None and not (url and url.startswith("http")):
        message = "is for leases that a service keeps; name its http address in coordinator_url, or remove it"
        yield message, ("environment", "service_token"), ("environment", "coordinator_url")


def _delivery(settings: Settings) -> Iterator[Finding]:
    for name, exchange in settings.exchanges.items():
        if exchange.live_delivery == "proven" and exchange.live == "polling":
            message = (
                "is of what streams prove, and this exchange is polled; set its live to websocket or auto"
            )
            yield message, ("exchanges", name, "live_delivery")


def _forming(settings: Settings) -> Iterator[Finding]:
    if settings.service.forming_bars and all(one.live == "polling" for one in settings.exchanges.values()):
        message = (
            "is made from streams, and no exchange is streamed; set live of an exchange to websocket or auto"
        )
        yield message, ("service", "forming_bars")


_RULES: tuple[Rule, ...] = (
    _many,
    _aliases,
    _derived,
    _accounts,
    _sla,
    _sla_presets,
    _burst,
    _domains,
    _s3,
    _catalog,
    _partitions,
    _hot_file,
    _hot_server,
    _webhook,
    _service_token,
    _delivery,
    _forming,
)
