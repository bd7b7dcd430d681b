"""The documents of devices, and the events of the fleet, in memory."""

import json
from collections.abc import Iterable

from executor.ledger.memory.drains import MemoryDrains
from executor.ledger.wire import known_of, synchronization_of, synchronization_parts
from executor.model.state import Document, Known, Synchronization


class MemoryStates(MemoryDrains):
    """One versioned document for each device, and who has it."""

    def synchronize(self, devices: Iterable[str], text: str, *, execution: str | None = None) -> Synchronization:
        """These devices are to have this document; one that has it already keeps its version."""
        listed = sorted(set(devices))
        name, about, _, digest, _ = synchronization_parts(listed, text, execution)
        with self._step() as do:
            states = self._store.states
            highest = max((states[one].version for one in listed if one in states), default=0)
            changed = [one for one in listed if one not in states or states[one].digest != digest]
            if changed:
                highest += 1
                self._store.news += 1
            for device in changed:
                state = states[device]
                self._supersede(device)
                state.version, state.digest, state.text, state.at = highest, digest, text, do.now
            for device in listed:
                if states[device].version != states[device].acked:
                    states[device].waits.add(name)
                    waiting = self._store.syncing.setdefault(name, ({}, set()))
                    told = {"devices": listed, "version": highest, "executionId": json.loads(about)}
                    self._store.syncing[name] = (told, waiting[1] | {device})
            rows = [part for one in listed for part in (states[one].version, states[one].acked, states[one].at)]
            return synchronization_of(highest, listed, rows)

    def _supersede(self, device: str) -> None:
        """What waited for the older document of this device will never be complete."""
        for name in self._store.states[device].waits:
            self._store.syncing.pop(name, None)
        self._store.states[device].waits.clear()

    def acknowledge(self, incarnation: str, device: str, version: int) -> str:
        """A worker has the document of its device: ``ok``, ``stale`` (another is wanted by now), or ``foreign``."""
        with self._step() as do:
            announced = self.workers().get(incarnation)
            if announced is None or device not in announced.devices:
                return "foreign"
            state = self._store.states.get(device)
            if state is None or state.version != version:
                return "stale"
            if state.acked != version:
                state.acked = version
                for name in sorted(state.waits):
                    told, waiting = self._store.syncing.get(name, ({}, set()))
                    waiting.discard(device)
                    if told and not waiting:
                        del self._store.syncing[name]
                        do.tell("distributed:synchronization:completed", **told)
                state.waits.clear()
            return "ok"

    def known(self, devices: Iterable[str]) -> dict[str, Known]:
        """How far each of these devices is."""
        with self._changed:
            found = {one: self._store.states.get(one) for one in devices}
            return {
                one: known_of(state.version, state.acked, state.at) if state else Known()
                for one, state in found.items()
            }

    def state_of(self, device: str) -> Document | None:
        """The document that a device is to have; None where it has none."""
        with self._changed:
            state = self._store.states.get(device)
            return Document(state.version, state.at, state.text) if state else None
