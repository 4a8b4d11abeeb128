"""Sets of whole numbers as sorted arrays.

numpy's own hash them, which takes twenty times as long where the numbers lie evenly apart, as opens do.
"""

from __future__ import annotations

import numpy as np


def is_ascending(values: np.ndarray) -> bool:
    """Whether the values are sorted, each once."""
    return bool((values[1:] > values[:-1]).all())


def require_ascending(values: np.ndarray, what: str) -> np.ndarray:
    """The same array, for a search that needs it sorted. Raises `AssertionError` where it is not."""
    if not is_ascending(values):
        raise AssertionError(f"{what} are not sorted, or repeat")
    return values


def distinct(values: np.ndarray) -> np.ndarray:
    """The values sorted, each once; the same array where it is so already."""
    if is_ascending(values):
        return values
    ordered: np.ndarray = np.sort(values)
    firsts: np.ndarray = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return firsts


def is_in(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mask of the values, in any order, that are among `others`."""
    known = distinct(others)
    if len(known) == 0:
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(known, values)
    found: np.ndarray = known[np.minimum(at, len(known) - 1)] == values
    return found


def difference(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The values that are not among `others`, sorted, each once."""
    own = distinct(values)
    found: np.ndarray = own[~is_in(own, others)]
    return found


def union(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What either holds, sorted, each once."""
    return distinct(np.concatenate((left, right)))
