"""Numbers as exchanges write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.dialects.base import padded, text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_whole_without_an_exponent_and_read_the_same(value: float) -> None:
    written = text(value)
    assert float(written) == value and set(written) <= set("-.0123456789")


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 10))
def test_a_padded_number_has_so_many_decimals_at_least_and_is_the_same(value: float, places: int) -> None:
    written = padded(value, places)
    assert float(written) == value and len(written.partition(".")[2]) >= places
