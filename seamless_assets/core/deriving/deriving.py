"""What a recipe makes of the bars that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.deriving.recipes import Recipe, Resample, SourceBars
from seamless_assets.core.deriving.resampling import resampled
from seamless_assets.core.deriving.weighing import weighed


def derive(recipe: Recipe, sources: Sequence[SourceBars], timeframe: Timeframe, window: Segment) -> pa.Table:
    """The bars of `timeframe` in `window`; `sources` are the recipe's, in its order."""
    if isinstance(recipe, Resample):
        return resampled(sources[0], timeframe, window)
    return weighed(recipe, sources, timeframe, window)
