"""What can be read from the ledger about workers and devices; nothing here changes it."""

import time
from collections.abc import Iterable
from typing import Any

from executor.ledger.connection import reachable
from executor.ledger.device_view import Known, devices_of
from executor.ledger.reading import LedgerReading, entries_of, event_of
from executor.ledger.told import ToldOfFleet
from executor.model.device import Announcement, Device, Drained, Health, Owner, Vitals
from executor.ports import Queues

_QUEUE = "device."
"""As `config.queues.device_queue` has it; that package may be somebody else's where a client reads."""
_REFRESH_S = 5.0
FLEET = "fleet"
"""Stands for the execution in the events of the fleet."""


class DeviceReading(LedgerReading):
    """Reads of workers and devices; what is nonsense there is left out, and disturbs nobody."""

    def __init__(self, url: str, *, name: str, patience_s: float) -> None:
        super().__init__(url, name=name, patience_s=patience_s)
        self._told = ToldOfFleet()
        self._living: tuple[object, float, dict[str, Announcement]] = (None, 0.0, {})

    def workers(self) -> dict[str, Announcement]:
        """Living workers by incarnation, as they announced themselves; nonsense is left out.

        Asked for again and again, so what has not changed is not fetched: a counter tells. Workers of the release
        before do not count, and are seen a while later.
        """
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            pipe.hget(self._key("fleet"), "workers")
            pipe.hlen(self._key("workers"))
            at, now, living = tuple(pipe.execute()), time.monotonic(), self._living
            if living[0] != at or now > living[1] + _REFRESH_S:
                raw: Any = self._client.hgetall(self._key("workers"))
                living = self._living = (at, now, self._told.announced.read(raw))
        return dict(living[2])

    def leaving(self) -> dict[str, Announcement]:
        """Workers that end in order, by incarnation: they take nothing new and finish what they run."""
        return self._told.leaving.read(self._hash("leaving"))

    def vitals(self) -> dict[str, Vitals]:
        """How living workers fare, by incarnation."""
        return self._told.vitals.read(self._hash("vitals"))

    def seen(self) -> dict[str, int]:
        """When each living worker was last heard, by the server's clock in milliseconds."""
        with reachable(self.url):
            raw: Any = self._client.zrange(self._key("seen"), 0, -1, withscores=True)
        return {str(name): int(score) for name, score in raw}

    def health(self) -> dict[str, Health]:
        """What the coordinators think of each device."""
        return self._told.health.read(self._hash("health"))

    def drained(self) -> dict[str, Drained]:
        """Devices that are given nothing new."""
        return self._told.drained.read(self._hash("drained"))

    def owners(self) -> dict[str, Owner]:
        """Every device that was ever announced, with its store."""
        return self._told.owners.read(self._hash("owner"))

    def devices(self, queues: Queues | None = None) -> list[Device]:
        """Every device with its state, sorted.

        Args:
            queues: tells how many messages wait; None: they lie on the ledger's own server.
        """
        workers = self.workers()
        with reachable(self.url):
            watched = bool(self._client.exists(self._key("lead")))
        known = Known(
            workers, self.vitals(), self.seen(), self.health(), self.drained(), self.owners(),
            self._running([*workers, *self.leaving()]), watched, self.now_ms(),
        )  # fmt: skip
        names = {*known.owners, *known.drained, *(name for one in workers.values() for name in one.devices)}
        return devices_of(known, self.queued(names) if queues is None else queues.queued(names))

    def queued(self, devices: Iterable[str]) -> dict[str, int]:
        """How many messages wait for each of these devices, where this server is the broker too."""
        names = list(devices)
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.llen(_QUEUE + name)
            return dict(zip(names, map(int, pipe.execute()), strict=True)) if names else {}

    def fleet_events(self, *, after: int = 0, wait_s: float = 0.0, limit: int = 500) -> list[dict[str, Any]]:
        """Events that belong to no execution, ``seq`` above `after`; waits up to `wait_s` seconds for the first."""
        key, after = self._key("ev", FLEET), max(0, after)
        with reachable(self.url):
            reply: Any = (
                self._blocking().xread({key: f"{after}-0"}, count=limit, block=max(1, round(wait_s * 1000)))
                if wait_s > 0
                else self._client.xread({key: f"{after}-0"}, count=limit)
            )
        return [event_of(FLEET, entry, fields) for entry, fields in entries_of(reply)]

    def _running(self, workers: Iterable[str]) -> dict[str, int]:
        """How many actions of these workers run on each device."""
        found: dict[str, int] = {}
        names = list(dict.fromkeys(workers))
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.smembers(self._key("L", name))
            held = [member for leases in (pipe.execute() if names else []) for member in leases]
            for member in held:
                pipe.hget(self._key("a", *member.split("|", 2)), "device")
            for device in pipe.execute() if held else []:
                if device is not None:
                    found[device] = found.get(device, 0) + 1
        return found

    def _hash(self, name: str) -> dict[str, str]:
        with reachable(self.url):
            raw: Any = self._client.hgetall(self._key(name))
        return dict(raw)
