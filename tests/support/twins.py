"""The ledger in memory and the one on a server, side by side under one clock, and what must always hold."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from executor.ledger.memory import MemoryLedger
from executor.ledger.memory.state import Execution, Store, Window
from executor.ledger.scripts import names, source
from executor.ledger.valkey import ValkeyLedger
from executor.model.errors import JoinRefused
from executor.model.execution import FINAL, TERMINAL, Outgoing
from executor.model.plan import Plan
from support.ledgers import CHOSEN, WRONG
from support.server import Server

PLACES = ("d1", "d2", "d3")
QUESTIONS = ("q1", "q2")
"""Keys under which a coordinator is asked."""


class Sent:
    """An outlet that keeps what it was given."""

    def __init__(self) -> None:
        self.items: list[Outgoing] = []

    def send(self, outgoing: list[Outgoing]) -> None:
        self.items += outgoing


class Twins:
    """Every call goes to both; the answers, what is sent, and the whole state must be the same."""

    def __init__(self, server: Server) -> None:
        self.now = 1_800_000_000_000
        self.outlets = Sent(), Sent()
        self.memory = MemoryLedger(clock=lambda: self.now, outlet=self.outlets[0])
        self.valkey = ValkeyLedger(server.url, outlet=self.outlets[1])
        self.client = server.client()
        self.client.flushall()
        for name in names():  # the scripts ask a key for the time
            text = source(name).replace("redis.call('TIME')", "redis.call('MGET', 'clock:s', 'clock:us')")
            self.valkey._scripts._registered[name] = self.valkey._client.register_script(text)
        self.pass_time(0)

    def close(self) -> None:
        self.valkey.close()
        self.client.close()

    def pass_time(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.client.mset({"clock:s": self.now // 1000, "clock:us": self.now % 1000 * 1000})

    def call(self, method: str, *args: Any, **more: Any) -> Any:
        answers = [_answer(ledger, method, *args, **more) for ledger in (self.memory, self.valkey)]
        if method == "fence":
            answers = [sorted(answer) for answer in answers]
        assert answers[0] == answers[1], (method, args, more)
        assert self.outlets[0].items == self.outlets[1].items
        return answers[0]

    def drain(self, device: str, *, undo: bool = False) -> None:
        """A person drains a device, or ends that."""
        key = self.valkey._key("drained")
        if undo:
            self.memory._store.drained.pop(device, None)
            self.client.hdel(key, device)
        else:
            self.memory._store.drained[device] = "{}"
            self.client.hset(key, device, "{}")

    def sent(self) -> list[Outgoing]:
        items = list(self.outlets[0].items)
        for outlet in self.outlets:
            outlet.items.clear()
        return items

    def compare(self) -> None:
        """The whole state of both."""
        store, client, key = self.memory._store, self.client, self.valkey._key
        pipe = client.pipeline(transaction=False)
        pipe.zrange(key("ob"), 0, -1, withscores=True)
        pipe.hgetall(key("ob", "d"))
        pipe.hgetall(key("park"))
        for index in ("open", "done", "deadlines", "fenced"):
            pipe.zrange(key(index), 0, -1, withscores=True)
        pipe.smembers(key("sweep"))
        pipe.hgetall(key("W"))
        pipe.zrange(key("seen"), 0, -1, withscores=True)
        scores, entries, park, *indexes, sweep, renewals, seen = pipe.execute()
        assert {name: int(due) for name, due in scores} == {name: e.due for name, e in store.outbox.items()}
        wanted = {name: (e.number, json.loads(e.text)) for name, e in store.outbox.items()}
        found = {
            name: (int(n), json.loads(t)) for name, (n, _, t) in ((k, v.partition("#")) for k, v in entries.items())
        }
        assert found == wanted
        assert park == {"|".join(map(str, place)): text for place, text in store.parked.items()}
        for found, kept in zip(indexes, (store.accepted, store.ended, store.deadlines, store.fenced), strict=True):
            assert {name: int(score) for name, score in found} == kept
        assert sweep == store.to_sweep
        assert {name: int(count) for name, count in renewals.items()} == store.renewals
        assert {name: int(at) for name, at in seen} == store.seen
        for device in PLACES:
            noted = {"|".join(map(str, place)) for place in store.drainpark.get(device, ())}
            assert client.smembers(key("drainpark", device)) == noted
        for name in QUESTIONS:
            answers = client.lrange(key("reply", name), 0, -1)
            assert answers == ([store.replies[name]] if name in store.replies else [])
        for holder in ("w1", "w2", "w3"):
            held = {"|".join(map(str, lease)) for lease in store.leases.get(holder, ())}
            assert client.smembers(key("L", holder)) == held
        self._compare_states()
        self._compare_devices()
        for x in store.executions.values():
            self._compare_execution(x)

    def _compare_devices(self) -> None:
        store, client, key = self.memory._store, self.client, self.valkey._key
        hashes = {
            "workers": store.workers, "leaving": store.leaving, "vitals": store.vitals, "owner": store.owners,
            "drained": store.drained, "health": store.health,
        }  # fmt: skip
        for name, kept in hashes.items():
            found = client.hgetall(key(name))
            assert {one: json.loads(text) for one, text in found.items()} == {n: json.loads(t) for n, t in kept.items()}
        assert {one: int(score) for one, score in client.zrange(key("seen"), 0, -1, withscores=True)} == store.seen
        assert client.get(key("protocol")) == (None if store.protocol is None else str(store.protocol))
        for device, workers in store.serving.items():
            assert client.smembers(key("serving", device)) == workers
        views = [
            [one.model_copy(update={"silent_s": 0}) for one in each.devices()] for each in (self.valkey, self.memory)
        ]
        assert views[0] == views[1]

    def _compare_states(self) -> None:
        store, client, key = self.memory._store, self.client, self.valkey._key
        assert self.valkey.fleet_events() == self.memory.fleet_events()
        for device, state in store.states.items():
            found = client.hgetall(key("sync", device))
            kept = {"version": state.version, "digest": state.digest, "acked": state.acked or None, "at": state.at}
            assert found == {name: str(value) for name, value in kept.items() if value is not None}
            assert client.smembers(key("syncs", device)) == state.waits
        assert set(client.hkeys(key("syncing"))) == set(store.syncing)
        for name, (_, waiting) in store.syncing.items():
            assert client.smembers(key("syncing", name)) == waiting
        assert client.hgetall(key("synced")) == {state.digest: state.text for state in store.states.values()}

    def _compare_execution(self, x: Execution) -> None:
        key = self.valkey._key
        pipe = self.client.pipeline(transaction=False)
        pipe.hgetall(key("x", x.id))
        for kind in ("live", "delay", "slots", "drainwait"):
            pipe.smembers(key(kind, x.id))
        pipe.lrange(key("wait", x.id), 0, -1)
        head, live, delayed, slots, drain_waits, queue = pipe.execute()
        assert {k: v for k, v in head.items() if v != ""} == {k: v for k, v in x.fields.items() if v != ""}
        assert live == {f"{g}|{a}" for g, a in x.live}
        assert delayed == {f"{g}|{a}" for g, a in x.delayed}
        assert (slots, drain_waits, queue) == (x.slots, x.drain_waits, x.queue)
        for number, generation in enumerate(x.generations):
            rows = self.valkey.actions(x.id, number, generation.specs)
            assert rows == {name: generation.actions.get(name, {}) for name in generation.specs}
            self._compare_fan_outs(x, number)
        assert self.valkey.events(x.id) == self.memory.events(x.id)

    def _compare_fan_outs(self, x: Execution, number: int) -> None:
        client, key, generation = self.client, self.valkey._key, x.generations[number]
        found = client.hgetall(key("fan", x.id, number))
        lists = {name: tuple(json.loads(text)) for name, text in found.items() if ":" not in name}
        assert lists == generation.plan.fan_outs
        for what, counted in (("missed", generation.missed), ("failed", generation.failed)):
            counts = {name: int(found.get(f"{name}:{what}", 0)) for name in lists}
            assert counts == {name: counted[name] for name in lists}
        for name in lists:
            window = generation.windows.get(name, Window())
            assert client.smembers(key("win", x.id, number, name)) == window.places
            assert client.lrange(key("winwait", x.id, number, name), 0, -1) == window.queue


class Invariants:
    """What must hold after every step, whatever was done."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._final: dict[tuple[str, int, str], tuple[str, str]] = {}
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._turns: dict[str, int] = {}

    def check(self) -> None:
        for x in self._store.executions.values():
            self._check_claims(x)
            self._check_slots(x)
            self._check_windows(x)
            self._check_generations(x)
            self._check_turn(x)
            self._check_final(x)
            self._check_way_on(x)

    def _rows(self, x: Execution) -> dict[tuple[int, str], dict[str, str]]:
        return {(g, name): plan.actions.get(name, {}) for g, plan in enumerate(x.generations) for name in plan.specs}

    def _check_claims(self, x: Execution) -> None:
        rows = self._rows(x)
        running = {place for place, row in rows.items() if row.get("status") == "running"}
        assert x.live == running
        assert x.delayed == {place for place, row in rows.items() if row.get("status") == "waiting"}
        held = {(h, *lease[1:]) for h, leases in self._store.leases.items() for lease in leases if lease[0] == x.id}
        ghosts = {(holder, *place) for *place, holder in x.ghosts}
        assert held == {(rows[place]["holder"], *place) for place in running} | ghosts
        tokens = [rows[place]["token"] for place in running]
        assert len(set(tokens)) == len(tokens)
        assert "" not in tokens
        # neither does a rollback overlap a live forward action, nor one rollback another
        assert not [place for place in running if place[0] != x.current]
        if x.state == "rolling_back" and x.current == 0:
            assert not running

    def _check_slots(self, x: Execution) -> None:
        limit = x.number("limit")
        assert len(x.queue) == len(set(x.queue))
        if not limit:
            assert not x.slots
            return
        if not x.is_open(x.current):
            return
        assert len(x.slots) <= limit
        assert {a for g, a in x.live if g == x.current} <= x.slots
        rows = x.generations[x.current].actions
        assert not [a for a in x.slots if rows.get(a, {}).get("status") in FINAL]

    def _check_windows(self, x: Execution) -> None:
        """Never more at once than may be; who runs has a place, and who has ended has none."""
        for number, generation in enumerate(x.generations):
            for name, window in generation.windows.items():
                rows, rule = generation.actions, generation.rules[generation.plan.fan_outs[name][0]]
                assert len(window.places) <= rule["k"]
                assert len(window.queue) == len(set(window.queue))
                if x.is_open(number):
                    running = {a for g, a in x.live if g == number and a.startswith(name + "@")}
                    assert running <= window.places
                    assert not [a for a in window.places if rows.get(a, {}).get("status") in FINAL]
                    # a free place is nobody's who waits for one
                    waiting = [a for a in window.queue if (x.id, number, a) in self._store.parked]
                    assert not waiting or len(window.places) == rule["k"]
            for name, steps in generation.plan.fan_outs.items():
                became = [generation.actions.get(step, {}).get("status") for step in steps]
                assert generation.missed[name] == len([s for s in became if s in FINAL - {"succeeded", "skipped"}])

    def go_on(self, execution: str, actions: Iterable[str]) -> None:
        """A person had these actions run again: they are not final any more."""
        for action in actions:
            self._final.pop((execution, 0, action), None)

    def forget(self, execution: str) -> None:
        """It is gone; another may come under its name."""
        self._final = {place: became for place, became in self._final.items() if place[0] != execution}
        self._events.pop(execution, None)
        self._turns.pop(execution, None)

    def _check_turn(self, x: Execution) -> None:
        """It is only ever raised, and whatever is about to be taken back has had one."""
        assert x.number("turn") >= self._turns.get(x.id, 0)
        self._turns[x.id] = x.number("turn")
        assert x.state != "rolling_back" or x.number("turn") > 0
        assert "forgetting" not in x.fields

    def _check_generations(self, x: Execution) -> None:
        """Each way back follows the one before, and nothing of one that is over is left."""
        last = len(x.generations) - 1
        assert x.number("last") == max(last, 0)
        assert x.current in (0, last)
        if x.state in ("running", "pending"):
            assert last <= 0
        assert not [place for place in x.delayed if place[0] != x.current]
        assert not [place for place in self._store.parked if place[0] == x.id and place[1] != x.current]
        assert ("offer" in x.fields) <= (x.state in ("rolling_back", *TERMINAL, "concluding") and x.current == 0)
        forward = x.generations[0] if x.generations else None
        borne = [
            name for name, rule in (forward.rules if forward else {}).items()
            if rule["f"] == "continue" and forward and forward.actions[name].get("status") in ("failed", "timed_out")
        ]  # fmt: skip
        assert x.number("failures") == len(borne)
        assert (x.id in self._store.accepted) == (x.state not in TERMINAL)
        assert (x.id in self._store.ended) == (x.state in TERMINAL)

    def _check_final(self, x: Execution) -> None:
        for (generation, action), row in self._rows(x).items():
            place = (x.id, generation, action)
            if place in self._final:
                assert (row["status"], row["outcome"]) == self._final[place]
            elif row.get("status") in FINAL:
                self._final[place] = (row["status"], row["outcome"])
        before = self._events.get(x.id, [])
        assert x.events[: len(before)] == before
        assert [event["seq"] for event in x.events] == list(range(1, len(x.events) + 1))
        self._events[x.id] = list(x.events)

    def _check_way_on(self, x: Execution) -> None:
        """No execution is left without a way on."""
        outbox = self._store.outbox
        parked = {(g, a) for e, g, a in self._store.parked if e == x.id}
        if x.state in TERMINAL:
            assert not parked
            assert not any((x.live, x.slots, x.queue, x.delayed))
            assert not any(window.places or window.queue for go in x.generations for window in go.windows.values())
        elif x.state == "pending":
            assert f"ex:{x.id}" in outbox
        elif x.state == "concluding":
            assert f"con:{x.id}" in outbox
            assert not parked
        elif x.state == "stopping":
            # a ghost ends at its deadline: the leases of whom it belonged to are looked at until then
            assert x.live or x.ghosts
            assert {holder for _, _, holder in x.ghosts} <= self._store.to_sweep
        elif x.state == "rolling_back" and x.current == 0:
            assert f"rb:{x.id}" in outbox
        else:
            self._check_stage(x, parked)

    def _check_stage(self, x: Execution, parked: set[tuple[int, str]]) -> None:
        rows, stage = x.generations[x.current].actions, x.number("stage")
        steps = x.generations[x.current].plan.stages[stage].steps
        open_ones = [name for name in steps if rows.get(name, {}).get("status") not in FINAL]
        assert x.number("left") == len(open_ones)
        if not open_ones:
            assert f"adv:{x.id}|{x.current}|{stage}" in self._store.outbox
        for name in open_ones:
            status = rows.get(name, {}).get("status", "ready")
            if status == "waiting":
                assert f"p:{x.id}|{x.current}|{name}" in self._store.outbox
                assert (x.current, name) not in parked
            drained = any((x.id, x.current, name) in noted for noted in self._store.drainpark.values())
            if (x.current, name) in parked and status == "ready" and not drained:
                self._check_waits(x, name)

    def _check_waits(self, x: Execution, name: str) -> None:
        """It waits for a slot, or for a place in the window of its fan-out, and all of them are taken."""
        if name in x.queue:
            assert len(x.slots) == x.number("limit")
            return
        generation = x.generations[x.current]
        rule = generation.rules[name]
        assert name in generation.windows[rule["of"]].queue
        assert len(generation.windows[rule["of"]].places) == rule["k"]


def finish(twins: Twins, execution: str, fresh: Callable[[], str]) -> None:
    """Carry an execution to its end, as workers and coordinators would with every message lost."""
    x = twins.memory._store.executions[execution]
    for device in PLACES:
        twins.drain(device, undo=True)
    for _ in range(200):
        if x.state in TERMINAL:
            return
        for holder in ("w1", "w2", "w3"):
            for lease in sorted(twins.memory.leases(holder)):
                twins.call("expire", holder, lease, sure=True, error=WRONG)
        twins.pass_time(2000)
        twins.call("due", 99)
        if x.state == "pending":
            twins.call("conclude", execution, "refused")
        elif x.state == "concluding":
            twins.call("conclude", execution, x.fields.get("outcome") or "completed")
        elif x.state == "rolling_back" and x.current == 0:
            twins.call("cancel", execution, WRONG, undo=True)
            empty = Plan(stages=())
            twins.call("begin_rollback", execution, 0, empty, {}, remaining=[], timeout_s=1, chosen=CHOSEN)
        else:
            stage = x.number("stage")
            for name in x.generations[x.current].plan.stages[stage].steps if x.is_open(x.current) else ():
                twins.call("claim", execution, x.current, [name], holder="w4", nonce=fresh(), signature="s")
            for lease in sorted(twins.memory.leases("w4")):
                twins.call("expire", "w4", lease, sure=True, error=WRONG)
            twins.call("advance", execution, x.current, stage)
    raise AssertionError(f"{execution} does not end: {x.fields}")


def _answer(ledger: Any, method: str, *args: Any, **more: Any) -> Any:
    """What a call answers, or the refusal that it raises."""
    try:
        return getattr(ledger, method)(*args, **more)
    except JoinRefused as refused:
        return type(refused), str(refused)
