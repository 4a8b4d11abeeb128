"""What following nodes costs: CPU for each bar that closes, delay after its close, requests.

Over real sockets and SQLite, each side in a process of its own: from the message that marks a bar as closed
to the reader.

All else over twins of all ports on virtual time, so that neither a network nor a machine's load is measured:
the delay is what the schedule of looks and its jitter make of it, or the stream, the CPU is that of the flows
and of the stores in memory. Bare loops only ask the same exchange for each bar, or wait for the mark of its
stream.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from statistics import median
from typing import Any

from bench.measuring.process import ProcessFailed, running
from bench.measuring.sample import Probe, Sample
from bench.places import OURS, ROOT, child_environment, passing_folder
from bench.running import Bench, Case, Skipped
from bench.worlds.live import Cost, ask_alone, follow, watch_alone

BARS, SUBSCRIBERS, SHARED_NODES = 5, 50, 20
SIDES: dict[str, tuple[Callable[[int, int], Cost], Callable[[int, int], Cost]]] = {
    "polling": (follow, ask_alone),
    "stream": (partial(follow, by_stream=True), watch_alone),
}
ROUNDS = {1: 9, 100: 3, 1_000: 3}
SOCKET_BARS = {1: 30, 100: 5, 1_000: 2}
SOCKET_ROUNDS = {1: 5, 100: 3, 1_000: 3}
DELIVERIES = {"socket": "proven", "stored": "stored"}
"""Lines of real sockets, and the delivery that they measure."""


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """What is measured on virtual time, in this process, then what real sockets make of it."""
    bars = bench.size(BARS, 1)
    for feed, sides in SIDES.items():
        for nodes, rounds in ROUNDS.items():
            told = [_cpu(side, bench.size(nodes, min(nodes, 2)), bars) for side in sides]
            yield Case(f"live.{feed}-{nodes}", *told, rounds=rounds)
        for nodes in ROUNDS:
            late = [_delay(side, bench.size(nodes, min(nodes, 2)), bars) for side in sides]
            yield Case(f"live.{feed}-delay-{nodes}", *late, rounds=1, warm_up=False)
    for feed, (ours, _) in SIDES.items():
        many, one = (_requests(ours, bars, subscribers) for subscribers in (bench.size(SUBSCRIBERS, 2), 1))
        yield Case(f"live.{feed}-many", many, one, rounds=1, warm_up=False)
    if bench.quick:
        yield from (Skipped(f"live.{line}-*", "a quick run starts no server") for line in DELIVERIES)
        return
    for (line, delivery), (nodes, socket_bars) in product(DELIVERIES.items(), SOCKET_BARS.items()):
        ours, peer = (_Socket(kind, nodes, socket_bars) for kind in (delivery, "bare"))
        yield Case(
            f"live.{line}-{nodes}",
            ours.go,
            peer.go,
            rounds=SOCKET_ROUNDS[nodes],
            warm_up=False,
            facts=partial(_told, ours, peer),
        )


class _Socket:
    """A process that follows an exchange of its own; `told` is what it said in each round."""

    def __init__(self, kind: str, nodes: int, bars: int) -> None:
        self._words = [kind, str(nodes), str(bars)]
        self.told: list[dict[str, Any]] = []

    def go(self) -> Sample:
        """Seconds from the closing message to the reader, p99."""
        kind, nodes, bars = self._words
        contender = [OURS, "-m", "bench.contenders.live"]
        how = {"cwd": ROOT, "env": child_environment(), "stdout": subprocess.PIPE, "text": True}
        with running([*contender, "exchange", nodes], **how) as served, passing_folder() as folder:
            assert served.stdout is not None
            words = [*contender, kind, served.stdout.readline().strip(), folder, nodes, bars]
            with running(words, stderr=subprocess.DEVNULL, **how) as follower:
                output, _ = follower.communicate()
        if follower.returncode:
            raise ProcessFailed(f"a {kind} follower of {nodes} nodes ended with {follower.returncode}")
        told = json.loads(output)
        self.told.append(told)
        delays = told["delays"]
        return Sample(delays[int(len(delays) * 0.99)], told["cpu"], told["memory_mib"] * int(nodes))


def _told(ours: _Socket, peer: _Socket) -> dict[str, Any]:
    """CPU of a bar and memory of a node, of both; bars of all rounds that came by REST before their mark."""
    facts: dict[str, Any] = {}
    for who, rounds in {"ours": ours.told, "peer": peer.told}.items():
        if rounds:
            facts |= {
                f"{who}_{fact}": median(told[fact] for told in rounds) for fact in ("cpu", "memory_mib")
            }
            facts[f"{who}_unmarked"] = sum(told["unmarked"] for told in rounds)
    return facts


def _cpu(follows: Callable[[int, int], Cost], nodes: int, bars: int) -> Probe:
    """CPU seconds of a bar."""

    def probe() -> Sample:
        cost = follows(nodes, bars)
        cpu = cost.cpu / len(cost.delays)
        return Sample(cpu, cpu)

    return probe


def _delay(follows: Callable[[int, int], Cost], nodes: int, bars: int) -> Probe:
    """Seconds of virtual time after a close, p99."""
    return lambda: follows(nodes, bars).p99


def _requests(follows: Callable[..., Cost], bars: int, subscribers: int) -> Probe:
    return lambda: float(follows(SHARED_NODES, bars, subscribers).requests)
