"""Workers, the outbox and the lead, in memory."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from executor.ledger.memory.claims import Claims
from executor.ledger.memory.moves import FENCED_MS, RESEND_MS, TAKEOVERS, publication_ms, worst
from executor.ledger.memory.reading import MemoryReading
from executor.ledger.wire import Lease, outgoing
from executor.model.execution import Claimed, Outgoing
from executor.model.state import Renewed
from executor.ports import Outlet


class MemoryFleet(MemoryReading):
    """What workers and coordinators do besides actions: live, die, lead, and send the outbox."""

    def __init__(self, clock: Callable[[], int], outlet: Outlet | None) -> None:
        super().__init__(clock)
        self.outlet = outlet

    @contextlib.contextmanager
    def _step(self) -> Iterator[Claims]:
        """One atomic step; what it decided to send goes out after it."""
        with self._changed:
            self._moves.now = self._store.clock()
            self._moves.sending, self._moves.sends = [], True
            yield self._moves
            sending = self._moves.sending
            self._changed.notify_all()
        if sending and self.outlet is not None:
            self.outlet.send(outgoing(sending))

    # -- workers ------------------------------------------------------------------------------------------------------

    def register(self, incarnation: str, description: dict[str, Any]) -> None:
        """A worker announces itself, before it consumes."""
        with self._step():
            if incarnation not in self._store.fenced:
                self._store.workers[incarnation] = json.loads(json.dumps(description))
                self._store.renewals[incarnation] = 0

    def renew(self, incarnation: str, running: Iterable[Claimed]) -> Renewed | None:
        """This worker lives. Returns what it must know; None: it is fenced and must end."""
        with self._step():
            if incarnation in self._store.fenced:
                return None
            self._store.renewals[incarnation] = self._store.renewals.get(incarnation, 0) + 1
            stopped = frozenset(claimed.token for claimed in running if self._must_stop(claimed))
            return Renewed(stopped, self._store.news)

    def _must_stop(self, claimed: Claimed) -> bool:
        x = self._store.executions.get(claimed.execution)
        if x is None or not x.known(claimed.generation, claimed.step.id):
            return True
        if x.action(claimed.generation, claimed.step.id).get("token") != claimed.token:
            return True
        return x.state == "stopping" and x.fields["mode"] != "stop"

    def retreat(self, incarnation: str) -> None:
        """This worker is about to leave: nothing is given to it any more; what it runs it finishes."""
        with self._step():
            self._store.workers.pop(incarnation, None)

    def leave(self, incarnation: str) -> bool:
        """End in order; False where it still holds something, which is left to the watchdog."""
        with self._step():
            if self._store.leases.get(incarnation):
                return False
            self._gone(incarnation)
            return True

    def fence(self, incarnation: str) -> list[Lease]:
        """Declare a worker dead; returns its leases."""
        with self._step() as do:
            self._store.fenced[incarnation] = do.now
            for name in [name for name, when in self._store.fenced.items() if when <= do.now - FENCED_MS]:
                del self._store.fenced[name]
            self._gone(incarnation)
            return self.leases(incarnation)

    def _gone(self, incarnation: str) -> None:
        self._store.to_sweep.add(incarnation)
        self._store.workers.pop(incarnation, None)
        self._store.renewals.pop(incarnation, None)

    def expire(self, incarnation: str, held: Lease, *, sure: bool, error: dict[str, Any]) -> str:
        """End a lease of a holder that is gone: ``ok``, ``gone``, or ``later`` while it may still be at work."""
        execution, generation, action = held
        told = json.dumps(error)
        with self._step() as do:
            x = self._store.executions.get(execution)
            fields = x.action(generation, action) if x and x.known(generation, action) else {}
            if x is None or fields.get("status") != "running" or fields["holder"] != incarnation:
                do.end_lease(incarnation, held)
                return "gone"
            may_run_twice = bool(x.rule(generation, action).get("id"))
            past = do.now >= int(fields["deadline"]) + 1000
            if not sure and not (may_run_twice and x.is_open(generation)) and not past:
                return "later"
            fields.update(effect=worst(fields.get("effect"), "unknown"), last_error=told)
            takeovers = int(fields.get("takeovers", 0)) + 1
            if not x.is_open(generation):
                do.finish(x, generation, action, "cancelled", '"error":' + told)
                do.drain(x)
            elif takeovers > TAKEOVERS or not (sure or may_run_twice):
                do.finish(x, generation, action, "failed", '"error":' + told)
                do.fail(x, generation, action, told)
                do.drain(x)
            else:
                fields.update(status="ready", probe="1", token="", since=str(do.now), takeovers=str(takeovers))
                x.live.discard((generation, action))  # it keeps its slot
                do.end_lease(incarnation, held)
                do.emit_action(x, generation, "interrupted", '"error":' + told, action=action)
                do.unpark(x, generation, action)
            return "ok"

    def disconnect(self, names: set[str]) -> None:
        """There are no connections to cut."""

    def swept(self, incarnation: str) -> None:
        """All messages of a dead worker are back in their queues, and it holds nothing."""
        with self._step():
            self._store.to_sweep.discard(incarnation)

    # -- outbox -------------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> tuple[list[Outgoing], float | None]:
        """What is due, and the seconds until the next entry (None: the outbox is empty).

        Each entry is moved on (a stage for as long as its publication may take), so that a sender that dies is
        replaced. A reached delay makes its action claimable: nothing else does.
        """
        with self._changed:
            now, outbox = self._store.clock(), self._store.outbox
            ids = sorted((entry.due, name) for name, entry in outbox.items() if entry.due <= now)[:limit]
            found = []
            for _, name in ids:
                entry = json.loads(outbox[name].text)
                outbox[name].due = now + (publication_ms(entry["actions"]) if name.startswith("st:") else RESEND_MS)
                found.append(Outgoing(f"{name}#{outbox[name].number}", entry))
                if name.startswith("p:"):
                    self._delay_is_over(name, now)
            first = min((entry.due for entry in outbox.values()), default=None)
            return found, None if first is None else max(0, first - now) / 1000

    def _delay_is_over(self, name: str, now: int) -> None:
        execution, number, action = name.removeprefix("p:").split("|", 2)
        x, generation = self._store.executions.get(execution), int(number)
        if x is not None and (generation, action) in x.delayed:
            x.action(generation, action).update(status="ready", since=str(now))
            x.delayed.discard((generation, action))

    def strike(self, ids: Iterable[str]) -> None:
        """These were sent. What was written again under the same name since then stays."""
        with self._changed:
            for sent in ids:
                name, _, number = sent.rpartition("#")
                if name in self._store.outbox and self._store.outbox[name].number == int(number):
                    del self._store.outbox[name]

    def wait_for_nudge(self, timeout_s: float) -> None:
        """Sleep until something is put into the outbox that is due within a second, at most `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._store.nudged, timeout=timeout_s)
            self._store.nudged = False

    # -- who leads ----------------------------------------------------------------------------------------------------

    def lead(self, holder: str, ttl_s: float) -> bool:
        """Whether `holder` leads the watchdogs for the next `ttl_s` seconds."""
        with self._changed:
            now = self._store.clock()
            leader, until = self._store.leader
            if leader != holder and until > now:
                return False
            self._store.leader = (holder, now + round(ttl_s * 1000))
            return True
