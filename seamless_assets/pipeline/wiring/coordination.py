"""What workers share, wired as the settings say: the rate gate, the leases, and the name of this worker."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.fill_queue import MachineFillQueue
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.machine.log import LogEvents
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.config.load import Settings
from seamless_assets.core.addresses import without_user
from seamless_assets.flows.diagnose import Question
from seamless_assets.flows.ports import Clock, FillQueue, LeaseRegister, LeaseStore, Observer
from seamless_assets.flows.sharing.failover import FailoverLeases
from seamless_assets.flows.sharing.fill_queue import OptionalFillQueue
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.pipeline.wiring.metrics import CountingObserver, metrics_file


def lease_register(file: Path) -> LeaseRegister:
    """The leases that a coordinator serves, kept in `file`."""
    return MachineLeases(file)


def machine_leases_file(settings: Settings) -> Path:
    """Where the processes of this machine keep their leases."""
    return settings.seamless.state_dir / "leases.sqlite"


class Coordination:
    """The rate gate, the leases, and who hears of them. Nothing is connected to before its first use.

    `shared` names what other processes and machines use too, each with the question how it is.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._closing = AsyncExitStack()
        self.shared: list[tuple[str, Question]] = []
        counting = CountingObserver(LogEvents(), metrics_file(settings))
        self._closing.push_async_callback(counting.close)
        self.observer: Observer = counting
        self.start = counting.start
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.flights = SingleFlight(clock.now, settings.seamless.backfill.single_flight_ttl_ms / 1000)
        self.gate = self._gate(settings, clock)
        self.leases = self._leases(settings, clock)
        self.fill_queue = OptionalFillQueue(self._fill_queue(settings), clock, self.observer)

    async def close(self) -> None:
        """Close files and connections."""
        await self._closing.aclose()

    def _gate(self, settings: Settings, clock: Clock) -> RateGate:
        machine = MachineBudget(settings.seamless.state_dir / "rate_budget.sqlite", self.observer.notify)
        self._closing.push_async_callback(machine.close)
        if settings.redis_dsn is None:
            self.shared.append(("rate budget", machine.status))
            return RateGate(clock, self.observer, machine)
        # redis-py takes a fifth of a second to import; only those who share a budget need it.
        with late_imports("redis"):
            from seamless_assets.adapters.redis.budget import RedisBudget

        shared = RedisBudget(settings.redis_dsn)
        self.shared.append(("rate budget", shared.status))
        self._closing.push_async_callback(shared.close)
        return RateGate(clock, self.observer, machine, shared)

    def _leases(self, settings: Settings, clock: Clock) -> LeaseStore:
        machine = MachineLeases(machine_leases_file(settings), self.observer.notify)
        self._closing.push_async_callback(machine.close)
        if settings.coordinator_url is None:
            self.shared.append(("leases", machine.status))
            return machine
        shared = self._coordinator(settings.coordinator_url, settings.environment.service_token)
        return FailoverLeases(shared, machine, clock, self.observer)

    def _fill_queue(self, settings: Settings) -> FillQueue:
        """Of all who fill one hot store: in Redis where their leases are there, else of this machine."""
        url = settings.coordinator_url
        if url is None or not urlsplit(url).scheme.startswith("redis"):
            machine = MachineFillQueue(settings.seamless.state_dir / "fills.sqlite", self.observer.notify)
            self._closing.push_async_callback(machine.close)
            return machine
        with late_imports("redis"):
            from seamless_assets.adapters.redis.fill_queue import RedisFillQueue

        hot = settings.seamless.hot_store
        # A file is of one machine, whoever else shares the coordinator.
        place = without_user(hot.dsn) if hot.path is None else f"{socket.gethostname()}:{hot.path}"
        redis = RedisFillQueue(url, place)
        self._closing.push_async_callback(redis.close)
        return redis

    def _coordinator(self, url: str, token: SecretStr | None) -> LeaseStore:
        if urlsplit(url).scheme.startswith("redis"):
            with late_imports("redis"):
                from seamless_assets.adapters.redis.leases import RedisLeases

            redis = RedisLeases(url)
            self.shared.append(("leases", redis.status))
            self._closing.push_async_callback(redis.close)
            return redis
        with late_imports("aiohttp"):
            from seamless_assets.adapters.http.leases import HttpLeases

        http = HttpLeases(url, token.get_secret_value() if token else None)
        self.shared.append(("leases", http.status))
        self._closing.push_async_callback(http.close)
        return http
