"""What a webserver or a daemon loads beside ours: bare assets of the same seamless.yaml."""

from bench.contenders.dagster import bare_definitions
from seamless_assets.config.load import load_settings

defs = bare_definitions(load_settings())
