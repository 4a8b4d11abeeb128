"""A circuit breaker: what an exchange that stays away is not asked for any more in one call."""

from __future__ import annotations

from seamless_assets.errors import ExchangeUnavailable


class Breaker:
    """Opens once `limit` questions in a row found no answer, each with all its retries.

    Many are asked side by side, so a call to an exchange that is away ends after about as long as one of them
    takes, however many there were to come.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row = 0
        self._last: ExchangeUnavailable | None = None

    @property
    def error(self) -> ExchangeUnavailable | None:
        """Why nothing more is to be asked; None while it may be."""
        return self._last if self._in_a_row >= self._limit else None

    def record(self, away: ExchangeUnavailable | None, *, is_answered: bool) -> None:
        """A question was answered, or was not for the reason `away`; neither says nothing."""
        if is_answered:
            self._in_a_row = 0
        elif away is not None:
            self._in_a_row, self._last = self._in_a_row + 1, away
