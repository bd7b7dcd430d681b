"""Devices as the ledger knows them, put together from what workers announced and what is thought of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from executor.model.device import Announcement, Device, Drained, Health, Owner, ServingWorker, Vitals

NO_WORKER = "no worker"
UNWATCHED = "nobody watches it: start `rex coordinator`"
NOT_YET = "not looked at yet"


@dataclass(frozen=True)
class Known:
    """Everything that the ledger holds about devices."""

    workers: Mapping[str, Announcement]
    """Living ones by incarnation; so are the next two."""
    vitals: Mapping[str, Vitals]
    seen: Mapping[str, int]
    health: Mapping[str, Health]
    """By device; so is the rest."""
    drained: Mapping[str, Drained]
    owners: Mapping[str, Owner]
    running: Mapping[str, int]
    watched: bool
    """Whether a coordinator leads, and so keeps `health` true."""
    now_ms: int


def devices_of(known: Known, queued: Mapping[str, int]) -> list[Device]:
    """Every device, sorted: those that are served, and those that were.

    Args:
        known: what the ledger holds.
        queued: messages that wait, by device.
    """
    serving: dict[str, list[str]] = {}
    for incarnation, worker in known.workers.items():
        for device in worker.devices:
            serving.setdefault(device, []).append(incarnation)
    names = sorted({*serving, *known.owners, *known.drained})
    return [_device(name, sorted(serving.get(name, ())), known, queued.get(name)) for name in names]


def _device(name: str, incarnations: list[str], known: Known, queued: int | None) -> Device:
    told = [known.workers[one] for one in incarnations]
    owner = known.owners.get(name, Owner())
    workers = tuple(_worker(one, known) for one in incarnations)
    health = _health(name, known, served=bool(told))
    seen_ms = max((one.seen_ms for one in workers), default=owner.left_ms)
    busiest = [one.vitals.cpu_percent for one in workers if one.vitals is not None]
    return Device(
        device=name,
        state=health.state,
        reasons=health.reasons,
        drained=known.drained.get(name),
        agent=next((kind for one in told if (kind := one.agents.get(name))), None),
        labels={label: value for one in told for label, value in one.labels.items()},
        capabilities=tuple(sorted({capability for one in told for capability in one.capabilities})),
        actions=tuple(sorted({uses for one in told for uses in one.actions})),
        running=known.running.get(name, 0),
        concurrency=sum(one.concurrency for one in told),
        queued=queued,
        cpu_percent=max(busiest, default=None),
        seen_ms=seen_ms,
        silent_s=max(0, known.now_ms - seen_ms) / 1000 if seen_ms else None,
        store=owner.store,
        hosts=tuple(sorted({one.host for one in told})) or ((owner.host,) if owner.host else ()),
        workers=workers,
    )


def _worker(incarnation: str, known: Known) -> ServingWorker:
    told = known.workers[incarnation]
    return ServingWorker(
        incarnation=incarnation,
        host=told.host,
        pid=told.pid,
        version=told.version,
        concurrency=told.concurrency,
        seen_ms=known.seen.get(incarnation, 0),
        vitals=known.vitals.get(incarnation),
    )


def _health(name: str, known: Known, *, served: bool) -> Health:
    if not served:
        return Health(reasons=(NO_WORKER,))
    if not known.watched:
        return Health(reasons=(UNWATCHED,))
    return known.health.get(name, Health(reasons=(NOT_YET,)))
