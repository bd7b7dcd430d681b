"""The documents of devices, and the events of the fleet."""

from collections.abc import Iterable
from typing import Any

from executor.ledger.connection import reachable
from executor.ledger.fleet import FleetLedger
from executor.ledger.wire import known_of, synchronization_of, synchronization_parts
from executor.model.state import Document, Known, Synchronization


class StatesLedger(FleetLedger):
    """One versioned document for each device, and who has it."""

    def synchronize(self, devices: Iterable[str], text: str, *, execution: str | None = None) -> Synchronization:
        """These devices are to have this document; one that has it already keeps its version.

        Args:
            devices: their ids, whether they are served now or not.
            text: the document as `executor.states.state_text` makes it.
            execution: for which this is done; stands in the event.
        """
        listed = sorted(set(devices))
        got = self._call("sync", *synchronization_parts(listed, text, execution), *listed)
        return synchronization_of(int(got[1]), listed, got[2])

    def acknowledge(self, incarnation: str, device: str, version: int) -> str:
        """A worker has the document of its device: ``ok``, ``stale`` (another is wanted by now), or ``foreign``."""
        return str(self._call("acked", incarnation, device, version)[0])

    def known(self, devices: Iterable[str]) -> dict[str, Known]:
        """How far each of these devices is."""
        listed = list(devices)
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for device in listed:
                pipe.hmget(self._key("sync", device), "version", "acked", "at")
            rows = pipe.execute()
        return {device: known_of(*row) for device, row in zip(listed, rows, strict=True)}

    def state_of(self, device: str) -> Document | None:
        """The document that a device is to have; None where it has none, or gets another this very moment."""
        with reachable(self.url):
            row: Any = self._client.hmget(self._key("sync", device), "version", "digest", "at")
            version, digest, at = row
            text: Any = None if digest is None else self._client.hget(self._key("synced"), digest)
        return None if text is None else Document(int(version), int(at), text)
