"""Which errors are over by themselves."""

from __future__ import annotations

from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    BudgetUnavailable,
    ExchangeRefused,
    ExchangeUnavailable,
    HotStoreClosed,
    HotStoreError,
    LeaseLost,
    LeaseStoreUnavailable,
    SeamlessError,
)

_PASSING = (
    *(ArtifactStoreError, BudgetUnavailable, ExchangeUnavailable, HotStoreError),
    *(LeaseLost, LeaseStoreUnavailable),
)
_LASTING = (ArtifactMissing, ArtifactCorrupt, HotStoreClosed)
_LASTING_STATUSES = frozenset({401, 451})
"""An exchange that wants to know who asks, or may not serve where that is, does so the next time too."""


def is_passing(error: SeamlessError) -> bool:
    """Whether it is over by itself: something is away, and the next look finds what was missed."""
    if isinstance(error, ExchangeRefused):
        # What it answered to a request it may answer otherwise later; what nobody asked it stays refused.
        status = error.facts.get("status")
        is_lasting = error.facts.get("is_lasting", False) or status in _LASTING_STATUSES
        return status is not None and not is_lasting
    return isinstance(error, _PASSING) and not isinstance(error, _LASTING)
