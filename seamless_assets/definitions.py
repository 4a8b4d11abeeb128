"""What Dagster loads: everything that `seamless.yaml` declares."""

import gc

from dagster import Definitions, in_process_executor

from seamless_assets.aio.collector import collector_paused
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_selected
from seamless_assets.defs.selection import selected_keys

with collector_paused():
    # A step is all the nodes of an exchange and timeframe, side by side; in a process of its own it would
    # load everything once more.
    defs = Definitions.merge(
        build_selected(load_settings(), selected_keys(__name__)), Definitions(executor=in_process_executor)
    )
    defs.get_repository_def()
# Of thousands of nodes these are a million objects that live as long as the process does.
gc.freeze()
