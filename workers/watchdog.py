"""Sees to what no message can tell: dead workers, executions past their time, lost messages, old executions.

Runs in every coordinator; one leads. All its acts are compare-and-set scripts, so two that lead do no harm.
"""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from config.settings import Settings
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from executor.model.errors import TIMEOUT, ActionTimedOut, Interrupted, RexError
from workers.health import HealthWatch
from workers.stages import StageWatch

_log = logging.getLogger("rex.watchdog")

TICK_S = 0.2
LEAD_S = 2.0
SETTLE_DOWN_S = 3.0
"""After a failure of our own polls, or a restart of the server, nobody is declared dead for so long."""
_PROMPT_S = 0.5
"""An answer that took longer came from a server that was away, or stands between two freezes of our own."""
OVERSTAY_S = 10.0
"""A living worker that still holds an action so long after its deadline has lost track of it."""


@dataclass
class _Seen:
    count: int
    moved_at: float


@dataclass
class _Pulse:
    """When each worker's renewal counter last moved, by our own monotonic clock."""

    seen: dict[str, _Seen] = field(default_factory=dict)
    calm_until: float = 0.0
    run_id: str = ""

    def silent(self, counters: dict[str, int], now: float) -> Iterator[tuple[str, float]]:
        """Workers and for how many seconds each has been silent; `now` was taken before the counters were read."""
        self.seen = {name: seen for name, seen in self.seen.items() if name in counters}
        for name, count in counters.items():
            seen = self.seen.get(name)
            if seen is None or seen.count != count:
                self.seen[name] = _Seen(count, now)
            elif now >= self.calm_until:
                yield name, now - max(seen.moved_at, self.calm_until - SETTLE_DOWN_S)

    def silence(self, now: float) -> dict[str, float]:
        """For how many seconds each worker has been silent."""
        return {name: now - seen.moved_at for name, seen in self.seen.items()}

    def calm(self, now: float) -> None:
        """Start all clocks anew."""
        self.calm_until = now + SETTLE_DOWN_S
        for seen in self.seen.values():
            seen.moved_at = now


class Messages(Protocol):
    """What the watchdog needs of the broker."""

    @property
    def keeps_for_the_silent(self) -> bool: ...
    def restore(self, owner: str) -> int: ...


class Watchdog:
    """The thread of a coordinator that keeps everything moving."""

    def __init__(
        self,
        ledger: ValkeyLedger,
        messages: Messages,
        stages: StageWatch,
        health: HealthWatch,
        settings: Settings,
        *,
        name: str,
    ) -> None:
        """
        Args:
            ledger: where it looks and acts.
            messages: the broker.
            stages: looks at open stages.
            health: looks at devices.
            settings: its bounds.
            name: who it is, among the coordinators.
        """
        self._ledger = ledger
        self._messages = messages
        self._stages = stages
        self._health = health
        self._settings = settings
        self._name = name
        self._pulse = _Pulse()
        self._done = threading.Event()
        self._due = dict.fromkeys(("executions", "stages", "leases", "sweep", "retention"), 0.0)

    def start(self) -> None:
        threading.Thread(target=self._run, name="rex-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _run(self) -> None:
        self._pulse.calm(time.monotonic())
        while not self._done.wait(TICK_S):
            try:
                if self._leads():
                    self.turn()
                    continue
            except RexError as error:
                _log.warning("cannot watch: %s", error)
            except Exception:  # noqa: BLE001
                # whatever it is, the next turn tries again: a watchdog that has died helps nobody
                _log.exception("a turn of the watchdog failed")
            self._pulse.calm(time.monotonic())
            self._health.begin_anew()

    def _leads(self) -> bool:
        """Whether we lead; not when asking took so long that the server was away: then workers were silent too."""
        began = time.monotonic()
        leads = self._ledger.lead(self._name, LEAD_S)
        return leads and time.monotonic() - began < _PROMPT_S

    def turn(self) -> None:
        """One look at everything that is due."""
        now = time.monotonic()
        self._bury_the_dead(now)
        if now >= self._pulse.calm_until:
            self._health.look(self._pulse.silence(now))
        for what, every_s, act in (
            ("executions", 0.5, self._end_overdue),
            ("stages", 1.0, self._stages.look),
            ("leases", 2.0, self._end_overstayed),
            ("sweep", 2.0, self._sweep),
            ("retention", 30.0, self._forget_old),
        ):
            if now >= self._due[what]:
                self._due[what] = now + every_s
                act()

    # -- dead workers -------------------------------------------------------------------------------------------------

    def _bury_the_dead(self, now: float) -> None:
        distributed = self._settings.distributed
        run_id, counters = self._ledger.pulse()
        silent = list(self._pulse.silent(counters, now))
        if run_id != self._pulse.run_id or time.monotonic() - now > _PROMPT_S:
            self._pulse.run_id = run_id
            self._pulse.calm(time.monotonic())
            return
        suspects = [(name, s) for name, s in silent if s >= distributed.gone_silence.total_seconds()]
        if not suspects:
            return
        connected = self._ledger.client_names()
        workers = self._ledger.workers()
        for name, silence_s in suspects:
            gone = not connected & _connections(workers.get(name), name)
            if gone or silence_s >= distributed.lease_silence.total_seconds():
                self._bury(name, workers.get(name), silence_s, gone=gone)

    def _bury(self, name: str, worker: Announcement | None, silence_s: float, *, gone: bool) -> None:
        _log.warning(
            "worker %s is dead: silent for %.2f s, connections %s", name, silence_s, "gone" if gone else "open"
        )
        # its connections are left alone: as long as they are there, nobody can be sure that it does nothing any more
        for lease in self._ledger.fence(name):
            self._end_lease(name, worker, lease, gone=gone)
        self._restore(name)

    def _end_lease(self, name: str, worker: Announcement | None, lease: tuple[str, int, str], *, gone: bool) -> None:
        where = worker.host if worker is not None and worker.host else "its host"
        error = Interrupted(f"the worker that ran {lease[2]} ({name} on {where}) died")
        ended = self._ledger.expire(name, lease, sure=gone, error=error.told(lease[2]))
        if ended == "ok" and not gone and self._messages.keeps_for_the_silent:
            self._stages.send_again(*lease)

    def _restore(self, name: str) -> None:
        moved = self._messages.restore(name)
        if moved:
            _log.info("put %d messages of %s back into their queues", moved, name)

    def _sweep(self) -> None:
        """Workers that are gone may still have had messages on their way, or actions that had to wait."""
        connected = self._ledger.client_names()
        for name in self._ledger.to_sweep():
            self._restore(name)
            leases = self._ledger.leases(name)
            gone = not connected & _connections(None, name)
            for lease in leases:
                self._end_lease(name, None, lease, gone=gone)
            if gone and not leases:
                self._ledger.swept(name)

    def _end_overstayed(self) -> None:
        for name, lease in self._ledger.overstayed(OVERSTAY_S):
            error = ActionTimedOut(f"{lease[2]} was still held long after its deadline", TIMEOUT)
            self._ledger.expire(name, lease, sure=False, error=error.told(lease[2]))

    # -- executions ---------------------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        for execution in self._ledger.overdue_executions():
            error = ActionTimedOut(
                "the time of the execution is over (limits.timeout, or that of its rollback)", TIMEOUT
            )
            self._ledger.overdue(execution, error.told(None))

    def _forget_old(self) -> None:
        age_s = self._settings.execution.retention.total_seconds()
        for execution in self._ledger.finished_before(age_s, limit=500):
            self._ledger.forget(execution)


def _connections(worker: Announcement | None, name: str) -> set[str]:
    """Names under which a worker's connections stand in ``CLIENT LIST``."""
    return set(worker.clients if worker is not None else ()) | {f"w:{name}", f"rex:{name}"}
