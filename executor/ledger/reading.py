"""What can be read from the ledger; nothing here changes it."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from executor.ledger.connection import connect, reachable
from executor.ledger.told import counters_of
from executor.ledger.wire import Lease, lease
from executor.model.errors import UnknownExecution
from executor.model.execution import OpenStage
from executor.model.plan import Plan, Step

if TYPE_CHECKING:
    import redis

PREFIX = "rex:{0}:"
"""Keys of the one shard there is today."""


class LedgerReading:
    """Reads of executions, actions and events, and of what workers hold."""

    def __init__(self, url: str, *, name: str, patience_s: float) -> None:
        self.url = url
        self._name = name
        self._patience_s = patience_s
        self._client: redis.Redis = connect(url, name=name, patience_s=patience_s)
        self._waiting_client: redis.Redis | None = None

    def _key(self, *parts: object) -> str:
        return PREFIX + ":".join(str(part) for part in parts)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
        if self._waiting_client is not None:
            self._waiting_client.close()

    def _blocking(self) -> "redis.Redis":
        if self._waiting_client is None:
            self._waiting_client = connect(self.url, name=self._name, patience_s=self._patience_s, blocking=True)
        return self._waiting_client

    def ping(self) -> None:
        """Raises Unreachable where the server is away or refuses us."""
        with reachable(self.url):
            self._client.ping()

    def head(self, execution: str) -> dict[str, str]:
        """The execution's own fields.

        Raises:
            UnknownExecution: it was never accepted, or retention has removed it.
        """
        with reachable(self.url):
            fields: Any = self._client.hgetall(self._key("x", execution))
        if not fields:
            raise UnknownExecution(execution)
        return dict(fields)

    def offered(self, execution: str) -> dict[str, Any] | None:
        """What a guided rollback offers a person who has not chosen yet; None where it does not wait for one."""
        head = self.head(execution)
        waits = head["state"] == "rolling_back" and "offer" in head and "choice" not in head
        if not waits:
            return None
        return {**json.loads(head["offer"]), "choose_by_ms": int(head["choose_by"]), "turn": head["turn"]}

    def document(self, execution: str) -> dict[str, Any] | None:
        """What was submitted: ``strategy``, ``inputs``, ``context``."""
        with reachable(self.url):
            text: Any = self._client.get(self._key("doc", execution))
        return None if text is None else json.loads(text)

    def plan(self, execution: str, generation: int) -> Plan | None:
        with reachable(self.url):
            text: Any = self._client.get(self._key("plan", execution, generation))
        return None if text is None else Plan.model_validate_json(text)

    def steps(self, execution: str, generation: int, ids: Iterable[str] | None = None) -> dict[str, Step]:
        """Steps of a generation by id; all of them, or the named ones."""
        key = self._key("spec", execution, generation)
        with reachable(self.url):
            if ids is None:
                raw: Any = self._client.hgetall(key)
            else:
                wanted = list(ids)
                raw = dict(zip(wanted, self._client.hmget(key, wanted), strict=True)) if wanted else {}
        return {name: Step.model_validate_json(text) for name, text in raw.items() if text is not None}

    def actions(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """Fields of the named actions; an action that nobody has touched has none."""
        wanted = list(ids)
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in wanted:
                pipe.hgetall(self._key("a", execution, generation, name))
            rows = pipe.execute()
        return {name: dict(row) for name, row in zip(wanted, rows, strict=True)}

    def moved_to(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, str]:
        """Those of the named actions that were moved, and the device that each was moved to."""
        wanted = list(ids)
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in wanted:
                pipe.hget(self._key("a", execution, generation, name), "at")
            found = pipe.execute()
        return {name: str(device) for name, device in zip(wanted, found, strict=True) if device is not None}

    def executions(self, *, limit: int, finished: bool = True) -> list[str]:
        """Ids of executions, newest first: those that run, then the finished ones."""
        with reachable(self.url):
            found: Any = list(self._client.zrange(self._key("open"), 0, limit - 1, desc=True))
            if finished and len(found) < limit:
                found += self._client.zrange(self._key("done"), 0, limit - len(found) - 1, desc=True)
        return [str(name) for name in found]

    def open_stages(self) -> dict[str, OpenStage]:
        """The open stage of every execution that has one with actions left."""
        names = self.executions(limit=1_000_000, finished=False)
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(self._key("x", name), "state", "left", "gen", "stage", "opened", "moves")
            rows = pipe.execute()
        return {
            name: OpenStage(int(gen), int(stage), int(opened), int(moves or 0))
            for name, (state, left, gen, stage, opened, moves) in zip(names, rows, strict=True)
            # one that is rolling back and still at 0 waits for the plan of its way back
            if (state, int(gen or 0) > 0) in (("running", False), ("rolling_back", True)) and int(left or 0) > 0
        }

    def finished_before(self, age_s: float, limit: int) -> list[str]:
        """Ids of executions that ended more than `age_s` seconds ago, oldest first."""
        before = self.now_ms() - round(age_s * 1000)
        with reachable(self.url):
            found: Any = self._client.zrangebyscore(self._key("done"), "-inf", before, start=0, num=limit)
        return [str(name) for name in found]

    def overdue_executions(self) -> list[str]:
        """Ids of executions past their timeout, or their rollback's."""
        now = self.now_ms()
        with reachable(self.url):
            found: Any = self._client.zrangebyscore(self._key("deadlines"), "-inf", now)
        return [str(name) for name in found]

    def now_ms(self) -> int:
        """The server's clock, in milliseconds since the epoch."""
        with reachable(self.url):
            seconds, micro = self._client.time()
        return int(seconds) * 1000 + int(micro) // 1000

    def events(self, execution: str, *, after: int = 0, wait_s: float = 0.0, limit: int = 500) -> list[dict[str, Any]]:
        """Events of an execution with ``seq`` above `after`; waits up to `wait_s` seconds for the first."""
        key, after = self._key("ev", execution), max(0, after)
        with reachable(self.url):
            reply: Any = (
                self._blocking().xread({key: f"{after}-0"}, count=limit, block=max(1, round(wait_s * 1000)))
                if wait_s > 0
                else self._client.xread({key: f"{after}-0"}, count=limit)
            )
        return [event_of(execution, entry, fields) for entry, fields in entries_of(reply)]

    def counters(self) -> dict[str, int]:
        """Renewal counters by incarnation; one that stands still is a worker in trouble."""
        with reachable(self.url):
            raw: Any = self._client.hgetall(self._key("W"))
        return counters_of(raw)

    def busy(self) -> dict[str, int]:
        """How many actions each living worker holds, by incarnation."""
        names = list(self.counters())
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.scard(self._key("L", name))
            return {name: int(count) for name, count in zip(names, pipe.execute(), strict=True)}

    def leases(self, incarnation: str) -> list[Lease]:
        """What a worker holds: triples of execution, generation, action."""
        with reachable(self.url):
            raw: Any = self._client.smembers(self._key("L", incarnation))
        return [lease(member) for member in raw]

    def to_sweep(self) -> dict[str, int | None]:
        """Workers that are gone, by incarnation: when one that was declared dead was last heard; None: it left."""
        with reachable(self.url):
            names: Any = sorted(self._client.smembers(self._key("sweep")))
            heard: Any = self._client.zmscore(self._key("fenced"), names) if names else []
        return {name: None if at is None else int(at) for name, at in zip(names, heard, strict=True)}

    def client_names(self) -> set[str]:
        """Names of the connections that the server has."""
        with reachable(self.url):
            raw: Any = self._client.client_list()
        return {entry["name"] for entry in raw if entry.get("name")}

    def waiting(self, execution: str, generation: int, ids: Iterable[str]) -> set[str]:
        """Those of the named actions that are parked or stand in the outbox: their messages are not lost."""
        names = list(ids)
        members = [f"{execution}|{generation}|{name}" for name in names]
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            for member in members:
                pipe.hexists(self._key("park"), member)
                pipe.zscore(self._key("ob"), f"p:{member}")
            reply = pipe.execute()
        return {name for n, name in enumerate(names) if reply[2 * n] or reply[2 * n + 1] is not None}

    def outbox_size(self) -> int:
        with reachable(self.url):
            return int(self._client.zcard(self._key("ob")))

    def server(self) -> dict[str, Any]:
        """``INFO`` of the server."""
        with reachable(self.url):
            return dict(self._client.info())

    def server_setting(self, name: str) -> str | None:
        """A setting of the server; None where it does not tell."""
        import redis

        with reachable(self.url):
            try:
                found: Any = self._client.config_get(name)
            except redis.exceptions.ResponseError:  # CONFIG is forbidden on hosted servers
                return None
        return None if found.get(name) is None else str(found[name])


def entries_of(reply: Any) -> Iterator[tuple[str, dict[str, str]]]:
    if not reply:
        return
    streams = reply.items() if isinstance(reply, dict) else reply
    for _, entries in streams:
        # RESP3 wraps the entries of a stream once more
        for entry in entries[0] if entries and isinstance(entries[0], list) else entries:
            yield entry[0], entry[1]


def event_of(execution: str, entry: str, fields: dict[str, str]) -> dict[str, Any]:
    seq = int(entry.partition("-")[0])
    return {
        "seq": seq,
        "id": f"{execution}-{seq}",
        "event": fields["n"],
        "executionId": execution,
        "timestamp": int(fields["t"]),
        "data": json.loads(fields["d"]),
    }
