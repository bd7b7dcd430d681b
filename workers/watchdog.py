"""Sees to what no message can tell: dead workers, executions past their time, lost messages, old executions.

Runs in every coordinator; one leads, the others watch on and are ready. What only the leader may do carries the number
of its term: the ledger refuses what a former leader still wants to do.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from config.settings import Settings
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from executor.model.errors import TIMEOUT, ActionTimedOut, Deposed, Interrupted, RexError
from executor.model.execution import Pulse
from workers.health import HealthWatch
from workers.stages import StageWatch
from workers.whereabouts import has_ended

_log = logging.getLogger("rex.watchdog")

TICK_S = 0.2
LEAD_S = 1.5
"""Without a sign of the leader for so long another coordinator takes over."""
_SIGN_S = 0.35
"""The leader gives one at every second turn; who does not lead asks at each."""
SETTLE_DOWN_S = 3.0
"""After a failure of our own polls, or a restart of the server, nobody is declared dead for so long."""
_PROMPT_S = 0.5
"""An answer that took longer came from a server that was away, or stands between two freezes of our own."""
_LATE_S = 1.5
"""Turns so far apart say that we stood still; then others may have stood still with us."""
OVERSTAY_S = 10.0
"""A living worker that still holds an action so long after its deadline has lost track of it."""


@dataclass(frozen=True)
class _Silence:
    mark: int
    """The time of the last renewal, or its number."""
    since: float


@dataclass
class Silences:
    """Since when workers have been silent, by our own monotonic clock.

    The server tells who has not renewed for long by its clock, which may be put forward: a worker that it did not tell
    of at the poll before had renewed shortly before that.
    """

    threshold_s: float
    calm_until: float = 0.0
    run_id: str = ""
    _known: dict[str, _Silence] = field(default_factory=dict)
    _polled: tuple[float, int] | None = None

    def silent(self, pulse: Pulse, now: float) -> list[tuple[str, float]]:
        """Workers, and for how many seconds each has been silent; `now` was taken before `pulse` was asked for."""
        if self._polled is not None:
            passed_s = now - self._polled[0]
            if passed_s > _LATE_S or abs((pulse.now_ms - self._polled[1]) / 1000 - passed_s) > _LATE_S:
                self.start_anew()
        marks = {**pulse.silent, **pulse.counted}
        before, self._known = self._known, {}
        for name, mark in marks.items():
            known = before.get(name)
            if known is None or known.mark != mark:
                told_s = max(0.0, (pulse.now_ms - pulse.silent[name]) / 1000) if name in pulse.silent else 0.0
                known = _Silence(mark, now - min(told_s, self._at_most_s(now)))
            self._known[name] = known
        self._polled = (now, pulse.now_ms)
        if now < self.calm_until:
            return []
        return [(name, now - known.since) for name, known in self._known.items()]

    def _at_most_s(self, now: float) -> float:
        return 0.0 if self._polled is None else now - self._polled[0] + self.threshold_s

    def start_anew(self) -> None:
        """Whatever was known of silences is void."""
        self._known, self._polled = {}, None

    def calm(self, now: float) -> None:
        """Start anew, and take nobody for dead for a while."""
        self.calm_until = now + SETTLE_DOWN_S
        self.start_anew()


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
        one_machine: bool,
    ) -> None:
        """
        Args:
            ledger: where it looks and acts.
            messages: the broker.
            stages: looks at open stages.
            health: looks at devices.
            settings: its bounds.
            name: who it is, among the coordinators.
            one_machine: whether all workers are on this one, as they are where the server listens to it alone.
        """
        self._ledger = ledger
        self._messages = messages
        self._stages = stages
        self._health = health
        self._settings = settings
        self._name = name
        self._one_machine = one_machine
        self._silences = Silences(settings.distributed.gone_silence.total_seconds())
        self._since_ms = 0
        self._heard: Mapping[str, int] = {}
        self._term = ""
        self._sign_at = 0.0
        self._done = threading.Event()
        self._due = dict.fromkeys(("executions", "stages", "leases", "sweep", "retention"), 0.0)

    def start(self) -> None:
        threading.Thread(target=self._run, name="rex-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _run(self) -> None:
        self._silences.calm(time.monotonic())
        while not self._done.wait(TICK_S):
            try:
                if self.tick():
                    continue
            except Deposed as error:
                _log.warning("%s", error)
                continue
            except RexError as error:
                _log.warning("cannot watch: %s", error)
            except Exception:  # noqa: BLE001
                # whatever it is, the next turn tries again: a watchdog that has died helps nobody
                _log.exception("a turn of the watchdog failed")
            self._silences.calm(time.monotonic())
            self._health.begin_anew()

    def tick(self) -> bool:
        """Lead, or find out who does, and take a turn; False where the server took too long to answer."""
        began = time.monotonic()
        if not self._term or began >= self._sign_at:
            term = self._ledger.lead(self._name, LEAD_S)
            # an answer that took long came from a server that was away: then workers were silent too
            if time.monotonic() - began >= _PROMPT_S:
                return False
            self._sign_at = began + _SIGN_S
        else:
            term = self._term
        self.turn(term)
        return True

    def turn(self, term: str) -> None:
        """One look at everything that is due; who does not lead only observes, so as to be ready when that changes.

        Args:
            term: the number under which we lead; empty where another does.

        Raises:
            Deposed: another leads since.
        """
        now = time.monotonic()
        silent = self._observe(now)
        if term != self._term:
            _log.info("leading the watchdogs, term %s" if term else "another coordinator leads%s", term)
            self._term = term
            self._health.begin_anew()
        if not term:
            return
        self._bury_the_dead(silent)
        if now >= self._silences.calm_until:
            self._health.look(dict(silent))
        for what, every_s, act in (
            ("executions", 0.5, self._end_overdue),
            ("stages", 1.0, lambda: self._stages.look(self._term)),
            ("leases", OVERSTAY_S, self._end_overstayed),
            ("sweep", 1.0, self._sweep),
            ("retention", 30.0, self._forget_old),
        ):
            if now >= self._due[what]:
                self._due[what] = now + every_s
                act()

    # -- dead workers -------------------------------------------------------------------------------------------------

    def _observe(self, now: float) -> list[tuple[str, float]]:
        """Who has been silent for how many seconds."""
        pulse = self._ledger.pulse(self._silences.threshold_s)
        self._since_ms = pulse.since_ms
        self._heard = pulse.silent
        silent = self._silences.silent(pulse, now)
        if pulse.run_id != self._silences.run_id or time.monotonic() - now > _PROMPT_S:
            self._silences.run_id = pulse.run_id
            self._silences.calm(time.monotonic())
            return []
        return silent

    def _bury_the_dead(self, silent: list[tuple[str, float]]) -> None:
        distributed = self._settings.distributed
        suspects = [(name, s) for name, s in silent if s >= distributed.gone_silence.total_seconds()]
        if not suspects:
            return
        connected = self._ledger.client_names()
        workers = self._ledger.workers()
        lost: set[str] = set()
        for name, silence_s in suspects:
            worker = workers.get(name)
            gone = self._is_gone(worker, name, self._heard.get(name), connected)
            if gone or silence_s >= distributed.lease_silence.total_seconds():
                self._bury(name, worker, silence_s, gone=gone)
                lost.update(worker.devices if worker is not None else ())
        if lost:
            self._stages.look(self._term, lost=lost)
            self._due["stages"] = time.monotonic() + 1.0

    def _is_gone(self, worker: Announcement | None, name: str, heard_ms: int | None, connected: set[str]) -> bool:
        """Whether its process has surely ended.

        It had a connection to this run of the server, and has none now; or it was on this machine, and is not. Of a
        worker that was last heard by another run of the server, the end of that run took the connection away: its host
        may be cut off since, and go on. One of the previous release tells no times.
        """
        hung_up = (heard_ms is None or heard_ms > self._since_ms) and not connected & _connections(worker, name)
        return hung_up or (worker is not None and has_ended(worker, one_machine=self._one_machine))

    def _bury(self, name: str, worker: Announcement | None, silence_s: float, *, gone: bool) -> None:
        _log.warning(
            "worker %s is dead: silent for %.2f s; %s",
            name,
            silence_s,
            "its process has ended" if gone else "its process may be at work",
        )
        # its connections are left alone: as long as they are there, nobody can be sure that it does nothing any more
        for lease in self._ledger.fence(name, term=self._term):
            self._end_lease(name, worker, lease, gone=gone)
        self._restore(name)

    def _end_lease(self, name: str, worker: Announcement | None, lease: tuple[str, int, str], *, gone: bool) -> None:
        where = worker.host if worker is not None and worker.host else "its host"
        error = Interrupted(f"the worker that ran {lease[2]} ({name} on {where}) died")
        ended = self._ledger.expire(name, lease, sure=gone, error=error.told(lease[2]), term=self._term)
        if ended == "ok" and not gone and self._messages.keeps_for_the_silent:
            self._stages.send_again(*lease)

    def _restore(self, name: str) -> None:
        moved = self._messages.restore(name)
        if moved:
            _log.info("put %d messages of %s back into their queues", moved, name)

    def _sweep(self) -> None:
        """Workers that are gone may still have had messages on their way, or actions that had to wait."""
        names = self._ledger.to_sweep()
        connected = self._ledger.client_names() if names else set()
        for name, heard_ms in names.items():
            self._restore(name)
            leases = self._ledger.leases(name)
            for lease in leases:
                self._end_lease(name, None, lease, gone=self._is_gone(None, name, heard_ms, connected))
            if not leases and not connected & _connections(None, name):
                self._ledger.swept(name)

    def _end_overstayed(self) -> None:
        for name, lease in self._ledger.overstayed(OVERSTAY_S):
            error = ActionTimedOut(f"{lease[2]} was still held long after its deadline", TIMEOUT)
            self._ledger.expire(name, lease, sure=False, error=error.told(lease[2]), term=self._term)

    # -- executions ---------------------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        for execution in self._ledger.overdue_executions():
            error = ActionTimedOut(
                "the time of the execution is over (limits.timeout, or that of its rollback)", TIMEOUT
            )
            self._ledger.overdue(execution, error.told(None), term=self._term)

    def _forget_old(self) -> None:
        age_s = self._settings.execution.retention.total_seconds()
        for execution in self._ledger.finished_before(age_s, limit=500):
            self._ledger.forget(execution)


def _connections(worker: Announcement | None, name: str) -> set[str]:
    """Names under which a worker's connections stand in ``CLIENT LIST``."""
    return set(worker.clients if worker is not None else ()) | {f"w:{name}", f"rex:{name}"}
