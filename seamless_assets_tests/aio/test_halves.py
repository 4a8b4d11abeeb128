"""Two halves of a work: every part is done once, at once where there are threads, and errors are told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from seamless_assets.aio.halves import do_halves


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_every_part_is_done_once(count: int) -> None:
    done: list[int] = []
    do_halves(lambda part: done.extend(range(count)[part]), count)
    assert sorted(done) == list(range(count))


def test_the_halves_are_done_at_once_and_no_thread_stays() -> None:
    before, both = threading.active_count(), threading.Barrier(2)
    do_halves(lambda part: both.wait(30) and None, 6)
    assert not both.broken and threading.active_count() == before


@pytest.mark.parametrize("failing", [0, 3])
def test_an_error_of_either_half_is_raised_once_both_are_done(failing: int) -> None:
    done: list[int] = []

    def work(part: slice) -> None:
        done.append(part.start)
        if part.start == failing:
            raise ValueError(failing)

    with pytest.raises(ValueError, match=str(failing)):
        do_halves(work, 6)
    assert sorted(done) == [0, 3]


def test_without_a_thread_the_halves_are_done_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", none_left)
    done: list[int] = []
    do_halves(lambda part: done.extend(range(6)[part]), 6)
    assert sorted(done) == list(range(6))
