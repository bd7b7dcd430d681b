"""Which device does what: the fleet as the ledger knows it, and the choice among those that can."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from executor.distribution.devices import Candidate, read_devices
from executor.distribution.lacking import announced_by, offer_of, too_few, too_wide, why_none
from executor.model.device import Announcement, Health, HealthState
from executor.model.errors import NoDevice
from executor.model.placement import Beside, Placed, Wanted


@dataclass
class _Able:
    """The devices that can do one thing, of those that are in the best state."""

    names: set[str] = field(default_factory=set)
    heap: list[tuple[float, str]] = field(default_factory=list)
    """Each with its load when it was last looked at."""
    remark: str = ""
    """What is wrong with them, where nobody better can."""


class Fleet:
    """Living devices with what they offer and how loaded they are; one per planning.

    A `executor.model.placement.Devices`. The order of what counts: a device that is healthy, before one that is
    degraded, before any other; beside what is related; the least loaded share of its room.
    """

    def __init__(
        self,
        workers: Mapping[str, Announcement],
        busy: Mapping[str, int],
        *,
        queued: Mapping[str, int] | None = None,
        health: Mapping[str, Health] | None = None,
        drained: Collection[str] = (),
    ) -> None:
        """
        Args:
            workers: living workers by incarnation, as they announced themselves.
            busy: how many actions each of them holds.
            queued: how many actions wait for a device.
            health: what is thought of a device; of whom nothing is said is healthy.
            drained: devices that get nothing new.
        """
        self._known = read_devices(workers, busy, queued or {}, health or {}, drained)
        self._pool = [one for one in self._known.values() if not one.drained]
        self._able: dict[Wanted, _Able] = {}
        self._in_turn: set[str] = set()

    @property
    def devices(self) -> set[str]:
        """Names of all living devices, the drained ones included."""
        return set(self._known)

    # -- before ------------------------------------------------------------------------------------------------------

    def prepare(self, wanted: Collection[Wanted], *, named: Collection[str], least: int, most: int) -> None:
        """See `executor.model.placement.Devices.prepare`."""
        if len(self._pool) < least:
            raise NoDevice(too_few(self._known, least))
        if len(self._pool) <= most:
            return
        asked = list(dict.fromkeys(wanted))
        able = {one: [device for device in self._pool if device.can(one)] for one in asked}
        for one in asked:
            if not able[one]:
                raise NoDevice(why_none(one, self._known.values()))
        chosen = _cover(able, set(named))
        if len(chosen) > most:
            raise NoDevice(too_wide(asked, most))
        rest = sorted((one for one in self._pool if one.name not in chosen), key=lambda one: _rank(one, named))
        self._pool = [*chosen.values(), *rest[: most - len(chosen)]]

    # -- choosing ----------------------------------------------------------------------------------------------------

    def place(self, wanted: Wanted, beside: Sequence[Beside] = (), *, in_turn: bool = False) -> Placed:
        """See `executor.model.placement.Devices.place`."""
        able = self._able.get(wanted)
        if able is None:
            able = self._able[wanted] = self._look(wanted)
        for near in beside:
            if near.device in able.names and (in_turn or self._known[near.device].share < 1):
                self._give(near.device, in_turn=in_turn)
                return Placed(near.device, f"beside {near.why}{able.remark}")
        # what was given to a device for something else only made it fuller: its place is found when it comes to the top
        while able.heap[0][0] != (share := self._known[able.heap[0][1]].share):
            heapq.heapreplace(able.heap, (share, able.heap[0][1]))
        device = self._known[able.heap[0][1]]
        why = _why(device, wanted, len(able.names)) + able.remark
        self._give(device.name, in_turn=in_turn)
        return Placed(device.name, why)

    def _look(self, wanted: Wanted) -> _Able:
        can = [device for device in self._pool if device.can(wanted)]
        if not can:
            raise NoDevice(why_none(wanted, self._known.values()))
        best = min(device.tier for device in can)
        found = [device for device in can if device.tier == best]
        heap = [(device.share, device.name) for device in found]
        heapq.heapify(heap)
        remark = ""
        if best:
            of = found[0].health
            reasons = f": {'; '.join(of.reasons)}" if of.reasons else ""
            remark = f" ({HealthState(of.state).value}{reasons}; no healthy one can)"
        return _Able({device.name for device in found}, heap, remark)

    def _give(self, name: str, *, in_turn: bool) -> None:
        if not (in_turn and name in self._in_turn):
            self._known[name].load += 1
        if in_turn:
            self._in_turn.add(name)

    # -- several -----------------------------------------------------------------------------------------------------

    def select(self, labels: Mapping[str, str], agent: str | None, capabilities: Sequence[str]) -> list[str]:
        """See `executor.model.placement.Devices.select`."""
        asked = (*(f"{name}={value}" for name, value in labels.items()), *capabilities)
        wanted = Wanted((), agent, asked)
        found = [one.name for one in self._known.values() if not one.drained and one.can(wanted)]
        if not found:
            raise NoDevice(why_none(wanted, self._known.values()))
        return found

    def lacks(self, device: str, capabilities: Sequence[str]) -> str:
        """See `executor.model.placement.Devices.lacks`."""
        known = self._known.get(device)
        missing = [name for name in capabilities if known is not None and name not in known.announced]
        if known is None or not missing:
            return ""
        return f"{device} does not announce {', '.join(missing)}: it announces {announced_by(known)}"


def _rank(device: Candidate, named: Collection[str]) -> tuple[int, bool, float, str]:
    return device.tier, device.name not in named, device.share, device.name


def _cover(able: Mapping[Wanted, Sequence[Candidate]], named: Collection[str]) -> dict[str, Candidate]:
    """Few devices that can together do everything: for what fewest can do first, whoever can do most of the rest."""
    chosen: dict[str, Candidate] = {}
    left = dict.fromkeys(sorted(able, key=lambda one: len(able[one])))
    while left:
        first = next(iter(left))
        can = {device.name: [one for one in left if device.can(one)] for device in able[first]}
        best = min(able[first], key=lambda one: (one.tier, -len(can[one.name]), *_rank(one, named)))
        chosen[best.name] = best
        for done in can[best.name]:
            del left[done]
    return chosen


def _why(device: Candidate, wanted: Wanted, able: int) -> str:
    places = f"{device.load} of {device.room} busy" if device.load < device.room else _overfull(device)
    if able == 1:
        return f"the only one to {offer_of(wanted)}: {places}"
    return f"least loaded of {able} that {offer_of(wanted)}: {places}"


def _overfull(device: Candidate) -> str:
    return f"{device.load} actions for {device.room} place{'s' * (device.room != 1)}"
