"""Two halves of a work that needs no lock, such as copying memory, at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def do_halves(work: Callable[[slice], None], count: int) -> None:
    """Do `work` for both halves of `count` parts, one of them in a thread that ends with it.

    Returns, or raises what one of them raised, once both are done. Where no thread is to be had, one half
    comes after the other.
    """
    first, second = slice(0, count // 2), slice(count // 2, count)
    with ThreadPoolExecutor(1, "half") as beside:
        try:
            other = beside.submit(work, second)
        except RuntimeError:
            work(second)
            other = None
        work(first)
    if other is not None:
        other.result()
