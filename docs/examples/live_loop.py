"""One strategy, first over what is released, then on each bar as it closes.

    seamless materialize --config live_loop.yaml ohlcv:binance:BTC/USDT:1m 2025-01-10 2025-01-11
    seamless materialize --config live_loop.yaml ohlcv:binance:ETH/USDT:1m 2025-01-10 2025-01-11
    python live_loop.py 2025-01-10T12:00:00Z                          # until Ctrl-C
    python live_loop.py 2025-01-10T12:00:00Z 2025-01-11T06:00:00Z     # until then
    FEED=websocket python live_loop.py 2025-01-10T12:00:00Z           # closes heard by the exchange's stream

The first two release what the strategy learns from, for the feed that `FEED` names.

It takes the `live_loop.yaml` beside it. What it knows, and where it was left, is kept in `live_loop.json`
of the folder it is started in: started again, it goes on from there, whatever was released meanwhile.
"""

import json
import sys
from pathlib import Path

import seamless_assets as sa

NOTE = Path("live_loop.json")
KEPT = 100


class Breakout:
    """Buys when a close is above all of the last `length`, sells when it is below them."""

    def __init__(self, length: int = 20, closes: dict[str, list[tuple[int, float]]] | None = None) -> None:
        self.length = length
        self.closes = {node: dict(pairs) for node, pairs in (closes or {}).items()}

    def known(self) -> dict[str, list[tuple[int, float]]]:
        """What it needs to go on."""
        return {node: sorted(closes.items()) for node, closes in self.closes.items()}

    def on(self, event: object) -> tuple[str, int, str, float] | None:
        """The order that an event asks for; what is late or corrected is learned and not traded on."""
        if not isinstance(event, sa.Bar | sa.Filled | sa.Revised):
            return None
        known = self.closes.setdefault(event.node_id, {})
        before = [known[ts] for ts in sorted(known)[-self.length :]]
        known[event.ts] = event.close
        self.closes[event.node_id] = dict(sorted(known.items())[-KEPT:])
        if isinstance(event, sa.Bar) and len(before) == self.length:
            if event.close > max(before):
                return event.node_id, event.end, "buy", event.close
            if event.close < min(before):
                return event.node_id, event.end, "sell", event.close
        return None


def main(since: str, until: str | None = None) -> None:
    """Follow all minutes of the project."""
    with sa.connect(Path(__file__).with_suffix(".yaml")) as s:
        nodes = [str(item.node) for item in s.settings.nodes if str(item.node.timeframe) == "1m"]
        if NOTE.exists():
            note = json.loads(NOTE.read_text())
            strategy, left_at = Breakout(closes=note["closes"]), note["cursor"]
        else:
            strategy, left_at = Breakout(), min(s.released_window(node).end for node in nodes)
            for event in s.replay(nodes, since, left_at, knowledge="then"):
                strategy.on(event)
            print(f"learned from {sum(map(len, strategy.closes.values()))} bars", flush=True)
        for event in s.subscribe(nodes, since=left_at, until=until):
            if isinstance(event, sa.Stale | sa.CaughtUp):
                print(type(event).__name__, event.node_id, flush=True)
            if order := strategy.on(event):
                print(*order, flush=True)  # your broker's call stands here, before the note
            remember({"cursor": event.cursor, "closes": strategy.known()})


def remember(note: dict[str, object]) -> None:
    """Keep both at once, whole also where the process is killed meanwhile."""
    fresh = NOTE.with_suffix(".new")
    fresh.write_text(json.dumps(note))
    fresh.replace(NOTE)


if __name__ == "__main__":
    main(*sys.argv[1:3])
