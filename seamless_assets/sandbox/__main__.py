"""`python -m seamless_assets.sandbox`: run the local exchange until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Never

from seamless_assets.core.calendar.instant import epoch_seconds, typed_instant
from seamless_assets.errors import InvalidInput, SeamlessError
from seamless_assets.sandbox.market import DEFAULT_MARKETS
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, serve, and print the address once it answers.

    Ends with status 2 for arguments that are wrong, with 1 where it cannot listen.
    """
    options = _parser().parse_args(arguments)
    try:
        sandbox = _build(options)
    except SeamlessError as error:
        _end(error, 2)
    try:
        asyncio.run(_serve(sandbox))
    except OSError as error:
        place = f"{options.host}:{options.port}"
        _end(InvalidInput(f"{place} cannot be listened on ({error}); --port 0 takes a free one"), 1)


def _end(error: SeamlessError, status: int) -> Never:
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.exit(status)


def _build(options: argparse.Namespace) -> Sandbox:
    replay = Replay()
    for argument in options.replay:
        replay.add_file(argument)
    for argument in options.replay_trades:
        replay.add_trades(argument)
    listed = dict(_listing(argument) for argument in options.listed)
    markets = {market.symbol: market for market in (*replay.markets(), *DEFAULT_MARKETS)}
    if unknown := listed.keys() - markets.keys():
        raise InvalidInput(f"--listed names {', '.join(sorted(unknown))}; there is no such market")
    return Sandbox(
        options.host,
        options.port,
        seed=options.seed,
        now=None if options.now is None else epoch_seconds(typed_instant(options.now), "--now"),
        speed=options.speed,
        markets=[replace(m, listed=listed.get(m.symbol, m.listed)) for m in markets.values()],
        replay=replay,
        rate_limit=options.rate_limit,
    )


async def _serve(sandbox: Sandbox) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    async with sandbox:
        sys.stdout.write(f"local exchange: {sandbox.url}\n")
        sys.stdout.flush()
        await stopped.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamless sandbox",
        description="A local exchange that unmodified ccxt clients talk to by base_url.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    parser.add_argument("--seed", type=int, default=7, help="of the made-up markets (default: 7)")
    parser.add_argument("--now", help="stop its clock: an ISO instant or epoch seconds (default: real time)")
    parser.add_argument("--speed", type=float, help="let its clock go on so many times as fast as real time")
    parser.add_argument("--rate-limit", type=int, help="requests a minute; more are answered 429")
    parser.add_argument(
        "--replay",
        action="append",
        default=[],
        metavar="SYMBOL:TIMEFRAME=FILE",
        help="serve a Parquet file of bars",
    )
    parser.add_argument(
        "--replay-trades",
        action="append",
        default=[],
        metavar="SYMBOL=FILE",
        help="serve a Parquet file of trades",
    )
    parser.add_argument(
        "--listed", action="append", default=[], metavar="SYMBOL=DATE", help="first day of a made-up market"
    )
    return parser


def _listing(argument: str) -> tuple[str, int]:
    symbol, _, day = argument.partition("=")
    if not day:
        raise InvalidInput(f"--listed {argument!r} is not SYMBOL=DATE, such as BTC/USDT=2024-01-01")
    return symbol, epoch_seconds(typed_instant(day), "--listed")


if __name__ == "__main__":
    main()
