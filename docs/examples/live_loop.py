"""One strategy, first over what is released, then on each bar as it closes.

    python live_loop.py 2025-01-10T12:00:00Z                          # until Ctrl-C
    python live_loop.py 2025-01-10T12:00:00Z 2025-01-11T00:00:00Z     # until then
    FEED=websocket python live_loop.py 2025-01-10T12:00:00Z           # closes heard by the exchange's stream

It takes the `live_loop.yaml` beside it. Where it was left on is kept in `live_loop.json` of the folder it is
started in: started again, it learns from the past anew and acts on what it has not acted on yet.
"""

import json
import sys
from pathlib import Path

import seamless_assets as sa

NOTE = Path("live_loop.json")


class Breakout:
    """Buys when a close is above all of the last `length`, sells when it is below them."""

    def __init__(self, length: int = 20) -> None:
        self.length = length
        self.closes: dict[str, dict[int, float]] = {}

    def on(self, event: object) -> tuple[str, int, str, float] | None:
        """The order that an event asks for; what is late or corrected is learned and not traded on."""
        if not isinstance(event, sa.Bar | sa.Filled | sa.Revised):
            return None
        known = self.closes.setdefault(event.node_id, {})
        before = [known[ts] for ts in sorted(known)[-self.length :]]
        known[event.ts] = event.close
        if isinstance(event, sa.Bar) and len(before) == self.length:
            if event.close > max(before):
                return event.node_id, event.end, "buy", event.close
            if event.close < min(before):
                return event.node_id, event.end, "sell", event.close
        return None


def main(since: str, until: str | None = None) -> None:
    """Follow all minutes of the project."""
    strategy = Breakout()
    with sa.connect(Path(__file__).with_suffix(".yaml")) as s:
        nodes = [str(item.node) for item in s.settings.nodes if str(item.node.timeframe) == "1m"]
        released = min(s.released_window(node).end for node in nodes)
        for event in s.replay(nodes, since, released, knowledge="then"):
            strategy.on(event)
        print(f"learned from {sum(map(len, strategy.closes.values()))} bars", flush=True)
        cursor = json.loads(NOTE.read_text())["cursor"] if NOTE.exists() else released
        for event in s.subscribe(nodes, since=cursor, until=until):
            if isinstance(event, sa.Stale | sa.CaughtUp):
                print(type(event).__name__, event.node_id, flush=True)
            if order := strategy.on(event):
                print(*order, flush=True)  # your broker's call stands here, before the note
            NOTE.write_text(json.dumps({"cursor": event.cursor}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
