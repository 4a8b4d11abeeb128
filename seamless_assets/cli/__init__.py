"""The `seamless` command: one file per group of commands."""

from seamless_assets.cli.app import main

__all__ = ["main"]
