"""Which errors are over by themselves."""

from __future__ import annotations

from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    BudgetUnavailable,
    ExchangeUnavailable,
    HotStoreError,
    LeaseLost,
    LeaseStoreUnavailable,
    SeamlessError,
)

_PASSING = (
    *(ArtifactStoreError, BudgetUnavailable, ExchangeUnavailable, HotStoreError),
    *(LeaseLost, LeaseStoreUnavailable),
)
_LASTING = (ArtifactMissing, ArtifactCorrupt)


def is_passing(error: SeamlessError) -> bool:
    """Whether it is over by itself: something is away, and the next look finds what was missed."""
    return isinstance(error, _PASSING) and not isinstance(error, _LASTING)
