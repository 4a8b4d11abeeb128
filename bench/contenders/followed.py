"""Those who follow nodes by streams on virtual time: `python -m bench.contenders.followed`.

In a process of its own, since what others left of its memory would hide what following takes.
"""

from __future__ import annotations

from bench.measuring.contender import serve_tasks
from bench.measuring.sample import trim
from bench.worlds.live import follow

BARS = 5


class Followers:
    """The tasks."""

    def trim(self) -> None:
        """Give back what is free, and free what is garbage."""
        trim()

    def follow(self, nodes: int) -> None:
        """Follow so many nodes until five bars of each have closed."""
        follow(nodes, BARS, by_stream=True)


if __name__ == "__main__":
    serve_tasks(Followers())
