"""Living devices, as the announcements of their workers make them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from executor.model.device import Announcement, Health, HealthState
from executor.model.placement import Wanted

_TIERS = {HealthState.HEALTHY: 0, HealthState.DEGRADED: 1}
_LAST_RESORT = 2
"""Unhealthy, or nothing is known."""
_HEALTHY = Health(state=HealthState.HEALTHY)


@dataclass
class Candidate:
    """One living device: what all its workers can do, so that each of them can do what it is given."""

    name: str
    actions: frozenset[str]
    announced: frozenset[str]
    """Its capabilities; and its labels, as ``name=value``."""
    agent: str | None
    room: int
    """Actions that it runs at once."""
    load: int
    """Actions that run there, wait there, or were given to it now."""
    health: Health
    drained: bool

    @property
    def tier(self) -> int:
        """0 is preferred; a higher one gets something only where nobody below can do it."""
        return _TIERS.get(self.health.state, _LAST_RESORT)

    @property
    def share(self) -> float:
        return self.load / self.room

    def can(self, wanted: Wanted) -> bool:
        """Whether it can do that, in whatever state it is."""
        return (
            wanted.agent in (None, self.agent)
            and self.announced.issuperset(wanted.capabilities)
            and self.actions.issuperset(wanted.uses)
        )


def read_devices(
    workers: Mapping[str, Announcement],
    busy: Mapping[str, int],
    queued: Mapping[str, int],
    health: Mapping[str, Health],
    drained: Collection[str],
) -> dict[str, Candidate]:
    """Devices by name, sorted.

    Args:
        workers: living workers by incarnation, as they announced themselves.
        busy: how many actions each of them holds.
        queued: how many actions wait for a device.
        health: what is thought of a device; of whom nothing is said is healthy.
        drained: devices that get nothing new.
    """
    serving: dict[str, list[str]] = {}
    for incarnation, worker in workers.items():
        for name in worker.devices:
            serving.setdefault(name, []).append(incarnation)
    announced = {name: _announced(worker) for name, worker in workers.items()}
    actions = {name: frozenset(worker.actions) for name, worker in workers.items()}
    return {
        name: Candidate(
            name=name,
            actions=_by_all(actions[one] for one in mine),
            announced=_by_all(announced[one] for one in mine),
            agent=_kind(name, [workers[one] for one in mine]),
            room=max(1, sum(workers[one].concurrency for one in mine)),
            load=sum(busy.get(one, 0) for one in mine) + queued.get(name, 0),
            health=health.get(name, _HEALTHY),
            drained=name in drained,
        )
        for name, mine in sorted(serving.items())
    }


def _announced(worker: Announcement) -> frozenset[str]:
    return frozenset((*worker.capabilities, *(f"{name}={value}" for name, value in worker.labels.items())))


def _by_all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    first, *others = sets
    return first.intersection(*others)


def _kind(device: str, workers: list[Announcement]) -> str | None:
    kinds = {worker.agents.get(device) for worker in workers}
    return kinds.pop() if len(kinds) == 1 else None
