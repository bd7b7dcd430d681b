"""What can be read from the ledger in memory."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from executor.ledger.memory.claims import Claims
from executor.ledger.memory.state import Store
from executor.ledger.wire import Lease
from executor.model.errors import UnknownExecution
from executor.model.execution import OpenStage
from executor.model.plan import Plan, Step


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryReading:
    """Reads of executions, actions and events, and of what workers hold."""

    url = "memory://"

    def __init__(self, clock: Callable[[], int]) -> None:
        self._store = Store(clock)
        self._moves = Claims(self._store)
        self._changed = threading.Condition(threading.RLock())

    def close(self) -> None:
        """Nothing is held."""

    def ping(self) -> None:
        """It is always there."""

    def head(self, execution: str) -> dict[str, str]:
        """The execution's own fields.

        Raises:
            UnknownExecution: it was never accepted, or retention has removed it.
        """
        with self._changed:
            if execution not in self._store.executions:
                raise UnknownExecution(execution)
            return dict(self._store.executions[execution].fields)

    def offered(self, execution: str) -> dict[str, Any] | None:
        """What a guided rollback offers a person who has not chosen yet; None where it does not wait for one."""
        head = self.head(execution)
        waits = head["state"] == "rolling_back" and "offer" in head and "choice" not in head
        if not waits:
            return None
        return {**json.loads(head["offer"]), "choose_by_ms": int(head["choose_by"]), "turn": head["turn"]}

    def document(self, execution: str) -> dict[str, Any] | None:
        """What was submitted: ``strategy``, ``inputs``, ``context``."""
        with self._changed:
            x = self._store.executions.get(execution)
            return None if x is None else json.loads(x.document)

    def plan(self, execution: str, generation: int) -> Plan | None:
        with self._changed:
            x = self._store.executions.get(execution)
            return x.generations[generation].plan if x and 0 <= generation < len(x.generations) else None

    def steps(self, execution: str, generation: int, ids: Iterable[str] | None = None) -> dict[str, Step]:
        """Steps of a generation by id; all of them, or the named ones."""
        with self._changed:
            x = self._store.executions.get(execution)
            specs = x.generations[generation].specs if x and 0 <= generation < len(x.generations) else {}
        wanted = list(specs) if ids is None else [name for name in ids if name in specs]
        return {name: Step.model_validate_json(specs[name]) for name in wanted}

    def actions(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """Fields of the named actions; an action that nobody has touched has none."""
        with self._changed:
            x = self._store.executions.get(execution)
            rows = x.generations[generation].actions if x and 0 <= generation < len(x.generations) else {}
            return {name: dict(rows.get(name, {})) for name in ids}

    def moved_to(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, str]:
        """Those of the named actions that were moved, and the device that each was moved to."""
        return {name: row["at"] for name, row in self.actions(execution, generation, ids).items() if "at" in row}

    def executions(self, *, limit: int, finished: bool = True) -> list[str]:
        """Ids of executions, newest first: those that run, then the finished ones."""
        with self._changed:
            found = _newest_first(self._store.accepted)
            if finished:
                found += _newest_first(self._store.ended)
            return found[:limit]

    def open_stages(self) -> dict[str, OpenStage]:
        """The open stage of every execution that has one with actions left."""
        found = {}
        with self._changed:
            for name in _newest_first(self._store.accepted):
                x = self._store.executions[name]
                fields = x.fields
                # one that is rolling back and still at 0 waits for the plan of its way back
                if x.is_open(x.current) and x.number("left") > 0:
                    numbers = (int(fields.get(part, 0)) for part in ("gen", "stage", "opened", "moves"))
                    found[name] = OpenStage(*numbers)
        return found

    def finished_before(self, age_s: float, limit: int) -> list[str]:
        """Ids of executions that ended more than `age_s` seconds ago, oldest first."""
        with self._changed:
            before = self._store.clock() - round(age_s * 1000)
            old = [name for name in reversed(_newest_first(self._store.ended)) if self._store.ended[name] <= before]
            return old[:limit]

    def overdue_executions(self) -> list[str]:
        """Ids of executions past their timeout, or their rollback's."""
        with self._changed:
            now = self._store.clock()
            return [name for name, due in self._store.deadlines.items() if due <= now]

    def now_ms(self) -> int:
        """The ledger's clock, in milliseconds since the epoch."""
        return self._store.clock()

    def events(self, execution: str, *, after: int = 0, wait_s: float = 0.0, limit: int = 500) -> list[dict[str, Any]]:
        """Events of an execution with ``seq`` above `after`; waits up to `wait_s` seconds for the first."""

        def found() -> list[dict[str, Any]]:
            x = self._store.executions.get(execution)
            return x.events[max(0, after) : max(0, after) + limit] if x else []

        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(found, timeout=wait_s)
            return json.loads(json.dumps(found()))  # type: ignore[no-any-return]

    def counters(self) -> dict[str, int]:
        """Renewal counters by incarnation; one that stands still is a worker in trouble."""
        with self._changed:
            return dict(self._store.renewals)

    def busy(self) -> dict[str, int]:
        """How many actions each living worker holds, by incarnation."""
        with self._changed:
            return {name: len(self._store.leases.get(name, ())) for name in self._store.renewals}

    def leases(self, incarnation: str) -> list[Lease]:
        """What a worker holds: triples of execution, generation, action."""
        with self._changed:
            return list(self._store.leases.get(incarnation, ()))

    def overstayed(self, after_s: float) -> list[tuple[str, Lease]]:
        """Leases of living workers whose deadline passed more than `after_s` seconds ago, with their holders."""
        with self._changed:
            late = self._store.clock() - after_s * 1000
            held = [(name, lease) for name in self._store.renewals for lease in self._store.leases.get(name, ())]
            return [(name, lease) for name, lease in held if self._deadline(lease) < late]

    def _deadline(self, lease: Lease) -> int:
        execution, generation, action = lease
        return int(self._store.executions[execution].action(generation, action)["deadline"])

    def to_sweep(self) -> dict[str, int | None]:
        """Workers that are gone, by incarnation: when one that was declared dead was last heard; None: it left."""
        with self._changed:
            return {name: self._store.fenced.get(name) for name in sorted(self._store.to_sweep)}

    def client_names(self) -> set[str]:
        """Whoever is registered is connected."""
        with self._changed:
            return {f"rex:{name}" for name in self._store.workers}

    def waiting(self, execution: str, generation: int, ids: Iterable[str]) -> set[str]:
        """Those of the named actions that are parked or stand in the outbox: their messages are not lost."""
        with self._changed:
            return {
                name
                for name in ids
                if (execution, generation, name) in self._store.parked
                or f"p:{execution}|{generation}|{name}" in self._store.outbox
            }

    def outbox_size(self) -> int:
        with self._changed:
            return len(self._store.outbox)

    def server(self) -> dict[str, Any]:
        return {"run_id": self.url}

    def server_setting(self, name: str) -> str | None:  # noqa: ARG002 - there is no server to be set
        return None


def _newest_first(times: dict[str, int]) -> list[str]:
    return sorted(times, key=lambda name: (times[name], name), reverse=True)
