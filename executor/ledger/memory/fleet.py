"""Workers, the outbox and the lead, in memory."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from executor.ledger.memory.claims import Claims
from executor.ledger.memory.devices import MemoryDevices
from executor.ledger.memory.moves import FENCED_MS, RESEND_MS, TAKEOVERS, worst
from executor.ledger.memory.state import Execution
from executor.ledger.wire import Lease, outgoing, registered, vitals_text
from executor.model.device import Announcement, Owner, Vitals
from executor.model.errors import Deposed
from executor.model.execution import Claimed, Outgoing, Pulse
from executor.model.state import Renewed
from executor.ports import Outlet


class MemoryFleet(MemoryDevices):
    """What workers and coordinators do besides actions: live, die, lead, and send the outbox."""

    def __init__(self, clock: Callable[[], int], outlet: Outlet | None) -> None:
        super().__init__(clock)
        self.outlet = outlet

    @contextlib.contextmanager
    def _step(self, term: str = "") -> Iterator[Claims]:
        """One atomic step; what it decided to send goes out after it.

        Raises:
            Deposed: `term` is over.
        """
        with self._changed:
            if term not in ("", str(self._store.term)):
                raise Deposed
            self._moves.now = self._store.clock()
            self._moves.sending, self._moves.sends = [], True
            yield self._moves
            sending = self._moves.sending
            self._changed.notify_all()
        if sending and self.outlet is not None:
            self.outlet.send(outgoing(sending))

    # -- workers ------------------------------------------------------------------------------------------------------

    def register(self, incarnation: str, announced: Announcement) -> None:
        """A worker announces itself, before it consumes.

        Raises:
            DeviceTaken: a worker that has not been declared dead serves one of its devices, with another store.
            IncompatibleVersion: the cluster is too far from its release.
            DeclaredDead: this incarnation was fenced.
        """
        with self._step() as do:
            registered(incarnation, announced, self._register(do.now, incarnation, announced))

    def _register(self, now: int, incarnation: str, announced: Announcement) -> list[Any]:
        store = self._store
        if incarnation in store.fenced:
            return ["fenced"]
        coordinates = not announced.devices
        alone = all(heard < now - 10_000 for heard in store.seen.values())
        if store.protocol is not None and abs(announced.protocol - store.protocol) > 1 and not (coordinates and alone):
            return ["protocol", str(store.protocol)]
        for device in announced.devices:
            # a coordinator of the release before buries workers, and knows of no such list
            store.serving[device] &= store.renewals.keys()
            others = {name: store.seen.get(name, 0) for name in store.serving[device] if name != incarnation}
            if others and self._other_store(device, announced):
                holder = max(others, key=lambda name: (others[name], name))
                return ["taken", device, self._owner(device).host, holder, str(others[holder])]
        left = self._withdraw(incarnation, announced.devices)
        store.leaving.pop(incarnation, None)
        store.workers[incarnation] = announced.model_dump_json(exclude_defaults=True)
        store.renewals[incarnation] = 0
        store.seen[incarnation] = now
        if coordinates:
            store.protocol = announced.protocol
        joined = [device for device in announced.devices if not store.serving[device]]
        for device in announced.devices:
            self._own(device, incarnation, announced)
        self._topology_changed(joined, left)
        return ["ok"]

    def _owner(self, device: str) -> Owner:
        return self.owners().get(device, Owner())

    def _other_store(self, device: str, announced: Announcement) -> bool:
        return announced.store not in ("", self._owner(device).store) and self._owner(device).store != ""

    def _own(self, device: str, incarnation: str, announced: Announcement) -> None:
        former = self._owner(device)
        self._store.serving[device].add(incarnation)
        if self._other_store(device, announced):
            self._moves.tell(
                "distributed:device:replaced", device=device, host=announced.host, store=announced.store,
                former={"host": former.host, "store": former.store},
            )  # fmt: skip
        self._store.owners[device] = json.dumps({"store": announced.store or former.store, "host": announced.host})

    def renew(self, incarnation: str, running: Iterable[Claimed], vitals: Vitals | None = None) -> Renewed | None:
        """This worker lives. Returns what it must know; None: it is fenced and must end.

        Args:
            incarnation: which worker.
            running: what it runs.
            vitals: how it fares, where that is told again.
        """
        with self._step() as do:
            if incarnation in self._store.fenced:
                self._store.fenced[incarnation] = do.now
                return None
            self._store.renewals[incarnation] = self._store.renewals.get(incarnation, 0) + 1
            self._store.seen[incarnation] = do.now
            if vitals is not None:
                self._store.vitals[incarnation] = vitals_text(vitals)
            stopped = frozenset(claimed.token for claimed in running if self._must_stop(claimed))
            return Renewed(stopped, self._store.news, incarnation in {*self._store.workers, *self._store.leaving})

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
            if (told := self._store.workers.pop(incarnation, None)) is not None:
                self._store.leaving[incarnation] = told

    def leave(self, incarnation: str) -> bool:
        """End in order; False where it still holds something, which is left to the watchdog."""
        with self._step():
            if self._store.leases.get(incarnation):
                return False
            self._gone(incarnation)
            return True

    def pulse(self, silence_s: float) -> Pulse:
        """Who has not renewed for `silence_s` seconds."""
        with self._changed:
            now, seen = self._store.clock(), self._store.seen
            silent = {name: at for name, at in seen.items() if at <= now - round(silence_s * 1000) or at > now}
            counted = {name: count for name, count in self._store.renewals.items() if name not in seen}
            return Pulse(self.url, now, silent, counted, 0)

    def fence(self, incarnation: str, *, term: str = "") -> list[Lease]:
        """Declare a worker dead; returns its leases."""
        with self._step(term) as do:
            self._store.fenced[incarnation] = self._store.seen.get(incarnation, do.now)
            for name in [name for name, when in self._store.fenced.items() if when <= do.now - FENCED_MS]:
                del self._store.fenced[name]
            told = self._announcement_of(incarnation)
            on = f" on {told.host}" if told is not None and told.host else ""
            for device in self._gone(incarnation):
                error = f"its last worker, {incarnation}{on}, died"
                self._moves.tell("distributed:device:failed", device=device, error=error)
            return self.leases(incarnation)

    def _withdraw(self, incarnation: str, keeps: Iterable[str] = ()) -> list[str]:
        """A worker serves no more what it announced, but for what it keeps; the devices that nobody serves now."""
        told = self._announcement_of(incarnation)
        left = []
        for device in told.devices if told is not None else ():
            workers = self._store.serving[device]
            if device not in keeps and incarnation in workers:
                workers.remove(incarnation)
                if not workers:
                    left.append(device)
                    owner = self._owner(device)
                    gone = {"store": owner.store, "host": owner.host, "left_ms": self._moves.now}
                    self._store.owners[device] = json.dumps(gone)
        return left

    def _announcement_of(self, incarnation: str) -> Announcement | None:
        return self._told.announced.read({**self._store.leaving, **self._store.workers}).get(incarnation)

    def _gone(self, incarnation: str) -> list[str]:
        """Take a worker out of everything that knows it; returns the devices that nobody serves now."""
        store, left = self._store, self._withdraw(incarnation)
        store.to_sweep.add(incarnation)
        for kept in (store.renewals, store.vitals, store.seen):
            kept.pop(incarnation, None)
        if {incarnation} & (store.workers.keys() | store.leaving.keys()):
            self._topology_changed([], left)
        store.workers.pop(incarnation, None)
        store.leaving.pop(incarnation, None)
        return left

    def _topology_changed(self, joined: list[str], left: list[str]) -> None:
        if joined or left:
            self._moves.tell("distributed:topology:changed", joined=joined, left=left)

    def expire(self, incarnation: str, held: Lease, *, sure: bool, error: dict[str, Any], term: str = "") -> str:
        """End a lease of a holder that is gone: ``ok``, ``gone``, or ``later`` while it may still be at work."""
        execution, generation, action = held
        told = json.dumps(error)
        with self._step(term) as do:
            x = self._store.executions.get(execution)
            fields = x.action(generation, action) if x and x.known(generation, action) else {}
            if x is None or fields.get("status") != "running" or fields["holder"] != incarnation:
                return self._lay(do, x, incarnation, held, sure=sure)
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
                if sure or past or incarnation not in self._store.fenced:
                    do.end_lease(incarnation, held)
                else:
                    x.ghosts[generation, action, incarnation] = int(fields["deadline"]) + 1000
                do.emit_action(x, generation, "interrupted", '"error":' + told, action=action)
                do.unpark(x, generation, action)
            return "ok"

    def _lay(self, do: Claims, x: Execution | None, incarnation: str, held: Lease, *, sure: bool) -> str:
        """End the lease of what was taken over, when nobody can be at it any more."""
        ghost = (held[1], held[2], incarnation)
        ends = None if x is None else x.ghosts.get(ghost)
        if ends is not None and not sure and do.now < ends:
            return "later"
        do.end_lease(incarnation, held)
        if x is not None and ends is not None:
            del x.ghosts[ghost]
            do.drain(x)
        return "gone"

    def swept(self, incarnation: str) -> None:
        """All messages of a dead worker are back in their queues, and it holds nothing."""
        with self._step():
            self._store.to_sweep.discard(incarnation)

    # -- outbox -------------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> tuple[list[Outgoing], float | None]:
        """What is due, and the seconds until the next entry (None: the outbox is empty).

        Each entry is moved on, so that a sender that dies is replaced (one that is at it for longer postpones it). A
        reached delay makes its action claimable: nothing else does.
        """
        with self._changed:
            now, outbox = self._store.clock(), self._store.outbox
            ids = sorted((entry.due, name) for name, entry in outbox.items() if entry.due <= now)[:limit]
            found = []
            for _, name in ids:
                entry = json.loads(outbox[name].text)
                outbox[name].due = now + RESEND_MS
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

    def postpone(self, entry: str) -> None:
        """Somebody is at this entry: nobody else needs to begin it for 2 s from now."""
        with self._changed:
            name, _, number = entry.rpartition("#") if "#" in entry else (entry, "", "")
            found = self._store.outbox.get(name)
            if found is not None and number in ("", str(found.number)):
                found.due = max(found.due, self._store.clock() + RESEND_MS)

    def wait_for_nudge(self, timeout_s: float) -> None:
        """Sleep until something is put into the outbox that is due within a second, at most `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._store.nudged, timeout=timeout_s)
            self._store.nudged = False

    # -- who leads ----------------------------------------------------------------------------------------------------

    def lead(self, holder: str, ttl_s: float) -> str:
        """Lead the watchdogs for the next `ttl_s` seconds; returns its term's number, empty where another leads."""
        with self._changed:
            now = self._store.clock()
            leader, until = self._store.leader
            if until > now and leader != holder:
                return ""
            if until <= now:
                self._store.term += 1
            self._store.leader = (holder, now + round(ttl_s * 1000))
            return str(self._store.term)
