"""Who asks, as the access to the service found out, for whatever answers them."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from seamless_assets.config.sections import Scope as Right

ANYBODY = "anybody"
CALLER = "seamless_assets.caller"
"""Where a request's scope holds its `Caller`, or None for somebody without a token that is known."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the name of a token, and what they may do; None where no token is needed."""

    name: str
    rights: frozenset[Right] | None

    def may(self, right: Right) -> bool:
        """Whether the token has that scope."""
        return self.rights is None or right in self.rights


def caller_of(scope: Scope) -> Caller:
    """Who asks; anybody where nobody was asked who they are."""
    caller: Caller | None = scope.get(CALLER)
    return Caller(ANYBODY, None) if CALLER not in scope else caller or Caller(ANYBODY, frozenset())


def may_know(scope: Scope) -> bool:
    """Whether who asks may hear what is stored where."""
    return caller_of(scope).may("read")
