"""What can be read from the ledger in memory about workers and devices."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from executor.ledger.device_view import Known, devices_of
from executor.ledger.memory.reading import MemoryReading
from executor.ledger.told import ToldOfFleet
from executor.model.device import Announcement, Device, Drained, Health, Owner, Vitals
from executor.ports import Queues


class MemoryDevices(MemoryReading):
    """Reads of workers and devices; what is nonsense there is left out, and disturbs nobody."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self._told = ToldOfFleet()

    def workers(self) -> dict[str, Announcement]:
        """Living workers by incarnation, as they announced themselves; nonsense is left out."""
        with self._changed:
            return self._told.announced.read(self._store.workers)

    def leaving(self) -> dict[str, Announcement]:
        """Workers that end in order, by incarnation: they take nothing new and finish what they run."""
        with self._changed:
            return self._told.leaving.read(self._store.leaving)

    def vitals(self) -> dict[str, Vitals]:
        """How living workers fare, by incarnation."""
        with self._changed:
            return self._told.vitals.read(self._store.vitals)

    def seen(self) -> dict[str, int]:
        """When each living worker was last heard, by the ledger's clock in milliseconds."""
        with self._changed:
            return dict(self._store.seen)

    def health(self) -> dict[str, Health]:
        """What the coordinators think of each device."""
        with self._changed:
            return self._told.health.read(self._store.health)

    def drained(self) -> dict[str, Drained]:
        """Devices that are given nothing new."""
        with self._changed:
            return self._told.drained.read(self._store.drained)

    def owners(self) -> dict[str, Owner]:
        """Every device that was ever announced, with its store."""
        with self._changed:
            return self._told.owners.read(self._store.owners)

    def devices(self, queues: Queues | None = None) -> list[Device]:
        """Every device with its state, sorted.

        Args:
            queues: tells how many messages wait; None: nobody can.
        """
        with self._changed:
            known = Known(
                self.workers(), self.vitals(), self.seen(), self.health(), self.drained(), self.owners(),
                self._running(), self._store.leader[1] > self._store.clock(), self.now_ms(),
            )  # fmt: skip
        names = {*known.owners, *known.drained, *(name for one in known.workers.values() for name in one.devices)}
        return devices_of(known, self.queued(names) if queues is None else queues.queued(names))

    def queued(self, devices: Iterable[str]) -> dict[str, int]:
        """There is no broker."""
        return dict.fromkeys(devices, 0)

    def fleet_events(self, *, after: int = 0, wait_s: float = 0.0, limit: int = 500) -> list[dict[str, Any]]:
        """Events that belong to no execution, ``seq`` above `after`; waits up to `wait_s` seconds for the first."""

        def found() -> list[dict[str, Any]]:
            return self._store.told[max(0, after) : max(0, after) + limit]

        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(found, timeout=wait_s)
            return json.loads(json.dumps(found()))  # type: ignore[no-any-return]

    def _running(self) -> dict[str, int]:
        """How many actions run on each device."""
        found: dict[str, int] = {}
        for worker in {**self.workers(), **self.leaving()}:
            for execution, generation, action in self._store.leases.get(worker, ()):
                device = self._store.executions[execution].action(generation, action).get("device")
                if device is not None:
                    found[device] = found.get(device, 0) + 1
        return found
