"""Keeps what is thought of devices: looks at their workers, and writes what has changed.

Runs in the watchdog that leads; what it writes is compared and set, so two that lead do no harm.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from config.settings import Settings
from executor.model.device import Announcement, Health, Owner, Vitals
from executor.policies.health import CHECKS, Limits, Look, Rule, WorkersHealth, health_of

_MANY = 200
"""Devices that one call writes; the server does nothing else meanwhile."""
_REFRESH_S = 5.0
"""So old may the numbers be that stand in reasons, while the state is the same."""
_FORGET_EVERY_S = 600.0


class JudgedLedger(Protocol):
    def workers(self) -> dict[str, Announcement]: ...
    def vitals(self) -> dict[str, Vitals]: ...
    def health(self) -> dict[str, Health]: ...
    def owners(self) -> dict[str, Owner]: ...
    def judge(self, changes: Mapping[str, tuple[str, Health]]) -> set[str]: ...
    def forget_devices(self, age_s: float, devices: Iterable[str]) -> None: ...


class _Check(Protocol):
    """The settings of a check."""

    @property
    def interval(self) -> timedelta: ...
    @property
    def timeout(self) -> timedelta: ...
    @property
    def retries(self) -> int: ...


@dataclass
class _Worker:
    """What was seen of one worker so far."""

    moved_at: float
    """When its vitals were last new, or when it was first seen."""
    vitals: Vitals | None = None
    health: WorkersHealth = field(default_factory=WorkersHealth)


class HealthWatch:
    """Looks at every worker when a check is due."""

    def __init__(self, ledger: JudgedLedger, settings: Settings) -> None:
        self._ledger = ledger
        self._rules, self._limits = rules_of(settings), limits_of(settings)
        self._forget_after_s = settings.execution.retention.total_seconds()
        self._due = dict.fromkeys(CHECKS, 0.0)
        self._forget_at = 0.0
        self._workers: dict[str, _Worker] = {}
        """Those that serve devices."""
        self._serving: dict[str, list[tuple[str, WorkersHealth]]] = {}
        """By device who serves it: host, and how that fares."""
        self._written: dict[str, tuple[Health, float]] | None = None
        """What stands in the ledger, and when it was written; None: to be read."""

    def begin_anew(self) -> None:
        """Somebody else may have judged meanwhile."""
        self._written = None

    def look(self, silent_s: Mapping[str, float]) -> None:
        """One look at all devices.

        Args:
            silent_s: for how long each worker has not renewed.
        """
        now = time.monotonic()
        due = {name: rule for name, rule in self._rules.items() if now >= self._due[name]}
        if not due:
            return
        self._due.update({name: now + rule.interval_s for name, rule in due.items()})
        announced = self._ledger.workers()
        changed = self._follow(announced, now)
        if due.keys() - {"heartbeat"}:
            self._hear(self._ledger.vitals(), now)
        # most looks are at heartbeats alone, and find nothing: 500 devices must cost next to nothing
        longest_s = due["heartbeat"].timeout_s if due.keys() == {"heartbeat"} else -1.0
        for name, worker in self._workers.items():
            silent = silent_s.get(name, 0.0)
            if silent <= longest_s and worker.health.untroubled("heartbeat"):
                continue
            look = Look(announced[name], silent, worker.vitals, now - worker.moved_at)
            sound = worker.health.sound
            worker.health.look(look, due, self._limits)
            if not (sound and worker.health.sound):
                changed.update(look.announced.devices)
        self._write(changed, now)
        self._forget(now)

    def _follow(self, announced: Mapping[str, Announcement], now: float) -> set[str]:
        """Notice who has come and gone; returns the devices that are concerned."""
        names = {name for name, told in announced.items() if told.devices}
        if names == self._workers.keys() and self._written is not None:
            return set()
        former = self._serving
        self._workers = {name: self._workers.get(name, _Worker(now)) for name in names}
        self._serving = {}
        for name, worker in self._workers.items():
            for device in announced[name].devices:
                self._serving.setdefault(device, []).append((announced[name].host, worker.health))
        return {*former, *self._serving}

    def _hear(self, vitals: Mapping[str, Vitals], now: float) -> None:
        for name, worker in self._workers.items():
            told = vitals.get(name)
            if told is not None and (worker.vitals is None or told.number != worker.vitals.number):
                worker.vitals, worker.moved_at = told, now

    def _write(self, devices: set[str], now: float) -> None:
        if self._written is None:
            self._written = {device: (health, now) for device, health in self._ledger.health().items()}
            devices |= self._written.keys()
        changes: dict[str, tuple[str, Health]] = {}
        for device in devices:
            health = health_of(self._serving.get(device, ()))
            before, written_at = self._written.get(device, (None, 0.0))
            if (
                before is None
                or _differs(before, health)
                or (before.reasons != health.reasons and now - written_at > _REFRESH_S)
            ):
                changes[device] = ("" if before is None else before.state.value, health)
        names = sorted(changes)
        for start in range(0, len(names), _MANY):
            some = {name: changes[name] for name in names[start : start + _MANY]}
            others = self._ledger.judge(some)
            self._written.update({name: (health, now) for name, (_, health) in some.items()})
            if others:
                self._written = None
                return

    def _forget(self, now: float) -> None:
        """Devices that nobody has served for long."""
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY_S
        left = [device for device, owner in self._ledger.owners().items() if owner.left_ms]
        if left:
            self._ledger.forget_devices(self._forget_after_s, left)
            self.begin_anew()


def _differs(before: Health, now: Health) -> bool:
    """Whether more has changed than numbers."""
    return (before.state, _kinds(before)) != (now.state, _kinds(now))


def _kinds(health: Health) -> tuple[list[str], list[str]]:
    reasons = [reason.translate(_NO_NUMBERS) for reason in health.reasons]
    return reasons, [one.resource for one in health.depleted]


_NO_NUMBERS = dict.fromkeys(map(ord, "0123456789."))


def rules_of(settings: Settings) -> dict[str, Rule]:
    """The rule of each check."""
    distributed = settings.distributed
    checks: dict[str, _Check] = {
        "heartbeat": distributed.health_heartbeat,
        "capability": distributed.health_capability,
        "performance": distributed.health_performance,
        "resource": distributed.health_resource,
    }
    return {
        name: Rule(check.interval.total_seconds(), check.timeout.total_seconds(), check.retries)
        for name, check in checks.items()
    }


def limits_of(settings: Settings) -> Limits:
    """What is too much."""
    thresholds = settings.monitoring.thresholds
    return Limits(
        cpu=thresholds.cpu,
        memory=thresholds.memory,
        disk=thresholds.disk,
        latency_s=thresholds.latency.total_seconds(),
        failures=settings.distributed.health_failures,
    )
