"""What following nodes costs: CPU for each bar that closes, delay after its close, requests.

Twins of all ports on virtual time, so that neither a network nor a machine's load is measured: the delay is
what the schedule of looks and its jitter make of it, or the stream, the CPU is that of the flows and of the
stores in memory. Bare loops only ask the same exchange for each bar, or wait for the mark of its stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from bench.measuring.sample import Probe, Sample
from bench.running import Bench, Case
from bench.worlds.live import Cost, ask_alone, follow, watch_alone

BARS, SUBSCRIBERS, SHARED_NODES = 5, 50, 20
SIDES: dict[str, tuple[Callable[[int, int], Cost], Callable[[int, int], Cost]]] = {
    "polling": (follow, ask_alone),
    "stream": (partial(follow, by_stream=True), watch_alone),
}
ROUNDS = {1: 9, 100: 3, 1_000: 3}


def cases(bench: Bench) -> Iterator[Case]:
    """Everything in this process."""
    bars = bench.size(BARS, 1)
    for feed, sides in SIDES.items():
        for nodes, rounds in ROUNDS.items():
            told = [_cpu(side, bench.size(nodes, min(nodes, 2)), bars) for side in sides]
            yield Case(f"live.{feed}-{nodes}", *told, rounds=rounds)
        late = [_delay(side, bench.size(max(ROUNDS), 2), bars) for side in sides]
        yield Case(f"live.{feed}-delay", *late, rounds=1, warm_up=False)
    for feed, (ours, _) in SIDES.items():
        many, one = (_requests(ours, bars, subscribers) for subscribers in (bench.size(SUBSCRIBERS, 2), 1))
        yield Case(f"live.{feed}-many", many, one, rounds=1, warm_up=False)


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
