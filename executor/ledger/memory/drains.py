"""What is thought of devices, and what they are given, in memory."""

import json
from collections.abc import Iterable, Mapping

from executor.ledger.memory.fleet import MemoryFleet
from executor.ledger.wire import health_text
from executor.model.device import USABLE, Depleted, Drained, Health
from executor.model.errors import UnknownDevice


class MemoryDrains(MemoryFleet):
    """Health and drains."""

    def judge(self, changes: Mapping[str, tuple[str, Health]]) -> set[str]:
        """Write what is thought of devices, and tell what has changed; returns of whom somebody thought otherwise."""
        others = set()
        with self._step() as do:
            known = self.health()
            for device, (was, now) in changes.items():
                before = known.get(device)
                if (before.state.value if before else "") != was:
                    others.add(device)
                    continue
                since = before.since_ms if before and before.state == now.state else do.now
                self._store.health[device] = json.dumps({**json.loads(health_text(now)), "since_ms": since})
                self._tell_changes(device, before, now)
        return others

    def _tell_changes(self, device: str, before: Health | None, now: Health) -> None:
        tell, was_usable = self._moves.tell, before is not None and before.state in USABLE
        said = {"device": device, "state": now.state.value, "reasons": list(now.reasons)}
        if now.state in USABLE and not was_usable:
            tell("distributed:device:available", **said)
        if was_usable and now.state not in USABLE:
            tell("distributed:device:unavailable", **said)
        short, shorter = _by_resource(before.depleted if before else ()), _by_resource(now.depleted)
        for resource in ("cpu", "memory", "disk"):
            one = shorter.get(resource)
            if one is not None and resource not in short:
                told = {"percent": one.percent, "threshold": one.threshold}
                tell("system:resource:depleted", device=device, resource=resource, **told)
            elif resource in short and one is None and now.state != "unknown":
                tell("system:resource:available", device=device, resource=resource)

    def drain(self, device: str, *, by: str, reason: str = "") -> bool:
        """Give a device nothing new; False where that was so before.

        Raises:
            UnknownDevice: there is none of that name.
        """
        with self._step() as do:
            self._ensure_known(device)
            if device in self._store.drained:
                return False
            self._store.drained[device] = Drained(by=by, reason=reason, at_ms=do.now).model_dump_json()
            do.tell("distributed:device:drained", device=device, by=by, reason=reason)
            return True

    def undrain(self, device: str, *, by: str) -> int | None:
        """Give a device work again; returns how many parked messages went out, None where it was not drained.

        Raises:
            UnknownDevice: there is none of that name.
        """
        with self._step() as do:
            if self._store.drained.pop(device, None) is None:
                self._ensure_known(device)
                return None
            sent = 0
            for execution, generation, action in sorted(self._store.drainpark.pop(device, ()), key=_as_member):
                x = self._store.executions.get(execution)
                if x is not None and do.unpark(x, generation, action):
                    sent += 1
                    if x.action(generation, action).get("status") == "ready":
                        x.action(generation, action)["since"] = str(do.now)
            do.tell("distributed:device:undrained", device=device, by=by)
            return sent

    def _ensure_known(self, device: str) -> None:
        if device not in self._store.owners and not any(device in one.devices for one in self.workers().values()):
            raise UnknownDevice(device, self.owners())

    def forget_devices(self, age_s: float, devices: Iterable[str]) -> None:
        """Forget those of these devices that nobody has served for so long, and nobody has drained."""
        with self._step() as do:
            for device in devices:
                left_ms = self._owner(device).left_ms
                if left_ms and left_ms < do.now - round(age_s * 1000) and device not in self._store.drained:
                    del self._store.owners[device]
                    self._store.health.pop(device, None)


def _by_resource(depleted: Iterable[Depleted]) -> dict[str, Depleted]:
    return {one.resource: one for one in depleted}


def _as_member(place: tuple[str, int, str]) -> str:
    return "|".join(map(str, place))
