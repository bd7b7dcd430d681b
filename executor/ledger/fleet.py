"""What workers and coordinators do with the ledger besides actions: live, die, lead, and send the outbox."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from executor.ledger.connection import reachable
from executor.ledger.devices import DeviceReading
from executor.ledger.reading import PREFIX
from executor.ledger.scripts import Scripts
from executor.ledger.told import counters_of
from executor.ledger.wire import Lease, health_text, lease, outgoing, registered, vitals_text
from executor.model.device import Announcement, Health, Vitals
from executor.model.errors import Deposed, UnknownDevice
from executor.model.execution import Claimed, Outgoing, Pulse
from executor.model.state import Renewed
from executor.ports import Outlet


class FleetLedger(DeviceReading):
    """Workers and the outbox."""

    def __init__(self, url: str, *, name: str, patience_s: float, outlet: Outlet | None) -> None:
        super().__init__(url, name=name, patience_s=patience_s)
        self._scripts = Scripts(self._client, PREFIX)
        self.outlet = outlet

    def _call(self, script: str, *arguments: Any) -> list[Any]:
        with reachable(self.url):
            answer, flat = self._scripts(script, *arguments)
        if flat and self.outlet is not None:
            self.outlet.send(outgoing(flat))
        if answer and answer[0] == "deposed":
            raise Deposed
        return answer

    # -- workers ------------------------------------------------------------------------------------------------------

    def register(self, incarnation: str, announced: Announcement) -> None:
        """A worker announces itself, before it consumes.

        Raises:
            DeviceTaken: a worker that has not been declared dead serves one of its devices, with another store.
            IncompatibleVersion: the cluster is too far from its release.
            DeclaredDead: this incarnation was fenced.
        """
        got = self._call(
            "register", incarnation, announced.model_dump_json(exclude_defaults=True), announced.protocol,
            int(not announced.devices), announced.store, announced.host, *announced.devices,
        )  # fmt: skip
        registered(incarnation, announced, got)

    def renew(self, incarnation: str, running: Iterable[Claimed], vitals: Vitals | None = None) -> Renewed | None:
        """This worker lives. Returns what it must know; None: it is fenced and must end.

        Args:
            incarnation: which worker.
            running: what it runs.
            vitals: how it fares, where that is told again.
        """
        flat = [part for c in running for part in (c.execution, c.generation, c.step.id, c.token)]
        got = self._call("renew", incarnation, vitals_text(vitals), *flat)
        return None if got[0] == "fenced" else Renewed(frozenset(got[1]), int(got[2]), bool(int(got[3])))

    def retreat(self, incarnation: str) -> None:
        """This worker is about to leave: nothing is given to it any more; what it runs it finishes."""
        self._call("retreat", incarnation)

    def leave(self, incarnation: str) -> bool:
        """End in order; False where it still holds something, which is left to the watchdog."""
        return bool(self._call("leave", incarnation)[0] == "ok")

    def pulse(self, silence_s: float) -> Pulse:
        """Who has not renewed for `silence_s` seconds of the server's clock."""
        _, run_id, now, silent, counted, since = self._call("pulse", round(silence_s * 1000))
        return Pulse(run_id, int(now), _numbers(silent), _numbers(counted), int(since))

    def overstayed(self, after_s: float) -> list[tuple[str, Lease]]:
        """Leases of living workers whose deadline passed more than `after_s` seconds ago, with their holders."""
        flat = self._call("overstayed", round(after_s * 1000))[1]
        return [(name, lease(held)) for name, held in zip(flat[::2], flat[1::2], strict=True)]

    def fence(self, incarnation: str, *, term: str = "") -> list[Lease]:
        """Declare a worker dead; returns its leases.

        Raises:
            Deposed: `term` is over, here and in all that take one.
        """
        return [lease(member) for member in self._call("fence", term, incarnation)[1]]

    def expire(
        self, incarnation: str, held: Lease, *, sure: bool, error: dict[str, Any], term: str = ""
    ) -> str:  # fmt: skip
        """End a lease of a holder that is gone: ``ok``, ``gone``, or ``later`` while it may still be at work."""
        told = json.dumps(error)
        return str(self._call("expire", term, *held, incarnation, int(sure), told)[0])

    def swept(self, incarnation: str) -> None:
        """All messages of a dead worker are back in their queues, and it holds nothing."""
        with reachable(self.url):
            self._client.srem(self._key("sweep"), incarnation)

    # -- devices ------------------------------------------------------------------------------------------------------

    def judge(self, changes: Mapping[str, tuple[str, Health]]) -> set[str]:
        """Write what is thought of devices, and tell what has changed.

        Args:
            changes: by device the state that it had so far (empty: none), and its health now.

        Returns:
            Devices of which somebody else thought otherwise: of these nothing was written.
        """
        flat = [part for device, (was, now) in changes.items() for part in (device, was, health_text(now))]
        return set(self._call("judge", *flat)[1]) if flat else set()

    def drain(self, device: str, *, by: str, reason: str = "") -> bool:
        """Give a device nothing new; False where that was so before.

        Raises:
            UnknownDevice: there is none of that name.
        """
        got = self._call("drain", device, by, reason)[0]
        if got == "unknown":
            raise UnknownDevice(device, self.owners())
        return bool(got == "ok")

    def undrain(self, device: str, *, by: str) -> int | None:
        """Give a device work again; returns how many parked messages went out, None where it was not drained.

        Raises:
            UnknownDevice: there is none of that name.
        """
        got = self._call("undrain", device, by)
        if got[0] == "unknown":
            raise UnknownDevice(device, self.owners())
        return int(got[1]) if got[0] == "ok" else None

    def forget_devices(self, age_s: float, devices: Iterable[str]) -> None:
        """Forget those of these devices that nobody has served for so long, and nobody has drained."""
        self._call("forget_device", round(age_s * 1000), *devices)

    # -- outbox -------------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> tuple[list[Outgoing], float | None]:
        """What is due, and the seconds until the next entry (None: the outbox is empty)."""
        with reachable(self.url):
            answer, flat = self._scripts("due", limit)
        wait_ms = int(answer[0])
        return outgoing(flat), None if wait_ms < 0 else wait_ms / 1000

    def strike(self, ids: Iterable[str]) -> None:
        """These were sent. What was written again under the same name since then stays."""
        listed = list(ids)
        if listed:
            self._call("strike", *listed)

    def postpone(self, entry: str) -> None:
        """Somebody is at this entry: nobody else needs to begin it for 2 s from now.

        Args:
            entry: its name, or, for this very writing of it, the id that was sent.
        """
        self._call("postpone", entry)

    def wait_for_nudge(self, timeout_s: float) -> None:
        """Sleep until something is put into the outbox that is due within a second, at most `timeout_s` seconds."""
        with reachable(self.url):
            self._blocking().blpop([self._key("nudge")], timeout=timeout_s)

    # -- who leads ----------------------------------------------------------------------------------------------------

    def lead(self, holder: str, ttl_s: float) -> str:
        """Lead the watchdogs for the next `ttl_s` seconds; returns its term's number, empty where another leads."""
        return str(self._call("lead", holder, round(ttl_s * 1000))[1])


def _numbers(flat: list[str]) -> dict[str, int]:
    return counters_of(dict(zip(flat[::2], flat[1::2], strict=True)))
