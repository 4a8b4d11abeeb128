"""Numbers as exchanges write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.dialects.base import text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_whole_without_an_exponent_and_read_the_same(value: float) -> None:
    written = text(value)
    assert float(written) == value and set(written) <= set("-.0123456789")
