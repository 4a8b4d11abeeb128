"""Every error this project raises on purpose, as one tree.

    SeamlessError
    ├── InvalidInput (ValueError)          an argument cannot mean anything
    │   ├── InvalidNodeId
    │   ├── InvalidTimeframe
    │   ├── InvalidSegment
    │   ├── InvalidTimestamp
    │   ├── InvalidFrame
    │   ├── InvalidCursor
    │   └── InvalidChoice                  a name that is not one of the known ones
    ├── ConfigError (ValueError)           seamless.yaml is wrong; `problems` lists all of it
    ├── ExchangeError
    │   ├── ExchangeUnavailable            network, 5xx, maintenance, unreadable answer, an operation that
    │   │   │                              failed for now by the exchange's own word; worth a retry
    │   │   └── RateLimited                429, 418 and their kin; `retry_after` in seconds where given
    │   └── ExchangeRefused                asking the same again at once cannot help
    │       ├── UnknownExchange
    │       ├── UnknownSymbol
    │       ├── UnsupportedTimeframe
    │       └── MisalignedTimeframe        its bars open at other times than ours
    ├── StoreError
    │   ├── HotStoreError
    │   │   ├── HotStoreClosed             it was closed, or its process ends
    │   │   └── StaleToken                 a newer lease holder has written
    │   └── ArtifactStoreError
    │       ├── ArtifactMissing
    │       │   └── ArtifactDiscarded      a clean-up gave its name up before it was released
    │       ├── ArtifactCorrupt            bytes do not match what was promised
    │       ├── FingerprintCollision       equal fingerprints over different bytes
    │       ├── CreateIfAbsentUnsupported  a store that writes over what is there
    │       ├── SealRefused                bars out of order, out of place or not finite
    │       ├── ReleaseConflict            somebody else wrote this place of the log first
    │       └── ReleaseRefused             it would tear what is in force
    │           ├── ReleaseOutdated        others were released since it was sealed
    │           ├── ReleaseLosesBars       bars in force are not among those that would take their place
    │           └── ReleasePinned          a rollback or withdrawal holds this range until a release by hand
    ├── CoordinationError
    │   ├── LeaseLost                      the lease ran out or another worker took it over
    │   ├── LeaseStoreUnavailable          nobody can say who holds what; not the same as held
    │   ├── WorldServiceUnavailable        no decision of a world service can be had
    │   ├── WebhookUndelivered             a receiver did not take a message; it is sent again
    │   ├── DagsterReportFailed            a release is made, and Dagster's instance does not know it
    │   ├── MetricsUnavailable             what was counted cannot be read or written
    │   ├── SessionStoreError              what a world has seen cannot be read or written
    │   ├── FillQueueUnavailable           fills that readers want cannot be put on record or read
    │   └── BudgetUnavailable              the shared rate budget cannot be reached
    ├── ReadRefused
    │   ├── AsOfRequired (ValueError)
    │   ├── AsOfRegression (ValueError)    a session has seen a later release
    │   ├── AsOfInFuture (ValueError)      releases until then would change what is read
    │   ├── NothingReleased
    │   ├── CoverageMissing                `gaps` names what no released artifact holds
    │   └── SeamlessSLAExceeded
    ├── ServiceError                       `seamless serve` did not give what was asked over HTTP
    │   ├── ServiceUnavailable             it cannot be reached or does not answer as one; worth a retry
    │   ├── AccessRefused                  asked by who may not: no known token, a foreign site
    │   ├── LimitExceeded                  more than it gives at once
    │   └── NotServed                      it is not to be had over HTTP
    ├── ExportCorrupt                      exported files are not what their sidecar says
    ├── ImportRefused (ValueError)         a file or frame holds what cannot become bars of a node
    │   └── RevisionsUnconfirmed           it differs from bars that are known, and nobody confirmed that
    ├── ChecksFailed                       a blocking check stopped a release
    ├── ForkedProcess                      what is asked for belongs to the process we were forked from
    ├── MissingPackage (ModuleNotFoundError) what is asked for needs a package that is not installed
    ├── NotPicklable (PicklingError)       it lives in this process alone
    ├── StreamCut                          a stream was cut in the middle of an item, by a cancellation
    └── BlockingCall (RuntimeError)        it would wait for what it is called by

Facts travel as attributes: `raise UnknownSymbol("...", symbol=..., choices=...)` makes
`error.symbol` and `error.choices`. Messages name the input, the reason and the way out, and no password:
`masked` is the one place that takes secrets out of what is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pickle import PicklingError
from typing import Any

_MASK = "***"
_SHORTEST_SECRET = 4
"""What is shorter protects nothing, and stands in too many other words to be taken out of them."""
_USER = re.compile(r"(?<=//)[^\s/\"'<>]*@")
_SIGNED = re.compile(
    r"([?&;][^\s=&#\"'<>]*(?:key|token|secret|sign|sig|passw|pwd|passphrase|auth|credential)[^\s=&#\"'<>]*=)"
    r"[^\s&#\"'<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(authorization\W{1,6}(?:\w+\s+)?)[A-Za-z0-9+/=._~-]+", re.IGNORECASE)
_KEY_HEADER = re.compile(
    r"(\b(?:[a-z]+-)+\w*(?:token|key|sign|secret|pass)\w*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]+", re.IGNORECASE
)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without what must not be shown.

    That is `secrets`, users and passwords of addresses, values of query strings that sign or say who asks,
    and what headers such as `Authorization` or `X-API-Key` say.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _MASK)
    text = _USER.sub(f"{_MASK}@", text)
    text = _SIGNED.sub(rf"\1{_MASK}", text)
    text = _HEADER.sub(rf"\1{_MASK}", text)
    return _KEY_HEADER.sub(rf"\1{_MASK}", text)


def mask_causes(error: BaseException, secrets: Iterable[str] = ()) -> None:
    """Take secrets out of the texts of an error and of what it came from: tracebacks show all of them."""
    known_secrets = tuple(secrets)
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        if isinstance(following, OSError) and isinstance(following.strerror, str):
            following.strerror = masked(following.strerror, known_secrets)
        following.args = tuple(
            masked(arg, known_secrets) if isinstance(arg, str) else arg for arg in following.args
        )
        seen.append(following)
        following = following.__cause__ or following.__context__


class SeamlessError(Exception):
    """Base of all errors; keyword arguments become attributes."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(masked(message))
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        # `facts` itself is looked up only while an error is being unpickled.
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no fact {name!r}")

    def __reduce__(self) -> tuple[Callable[..., SeamlessError], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, self.facts)


def _rebuild(kind: type[SeamlessError], args: tuple[Any, ...], facts: dict[str, Any]) -> SeamlessError:
    return kind(*args, **facts)


class InvalidInput(SeamlessError, ValueError):
    """An argument cannot mean anything."""


class InvalidNodeId(InvalidInput):
    """Not of the form `ohlcv:{exchange}:{symbol}:{timeframe}`."""


class InvalidTimeframe(InvalidInput):
    """Not a whole number of s, m, h, d, w, M or y, or not a whole number of seconds."""


class InvalidSegment(InvalidInput):
    """A range that ends before it starts, or whose ends are not whole seconds."""


class InvalidTimestamp(InvalidInput):
    """A naive datetime, an unreadable string or a number that is no epoch."""


class InvalidFrame(InvalidInput):
    """A frame that lacks what the call needs."""


class InvalidCursor(InvalidInput):
    """Not as an event of a stream told it, or of a stream of other nodes."""


class InvalidChoice(InvalidInput):
    """A name that is not one of the known ones; `choices` lists those."""


class ConfigError(SeamlessError, ValueError):
    """seamless.yaml is wrong; `problems` holds every problem with its place."""


class ExchangeError(SeamlessError):
    """The exchange could not give what was asked."""


class ExchangeUnavailable(ExchangeError):
    """Network, 5xx, maintenance, an unreadable answer or ccxt's `OperationFailed`; worth a retry."""


class RateLimited(ExchangeUnavailable):
    """The exchange asks for fewer requests; `retry_after` in seconds, or None."""


class ExchangeRefused(ExchangeError):
    """The exchange understood and said no; asking the same again at once cannot help.

    Live streams ask again later all the same, unless it is of a kind that no waiting mends.
    """


class UnknownExchange(ExchangeRefused, ValueError):
    """ccxt has no exchange of this name, or it serves no candles."""


class UnknownSymbol(ExchangeRefused, ValueError):
    """The exchange lists no such symbol; `choices` holds the nearest ones."""


class UnsupportedTimeframe(ExchangeRefused, ValueError):
    """The exchange serves no such timeframe; `choices` lists those it does."""


class MisalignedTimeframe(ExchangeRefused, ValueError):
    """Its bars open `offset` seconds after ours; `choices` lists finer timeframes that fit."""


class StoreError(SeamlessError):
    """A store could not do what was asked."""


class HotStoreError(StoreError):
    """The hot store could not do what was asked."""


class HotStoreClosed(HotStoreError):
    """It was closed, or its process ends: it gives and takes nothing any more, however often it is asked."""


class StaleToken(HotStoreError):
    """A newer lease holder has written; `token` is ours, `newest` theirs."""


class ArtifactStoreError(StoreError):
    """The artifact store could not do what was asked."""


class ArtifactMissing(ArtifactStoreError):
    """No such artifact, manifest or release record; `uri` names it."""


class ArtifactDiscarded(ArtifactMissing):
    """A clean-up gave its name up before it was released; publish it again."""


class ArtifactCorrupt(ArtifactStoreError):
    """Stored bytes do not match what was promised; `uri` names them."""


class FingerprintCollision(ArtifactStoreError):
    """Equal fingerprints over different bars."""


class CreateIfAbsentUnsupported(ArtifactStoreError):
    """The store writes over what is there, so that no release in it would be safe."""


class SealRefused(ArtifactStoreError):
    """Bars out of order, out of place or not finite; the store that handed them over is damaged."""


class ReleaseConflict(ArtifactStoreError):
    """Another writer took this place of the release log; read it again and retry."""


class ReleaseRefused(ArtifactStoreError):
    """It would tear what is in force."""


class ReleaseOutdated(ReleaseRefused):
    """Others were released since it was sealed, and may hold newer bars; seal again."""


class ReleaseLosesBars(ReleaseRefused):
    """Bars in force are not among those that would take their place; `revisions` counts them."""


class ReleasePinned(ReleaseRefused):
    """A rollback or withdrawal holds this range until a release by hand; `segment` says which."""


class CoordinationError(SeamlessError):
    """Workers cannot agree on who does what."""


class LeaseLost(CoordinationError):
    """The lease ran out or another worker took it over; stop writing."""


class LeaseStoreUnavailable(CoordinationError):
    """The lease store cannot be reached; that is not the same as a lease held by another."""


class WorldServiceUnavailable(CoordinationError):
    """No decision of a world service can be had; without one no world trades live."""


class WebhookUndelivered(CoordinationError):
    """A receiver did not take a message; `retry_after` is how many seconds it asked for, or None."""


class DagsterReportFailed(CoordinationError):
    """A release is made, but Dagster's instance could not be told of it."""


class MetricsUnavailable(CoordinationError):
    """What the processes of this machine have counted cannot be read or written."""


class SessionStoreError(CoordinationError):
    """What a world has seen cannot be read or written, so no read of it can keep its promise."""


class FillQueueUnavailable(CoordinationError):
    """What readers want to be filled cannot be put on record or read."""


class BudgetUnavailable(CoordinationError):
    """The shared rate budget cannot be reached."""


class ReadRefused(SeamlessError):
    """A read that must not be served."""


class AsOfRequired(ReadRefused, ValueError):
    """This domain reads the past as it was known; say as of when."""


class AsOfRegression(ReadRefused, ValueError):
    """A session has seen a later release than the one asked for; `bound_as_of` is that."""


class AsOfInFuture(ReadRefused, ValueError):
    """`as_of` lies over a minute after now, so that what it reads would still change."""


class NothingReleased(ReadRefused):
    """The node has no release at or before the asked `as_of`."""


class CoverageMissing(ReadRefused):
    """Released artifacts do not cover the window; `gaps` lists (start, end, reason)."""


class SeamlessSLAExceeded(ReadRefused):
    """A budget of the read ran out."""


class ServiceError(SeamlessError):
    """A service did not give what was asked of it over HTTP."""


class ServiceUnavailable(ServiceError):
    """The service cannot be reached or does not answer as one; worth a retry."""


class AccessRefused(ServiceError):
    """Asked by who may not: without a known token or its scope, from another site, under another name.

    `scope` names the scope that is wanted.
    """


class LimitExceeded(ServiceError):
    """More than the service gives at once; `limit` says how much that is."""


class NotServed(ServiceError):
    """What is asked for is not to be had over HTTP."""


class ImportRefused(SeamlessError, ValueError):
    """A file or frame holds what cannot become bars of the node; nothing of it is kept."""


class RevisionsUnconfirmed(ImportRefused):
    """It differs from bars that are known; `opens` are those of the first of them, `count` how many."""


class ExportCorrupt(SeamlessError):
    """Exported files, or their sidecar, are not what was exported; `path` names the sidecar."""


class ChecksFailed(SeamlessError):
    """A blocking check stopped a release; `problems` says why."""


class ForkedProcess(SeamlessError):
    """What is asked for belongs to the process that this one was forked from."""


class MissingPackage(SeamlessError, ModuleNotFoundError):
    """What is asked for needs a package that is not installed; `package` names it."""


class NotPicklable(SeamlessError, PicklingError):
    """It lives in this process alone: a loop, connections, what is under way on them."""


class StreamCut(SeamlessError):
    """A stream is asked for an item after a cancellation (a timeout, an interrupt) has cut it."""


class BlockingCall(SeamlessError, RuntimeError):
    """A method that waits was called on the event loop that it would wait for."""
