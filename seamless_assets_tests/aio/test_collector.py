"""The collector of cycles, paused for a while."""

from __future__ import annotations

import gc

import pytest

from seamless_assets.aio.collector import collector_paused


def test_a_pause_ends_with_its_body_whatever_comes_of_that() -> None:
    def fail() -> None:
        with collector_paused(), collector_paused():
            assert not gc.isenabled()
            raise ValueError("in vain")

    with pytest.raises(ValueError, match="in vain"):
        fail()
    assert gc.isenabled()
