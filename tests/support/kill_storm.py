"""Many executions while processes die, stand still and come back, at random; and the figures of what came of it."""

import random
import signal
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psutil

from executor import NotAllowedNow
from support.fleet import COORDINATORS, Fleet
from support.fleet_judge import by_number, judge
from support.shapes import TIMEOUT_S, Wish, actions_of, drawn
from support.storm import autopsy
from support.trial import GRACE_S, nothing_held, seen_of
from support.waiting import wait_until

Json = dict[str, Any]
AT_ONCE = 16
KINDS = {
    "worker killed": 40,
    "command of a worker killed": 12,
    "coordinator killed": 16,
    "worker frozen for good": 10,
    "worker paused": 10,
    "host lost": 8,
    "server restarted": 4,
}
"""What befalls the fleet, and how often of a hundred."""
_NEW_WATCH_MS = 5000
_MAY_TAKE_OVER = ("worker killed", "worker frozen for good", "host lost")


@dataclass(frozen=True)
class Held:
    """What a victim held when it was hit."""

    kind: str
    at_ms: int
    incarnation: str
    execution: str
    generation: int
    action: str
    alone: bool
    """No other worker of the device was alive."""
    idempotent: bool
    unwatched: bool = False
    """A coordinator or the server was hit meanwhile, or so shortly before that the watchdogs were still finding out who
    leads and who lives."""


@dataclass
class Figures:
    """What was seen."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    void: Counter[str] = field(default_factory=Counter)
    """Of these, how many hit a process that held nothing."""
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stuck: int = 0
    left: int = 0
    takeovers_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slowest: list[Json] = field(default_factory=list)
    """What took longest to be taken over, by another worker that was there."""
    seconds: float = 0.0
    last_end_s: float = 0.0
    """After the last fault."""
    healthy: int = 0
    """Executions that succeeded after it."""


class KillStorm:
    """Three devices with two workers each."""

    def __init__(self, fleet: Fleet, seed: int, *, executions: int, faults: int) -> None:
        self.fleet = fleet
        self.figures = Figures(seed)
        self._chance = random.Random(seed)
        self._executions = executions
        self._faults = faults
        self._documents: dict[str, Json] = {}
        self._cancelled: dict[str, int] = {}
        self._open: set[str] = set()
        self._held: list[Held] = []
        self._in_flight = 0
        self._wakes: list[tuple[float, psutil.Process]] = []
        self._lull = threading.Event()
        self._watch_hits_ms: list[int] = []
        self._draw = drawn(Wish(fleet.devices, fleet.folder / "world", naps=(0, 0, 0.05, 0.3, 0.6), files=0.4, most=7))

    def run(self) -> Figures:
        """All of it, and on until a fault has hit work; nothing is raised for what is wrong: the figures say it."""
        began = time.monotonic()
        while len(self._documents) < self._executions or self.inflicted < self._faults or not self._in_flight:
            self._top_up()
            self._wake()
            if self.inflicted * self._executions <= len(self._documents) * self._faults:
                self._inflict()
            self._forget_ended()
        last = time.monotonic()
        self.fleet.heal()
        self._wait_for_the_rest()
        self.figures.last_end_s = time.monotonic() - last
        self.figures.seconds = time.monotonic() - began
        self._judge()
        return self.figures

    @property
    def inflicted(self) -> int:
        return self.figures.faults.total()

    # -- executions ---------------------------------------------------------------------------------------------------

    def _top_up(self) -> None:
        """Faults left over when all have been submitted befall what is submitted besides."""
        while len(self._open) < AT_ONCE:
            document = self._draw(self._chance, len(self._documents) + 1)
            execution = self.fleet.client.submit(document)
            self._documents[execution] = document
            self._open.add(execution)
            if self._chance.random() < 0.03:
                self._cancel(self._chance.choice(sorted(self._open)))

    def _cancel(self, execution: str) -> None:
        with suppress(NotAllowedNow):
            self.fleet.client.cancel(execution, reason="drawn")
            self._cancelled[execution] = self.fleet.client.last_event(execution)

    def _forget_ended(self) -> None:
        ended = {name for name in self._open if "finished" in self.fleet.ledger.head(name)}
        self._open -= ended
        if not ended:
            self._lull.wait(0.01)

    def _wait_for_the_rest(self) -> None:
        def none_is_left() -> bool:
            self._wake()
            self._forget_ended()
            return not self._open

        work_s = sum(len(actions_of(self._documents[name])) for name in self._open)
        try:
            wait_until(none_is_left, description="all have ended", timeout_s=GRACE_S + TIMEOUT_S + work_s)
        except AssertionError:
            self.figures.stuck = len(self._open)
            self.figures.wrong.append(f"2: stuck: {autopsy(self.fleet.ledger, sorted(self._open))}")

    # -- faults -------------------------------------------------------------------------------------------------------

    def _inflict(self) -> None:
        kind = self._chance.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "server restarted":
            self.fleet.server.kill()
            self.fleet.server.start()
            self._watch_hits_ms.append(self.fleet.ledger.now_ms())
        elif kind == "coordinator killed":
            if not self.fleet.signal_child(self._chance.choice(COORDINATORS), signal.SIGKILL):
                return
            self._watch_hits_ms.append(self.fleet.ledger.now_ms())
        elif not self._hit_worker(kind):
            return
        self.figures.faults[kind] += 1

    def _hit_worker(self, kind: str) -> bool:
        name = self._victim()
        child = self.fleet.child(name) if name else None
        if name is None or child is None:
            return False
        held = self._holds(kind, name, child.pid)
        if kind == "command of a worker killed":
            return self._kill_a_command(child)
        if kind == "host lost":
            # both workers of a device are on one host
            host = name.partition(".")[0]
            other = f"{host}.2" if name == host else host
            second = self.fleet.child(other)
            held += self._holds(kind, other, second.pid) if second else []
            self.fleet.lose_host(name)
            self.fleet.lose_host(other)
            self.fleet.again(name)
            self.fleet.again(other)
        else:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL if kind == "worker killed" else signal.SIGSTOP)
            if kind == "worker paused":
                self._wakes.append((time.monotonic() + self._chance.uniform(0.2, 1.3), child))
        hit_ms = self.fleet.ledger.now_ms()
        self._held += [replace(one, at_ms=hit_ms) for one in held]
        self._in_flight += sum(self._still(one) for one in held)
        self.figures.void[kind] += not held
        return True

    def _victim(self) -> str | None:
        """One whose child is there; mostly one that holds something."""
        serving = {worker["pid"]: worker["busy"] for worker in self.fleet.client.workers()}
        workers = [name for name in self.fleet.parents if name not in COORDINATORS]
        children = {name: child.pid for name in workers if (child := self.fleet.child(name)) is not None}
        there = {name: pid for name, pid in children.items() if pid in serving}
        busy = [name for name, pid in there.items() if serving[pid]]
        return self._chance.choice(sorted(busy or there)) if there else None

    def _holds(self, kind: str, name: str, pid: int) -> list[Held]:
        mine = [worker for worker in self.fleet.client.workers() if worker["pid"] == pid]
        host = name.partition(".")[0]
        # the ledger still knows some that are dead
        others = [
            w for w in self.fleet.client.workers() if host in w["devices"] and w["pid"] != pid and _goes_on(w["pid"])
        ]
        found = []
        for worker in mine:
            for execution, generation, action in self.fleet.ledger.leases(worker["incarnation"]):
                made = next((m for m in actions_of(self._documents.get(execution, {"actions": []}))
                             if m["id"] == action), {})  # fmt: skip
                alone = not others or kind == "host lost"
                found.append(
                    Held(
                        kind, 0, worker["incarnation"], execution, generation, action, alone,
                        idempotent=bool(made.get("idempotent")),
                    )
                )  # fmt: skip
        return found

    def _still(self, held: Held) -> bool:
        """It had not ended just before the fault came."""
        return (held.execution, held.generation, held.action) in self.fleet.ledger.leases(held.incarnation)

    def _kill_a_command(self, child: psutil.Process) -> bool:
        """One process of those that a worker has started, supervisors included."""
        with suppress(psutil.Error):
            started = child.children(recursive=True)
            if started:
                self._chance.choice(started).kill()
                return True
        return False

    def _wake(self) -> None:
        for due, process in [*self._wakes]:
            if time.monotonic() >= due:
                self._wakes.remove((due, process))
                with suppress(psutil.Error):
                    process.resume()

    # -- what came of it ----------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        lines = by_number(self.fleet.lines())
        events: dict[str, list[Json]] = {}
        for number, (execution, document) in enumerate(self._documents.items(), 1):
            if execution in self._open:
                continue
            seen = seen_of(self.fleet, execution, document, lines, self._cancelled.get(execution))
            events[execution] = list(seen.events)
            self.figures.ends[seen.report["status"]] += 1
            self.figures.left += len(seen.report["rollback"]["remaining"])
            self.figures.wrong += [f"drawn-{number}: {problem}" for problem in judge(seen)]
        for hit in self._held:
            if (seconds := taken_over_after(hit, events.get(hit.execution, []))) is not None:
                meanwhile = range(hit.at_ms - _NEW_WATCH_MS, hit.at_ms + round(seconds * 1000) + 1)
                held = replace(hit, unwatched=any(at in meanwhile for at in self._watch_hits_ms))
                self.figures.takeovers_s[_named(held)].append(seconds)
                if not held.alone:
                    self.figures.slowest.append({"seconds": seconds, **asdict(held)})
        self.figures.slowest = sorted(self.figures.slowest, key=lambda one: -one["seconds"])[:10]
        if not self.figures.stuck:
            self.figures.wrong += nothing_held(self.fleet, self._documents)


def _goes_on(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return False


def _named(held: Held) -> str:
    if held.kind not in _MAY_TAKE_OVER:
        return held.kind
    there = "nobody else there" if held.alone else "another worker there"
    return f"{held.kind}, {there}{', the watch too' if held.unwatched else ''}"


def taken_over_after(held: Held, events: list[Json]) -> float | None:
    """Seconds from the fault to the next start of what was held, or to the decision on it; None: it had ended."""
    prefix = "execution:action:" if held.generation == 0 else "rollback:action:"
    for event in events:
        if event["data"].get("action") != held.action or not event["event"].startswith(prefix):
            continue
        word = event["event"].rpartition(":")[2]
        if event["timestamp"] < held.at_ms:
            if word in ("completed", "failed", "skipped", "cancelled"):
                return None
        elif word in ("started", "completed", "failed", "cancelled", "retrying"):
            return (event["timestamp"] - held.at_ms) / 1000
    return None
