"""What an address in the settings must look like.

Whatever an address holds that its reader would drop, or read as something else, is refused: an unescaped `#`
in a password parts it into a host that nobody meant and a rest that nobody sees.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from seamless_assets.errors import masked

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_BLANK = re.compile(r"[\s\\\x00-\x1f\x7f]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_ESCAPE = (
    "percent-encode each / ? # @ and % of a user or password (%2F, %3F, %23, %40, %25), or write what "
    "urllib.parse.quote(password, safe='') gives"
)
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_CHOICES = {
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_check_hostname": ("true", "false"),
}
LONGEST = 2_000


class Dsn(str):
    """An address that shows no password when it is printed as part of something; `masked` is for logs."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        """The address with its user and password replaced."""
        return masked(str(self))

    def __repr__(self) -> str:
        return repr(self.masked)


def http_url(value: object) -> Dsn:
    """`http(s)://user:password@host:port/path`. Raises `ValueError`."""
    return _checked(value, ("http", "https"), _path_alone)


def endpoint_url(value: object) -> Dsn:
    """`http(s)://host:port/path`, without a user. Raises `ValueError`."""
    return _checked(value, ("http", "https"), _endpoint)


def redis_url(value: object) -> Dsn:
    """`redis(s)://user:password@host:port/database`, with TLS options for `rediss`. Raises `ValueError`."""
    return _checked(value, ("redis", "rediss"), _redis)


def lease_url(value: object) -> Dsn:
    """Where leases are shared: over HTTP or through Redis. Raises `ValueError`."""
    return _checked(value, ("http", "https", "redis", "rediss"), _lease)


def proxy_url(value: object) -> Dsn:
    """`http(s)://` or `socks5(h)://` with user and password, or `socks4://`. Raises `ValueError`."""
    return _checked(value, ("http", "https", "socks4", "socks5", "socks5h"), _proxy)


def questdb_url(value: object) -> Dsn:
    """`questdb://user:password@host:port`. Raises `ValueError`."""
    return _checked(value, ("questdb",), _questdb)


def bucket_url(value: object) -> Dsn:
    """`s3://bucket/prefix`, or its kin. Raises `ValueError`."""
    parts = _parts(value, ("s3", "gs", "az"))
    if "@" in parts.netloc:
        raise ValueError("holds a user; tell who asks in seamless.artifact.s3 or the AWS_* environment")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError(f"does not name a bucket; write it like {parts.scheme}://bucket/prefix")
    prefix = parts.path.strip("/")
    if parts.query or parts.fragment or "%" in prefix:
        raise ValueError("has a prefix with ? # or %; use other characters")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ValueError("has a prefix with an empty, . or .. part; write folders joined by single /")
    return Dsn(value)


def _checked(value: object, schemes: tuple[str, ...], judge: Callable[[SplitResult], None]) -> Dsn:
    parts = _parts(value, schemes)
    _judge_host(parts)
    judge(parts)
    return Dsn(value)


def _parts(value: object, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an address of one of `schemes` whose user and host are told apart beyond doubt."""
    forms = " or ".join(f"{scheme}://" for scheme in schemes)
    if not isinstance(value, str):
        raise ValueError(f"must be an address that starts with {forms}")
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise ValueError(f"has no scheme; start it with {forms}")
    if scheme not in schemes:
        unknown = f"the unknown scheme {scheme}://" if _SCHEME.fullmatch(scheme) else "an unknown scheme"
        raise ValueError(f"has {unknown}; use {forms}")
    if len(value) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    if _BLANK.search(value) or ("s3" not in schemes and _is_ambiguous(rest)):
        raise ValueError(f"cannot be read beyond doubt; {_ESCAPE}")
    try:
        return urlsplit(value)
    except ValueError as error:
        raise ValueError(f"is no address; write it like {scheme}://name") from error


def _is_ambiguous(rest: str) -> bool:
    """Whether a character of a user or password may have ended the host, or begun it."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return rest.count("@") > 1 or ("@" in rest and "@" not in authority)


def _judge_host(parts: SplitResult) -> None:
    try:
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise ValueError("does not name a host and a port of 1 to 65535") from error
    if port == 0:
        raise ValueError("does not name a host and a port of 1 to 65535")
    if not _is_host(host):
        raise ValueError(f"does not name a host that can be reached; write it like {parts.scheme}://name")


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        # What IDNA refuses may be a plain name all the same, such as one with an underscore.
        name = host
    labels = name.removesuffix(".").split(".")
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _path_alone(parts: SplitResult) -> None:
    if parts.query or parts.fragment:
        raise ValueError("ends with ? or #, which nothing reads; remove it")


def _nothing_after_the_host(parts: SplitResult) -> None:
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            f"goes on after its host and port, where nothing is read; remove that (or {_ESCAPE})"
        )


def _endpoint(parts: SplitResult) -> None:
    _path_alone(parts)
    if "@" in parts.netloc:
        raise ValueError("takes no user; write access_key_id and secret_access_key beside it")


def _questdb(parts: SplitResult) -> None:
    _nothing_after_the_host(parts)
    if parts.password and not parts.username:
        raise ValueError("has a password without a user; name the user before the colon")


def _proxy(parts: SplitResult) -> None:
    _nothing_after_the_host(parts)
    if not parts.scheme.startswith("socks"):
        return
    if parts.port is None:
        raise ValueError(f"names no port; write {parts.scheme}://host:1080")
    if parts.scheme == "socks4" and "@" in parts.netloc:
        raise ValueError("takes no user, socks4 has no passwords; use socks5://")
    if bool(parts.username) != bool(parts.password):
        raise ValueError("has a user without a password, or the other way round; tell both or neither")


def _lease(parts: SplitResult) -> None:
    _redis(parts) if parts.scheme.startswith("redis") else _path_alone(parts)


def _redis(parts: SplitResult) -> None:
    if parts.fragment:
        raise ValueError("ends with #, which nothing reads; remove it")
    if not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path):
        raise ValueError("has a path that is no number of a database; write redis://host:6379/0")
    is_tls = parts.scheme == "rediss"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not is_tls or name not in (*_TLS_FILES, *_TLS_CHOICES):
            taken = ", ".join((*_TLS_FILES, *_TLS_CHOICES))
            raise ValueError(f"takes nothing after ? but, with rediss://, {taken}")
        if name in _TLS_FILES and not (value.startswith("/") and Path(value).is_file()):
            raise ValueError(f"names a file in {name} that is not there; give its absolute path")
        if value not in _TLS_CHOICES.get(name, (value,)):
            raise ValueError(f"has a {name} that is not {' or '.join(_TLS_CHOICES[name])}")
