"""What Dagster loads: everything that `seamless.yaml` declares."""

from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions

defs = build_definitions(load_settings())
