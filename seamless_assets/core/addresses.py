"""Addresses as state files, logs and requests may hold them: without users and passwords."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit, urlunsplit

_DIGITS = 6


def without_user(url: str) -> str:
    """The address without its user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def place_of(url: str) -> str:
    """The address for use in a key: without a secret, and still another one for another user.

    The few digits that tell users apart are no help to whoever guesses a password.
    """
    user = urlsplit(url).netloc.rpartition("@")[0]
    return without_user(url) + (f"~{sha256(user.encode()).hexdigest()[:_DIGITS]}" if user else "")


def secrets_of(url: str) -> tuple[str, ...]:
    """What of an address is never shown: its password, or the user where it has none."""
    user = urlsplit(url).netloc.rpartition("@")[0]
    name, _, password = user.partition(":")
    secret = password or name
    return tuple(dict.fromkeys(filter(None, (user, secret, unquote(secret)))))


def authorization_of(url: str) -> str | None:
    """What the `Authorization` header says for the user and password of an address; None without them."""
    user, has_user, _ = urlsplit(url).netloc.rpartition("@")
    if not has_user:
        return None
    name, _, password = user.partition(":")
    words = f"{unquote(name)}:{unquote(password)}"
    return f"Basic {b64encode(words.encode()).decode()}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is that of this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
